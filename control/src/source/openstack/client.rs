//! Requests to Keystone, Neutron and Nova: with a token, bounded in time and size, tried again where that may help.

use std::time::{Duration, Instant, SystemTime};

use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};

use super::super::SourceError;
use super::auth::Token;
use super::credential::Credential;
use crate::client::root_cause;

/// One page is no larger.
const LARGEST: usize = 64 << 20;
/// How often a request that found nobody, or a server in trouble, is tried, and how long is waited in between at first.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// A server that asks for more patience than this does not get it.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of what a server says of an error is shown.
const SHOWN: usize = 200;

/// A client with its token.
pub(super) struct Client {
    pub(super) credential: Credential,
    http: reqwest::Client,
    token: Option<Token>,
    clock: Option<SystemTime>,
}

/// An answer: how, and what.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    /// What time it is there.
    date: Option<SystemTime>,
}

impl Client {
    pub(super) fn new(credential: Credential, timeout: Duration) -> Result<Client, SourceError> {
        let wrong = |why: String| SourceError::Configuration(why);
        let mut builder = reqwest::Client::builder()
            .timeout(timeout)
            // A token is for whom it was made for.
            .redirect(Policy::none())
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &credential.cacert {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|error| wrong(format!("cacert {shown}: {error}")))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| wrong(format!("cacert {shown}: found no PEM certificate")))?;
            builder = certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let http = builder.build().map_err(|error| wrong(format!("cannot set up HTTP: {}", root_cause(&error))))?;
        Ok(Client { credential, http, token: None, clock: None })
    }

    /// The clock of whoever answered last.
    pub(super) fn clock(&self) -> Option<SystemTime> {
        self.clock
    }

    /// A text of others without what we sent: some servers answer that.
    pub(super) fn hide(&self, mut text: String) -> String {
        let token = self.token.as_ref().and_then(|token| token.value.to_str().ok());
        let mut secrets: Vec<String> =
            self.credential.secrets().chain(token).filter(|secret| !secret.is_empty()).map(str::to_owned).collect();
        // As they stand in the request itself.
        let escaped: Vec<String> = secrets.iter().map(|secret| serde_json::Value::from(secret.as_str()).to_string()).collect();
        secrets.extend(escaped.iter().map(|text| text.trim_matches('"').to_owned()));
        // One may be a part of another.
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "(secret)");
        }
        text
    }

    /// What a service says of an error.
    pub(super) fn said(&self, body: &[u8]) -> String {
        said(body, |text| self.hide(text))
    }

    /// The URL of a service.
    pub(super) async fn endpoint(&mut self, kind: &str) -> Result<Url, SourceError> {
        self.authenticate().await?;
        match &self.token {
            Some(token) => token.endpoint(kind, &self.credential),
            None => Err(SourceError::Configuration("no token".to_owned())),
        }
    }

    /// Asks a service. Answers that are errors are given where they are not those of a server in trouble, or of a token that is refused
    /// although it is new.
    pub(super) async fn get(&mut self, url: &Url) -> Result<Answer, SourceError> {
        let what = shown(url);
        let mut renewed = false;
        loop {
            self.authenticate().await?;
            let Some(token) = &self.token else { continue };
            let request = self.http.get(url.clone()).header("X-Auth-Token", token.value.clone());
            let answer = self.ask(request, &what).await?;
            match answer.status {
                // It may have been revoked, whatever it says itself.
                StatusCode::UNAUTHORIZED if !renewed => (self.token, renewed) = (None, true),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let why = format!(
                        "{}: {} (has the credential of {} its roles?)",
                        answer.status.as_u16(),
                        self.said(&answer.body),
                        self.credential.from
                    );
                    return Err(SourceError::Refused { what, why });
                }
                _ => {
                    self.clock = answer.date;
                    return Ok(answer);
                }
            }
        }
    }

    async fn authenticate(&mut self) -> Result<(), SourceError> {
        if self.token.as_ref().is_some_and(|token| token.is_good(Instant::now())) {
            return Ok(());
        }
        let url = self.credential.auth_url.join("auth/tokens").map_err(|_| SourceError::Configuration("auth_url is no URL".to_owned()))?;
        let what = shown(&url);
        let request = self.http.post(url).json(&serde_json::json!({ "auth": self.credential.request }));
        let (answer, headers) = self.ask_for(request, &what).await?;
        match answer.status {
            StatusCode::CREATED => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                let why = format!("{}: {} (is {} right?)", answer.status.as_u16(), self.said(&answer.body), self.credential.from);
                return Err(SourceError::Refused { what, why });
            }
            status => return Err(SourceError::Status { what, status: status.as_u16(), why: self.said(&answer.body) }),
        }
        self.token = Some(Token::read(&headers, &answer.body, &what, Instant::now())?);
        Ok(())
    }

    async fn ask(&self, request: reqwest::RequestBuilder, what: &str) -> Result<Answer, SourceError> {
        self.ask_for(request, what).await.map(|(answer, _)| answer)
    }

    /// Sends, and sends again where nobody answers or the server is in trouble.
    async fn ask_for(&self, request: reqwest::RequestBuilder, what: &str) -> Result<(Answer, reqwest::header::HeaderMap), SourceError> {
        let mut pause = PAUSE;
        for tries in 1.. {
            let Some(request) = request.try_clone() else { break };
            let last = tries == TRIES;
            let wait = match request.send().await {
                Ok(response) => {
                    let (status, headers) = (response.status(), response.headers().clone());
                    let trouble = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    if !trouble {
                        let body = body(response, what).await?;
                        let date = headers.get("Date").and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
                        return Ok((Answer { status, body, date }, headers));
                    }
                    if last {
                        let why = self.said(&body(response, what).await.unwrap_or_default());
                        return Err(SourceError::Status { what: what.to_owned(), status: status.as_u16(), why });
                    }
                    let asked = headers.get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
                    asked.map_or(pause, |asked| asked.min(PATIENCE))
                }
                Err(error) if last => return Err(SourceError::Unreachable { what: what.to_owned(), why: root_cause(&error) }),
                Err(_) => pause,
            };
            tokio::time::sleep(wait).await;
            pause *= 4;
        }
        Err(SourceError::Unreachable { what: what.to_owned(), why: "the request cannot be sent again".to_owned() })
    }
}

/// The body, up to a size.
async fn body(mut response: Response, what: &str) -> Result<Vec<u8>, SourceError> {
    let lost = |error: reqwest::Error| SourceError::Unreachable { what: what.to_owned(), why: root_cause(&error) };
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(lost)? {
        if body.len() + piece.len() > LARGEST {
            let (found, expected) = ("a page that does not end".to_owned(), format!("up to {LARGEST} bytes"));
            return Err(SourceError::Broken { what: what.to_owned(), found, expected });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// A URL as messages name it: without its query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// What a service says of an error: its `message`, wherever it stands, else the beginning of the text. What is cut might be half of what
/// is to be hidden: that is hidden before.
fn said(body: &[u8], hide: impl Fn(String) -> String) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let inner = value.as_ref().and_then(|value| value.as_object()?.values().next().cloned());
    let message = inner.as_ref().and_then(|inner| inner.get("message").or(Some(inner))?.as_str().map(str::to_owned));
    let text = hide(message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()));
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.trim().is_empty() { "it does not say why".to_owned() } else { text.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &[u8]) -> String {
        super::said(body, |text| text)
    }

    #[test]
    fn errors_of_the_three_services_are_said_in_their_own_words() {
        assert_eq!(
            said(br#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#),
            "The request you have made requires authentication."
        );
        assert_eq!(
            said(br#"{"NeutronError": {"type": "PortNotFound", "message": "Port 1 could not be found.", "detail": ""}}"#),
            "Port 1 could not be found."
        );
        assert_eq!(said(br#"{"badRequest": {"code": 400, "message": "marker [x] not found"}}"#), "marker [x] not found");
        assert_eq!(said(b"<html>\n<b>502</b>"), "<html> <b>502</b>");
        assert_eq!(said(b""), "it does not say why");
    }

    #[test]
    fn refusals_of_the_samples_are_said_in_their_own_words() {
        for sample in [include_str!("../../../tests/samples/keystone-401.txt"), include_str!("../../../tests/samples/neutron-401.txt")] {
            let (_, body) = sample.replace('\r', "").split_once("\n\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap();
            assert_eq!(said(body.as_bytes()), "The request you have made requires authentication.");
        }
    }

    #[test]
    fn what_is_hidden_is_hidden_before_the_text_is_cut() {
        let body = [&b"x".repeat(SHOWN - 3)[..], b"hunter2"].concat();
        let shown = super::said(&body, |text| text.replace("hunter2", "(secret)"));
        assert!(shown.ends_with("x(se"), "{shown}");
    }
}
