//! One HTTP receiver: the client, its secrets, and what an answer means.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use tracing::warn;

use super::token::{Token, TokenMistake};
use super::{Failure, FailureVerdict};
use crate::alarm::config::{RouteMistake, Secret};

/// A receiver cannot hold us off for longer than this, whatever it asks for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// How much of a refusal's body is read to say why.
const LONGEST_REASON: usize = 300;

/// Where a route delivers.
pub(super) struct Endpoint {
    client: Client,
    url: Url,
    /// Scheme, host and port: what may be shown of the URL.
    origin: String,
    token: Option<Token>,
    headers: HeaderMap,
    /// What must never be shown, should a receiver echo it.
    secrets: Vec<String>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// How a route's configuration describes its receiver.
pub(super) struct EndpointConfig<'a> {
    pub(super) route: &'a str,
    pub(super) url: &'a Secret,
    /// What is appended to the URL's path.
    pub(super) path: &'a str,
    pub(super) token_file: Option<&'a Path>,
    pub(super) token_env: Option<&'a str>,
    pub(super) headers: &'a BTreeMap<String, Secret>,
    pub(super) timeout: Duration,
}

impl Endpoint {
    pub(super) fn open(config: EndpointConfig<'_>) -> Result<Endpoint, RouteMistake> {
        let mistake = |field, found: String, allowed: &str| RouteMistake {
            route: config.route.to_owned(),
            field,
            found,
            allowed: allowed.to_owned(),
        };
        let allowed = "http://HOST[:PORT]/... or https://HOST[:PORT]/...";
        // The URL itself may be a secret: only what is wrong with it is said.
        let mut url = Url::parse(config.url.reveal()).map_err(|error| mistake("url", format!("not a URL ({error})"), allowed))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(mistake("url", format!("a URL with scheme {:?}", url.scheme()), allowed));
        }
        if !config.path.is_empty() {
            url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), config.path));
        }
        let origin = url.origin().ascii_serialization();
        let token = Token::open(config.token_file, config.token_env)
            .map_err(|TokenMistake { field, found, allowed }| mistake(field, found, &allowed))?;
        let mut headers = HeaderMap::new();
        let mut secrets = Vec::new();
        for (name, value) in config.headers {
            let header =
                HeaderName::try_from(name.as_str()).map_err(|_| mistake("headers", format!("{name:?}"), "names of HTTP headers"))?;
            if header == CONTENT_TYPE || (header == AUTHORIZATION && token.is_some()) {
                return Err(mistake("headers", format!("{name:?}"), "headers that the route does not set itself"));
            }
            let mut content = HeaderValue::from_str(value.reveal()).map_err(|_| {
                mistake("headers", format!("a value for {name:?} that no HTTP header can hold"), "one line of visible ASCII")
            })?;
            content.set_sensitive(true);
            headers.insert(header, content);
            secrets.push(value.reveal().to_owned());
        }
        // Many a receiver answers 404 with the path that was asked for, and many a path is the receiver's secret.
        let path = Some(url.path()).filter(|path| config.path.is_empty() && path.len() > 1);
        secrets.extend([url.password(), url.query(), path].into_iter().flatten().map(str::to_owned));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if (token.is_some() || !url.username().is_empty()) && url.scheme() == "http" && !loopback(&url) {
            warn!(target: "alarm", route = config.route, receiver = origin, "this route sends its token in clear text; use https");
        }
        let mut client = Client::builder()
            .user_agent(concat!("rollcall-agent/", env!("CARGO_PKG_VERSION")))
            .timeout(config.timeout)
            .connect_timeout(config.timeout.min(Duration::from_secs(5)))
            // A redirect would turn the POST into a GET, or carry alarms and token to somebody who was not named.
            .redirect(redirect::Policy::none());
        if url.scheme() == "http" {
            // No certificates are needed, and a machine may well have none.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| {
            mistake(
                "url",
                format!("{origin}, but no TLS client: {}", chain(&error)),
                "https needs the system's CA certificates (package ca-certificates)",
            )
        })?;
        Ok(Endpoint { client, url, origin, token, headers, secrets })
    }

    /// POSTs a JSON body. `Ok`: a 2xx, the receiver took responsibility for it.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<(), Failure> {
        let mut request = self.client.post(self.url.clone()).headers(self.headers.clone());
        let mut token = None;
        if let Some(source) = &self.token {
            let (value, header) = source.header().map_err(|mistake| Failure {
                text: format!("{}: found {}, allowed: {}", mistake.field, mistake.found, mistake.allowed),
                verdict: FailureVerdict::Declined,
                retry_after: None,
            })?;
            request = request.header(AUTHORIZATION, header);
            token = Some(value);
        }
        match request.body(body).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(self.refusal(response, token.as_deref()).await),
            Err(error) => {
                let verdict = if error.is_connect() || error.is_builder() { FailureVerdict::Declined } else { FailureVerdict::Unclear };
                let text = format!("{}: {}", self.origin, chain(&error.without_url()));
                Err(Failure { text, verdict, retry_after: None })
            }
        }
    }

    async fn refusal(&self, response: Response, token: Option<&str>) -> Failure {
        let status = response.status();
        let verdict = classify(status);
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
        let mut text = format!("{} answered {status}", self.origin);
        if status.is_redirection() {
            text += " (redirects are not followed: put the final address into url)";
        }
        let mut reason = beginning(response).await;
        for secret in self.secrets.iter().map(String::as_str).chain(token).filter(|secret| !secret.is_empty()) {
            reason = reason.replace(secret, "***");
        }
        let reason: String = reason.trim().chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
        if !reason.is_empty() {
            text += ": ";
            text += &reason;
        }
        Failure { text, verdict, retry_after }
    }
}

/// What an answer that is not 2xx says about the batch.
///
/// The statuses that speak of the content make it refused. All else, 401 or 404 included, speaks of the receiver or the
/// route's configuration: a person mends that, and until then nothing may be lost. A gateway's answer says nothing
/// about what is behind it.
fn classify(status: StatusCode) -> FailureVerdict {
    match status.as_u16() {
        400 | 409 | 413 | 415 | 422 => FailureVerdict::Refused,
        408 | 502 | 504 => FailureVerdict::Unclear,
        _ => FailureVerdict::Declined,
    }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// The first part of a body. Longer than shown, so that a secret at the cut is still recognised.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < 64 * 1024
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    String::from_utf8_lossy(&body).into_owned()
}

fn loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// An error with its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, headers: &[(&str, &str)]) -> Result<Endpoint, RouteMistake> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::from(*value))).collect();
        Endpoint::open(EndpointConfig {
            route: "pager",
            url: &Secret::from(url),
            path: "",
            token_file: None,
            token_env: None,
            headers: &headers,
            timeout: Duration::from_secs(1),
        })
    }

    #[test]
    fn bad_urls_and_headers_are_refused_and_never_quoted() {
        for (url, found) in [("pager/s3cret", "not a URL"), ("ftp://s3cret@host/", "scheme \"ftp\""), ("http://", "not a URL")] {
            let mistake = open(url, &[]).unwrap_err().to_string();
            assert!(mistake.contains(found) && mistake.contains("allowed: http://") && !mistake.contains("s3cret"), "{mistake}");
        }
        for header in [("a b", "x"), ("content-type", "x"), ("x-key", "s3cret\n")] {
            let mistake = open("http://127.0.0.1/", &[header]).unwrap_err().to_string();
            assert!(mistake.contains("headers") && !mistake.contains("s3cret"), "{mistake}");
        }
        let shown = format!("{:?}", open("http://127.0.0.1/", &[("x-key", "k")]).unwrap().headers);
        assert!(shown.contains("Sensitive"), "{shown}");
    }

    #[test]
    fn an_https_client_is_built_from_the_systems_certificates() {
        open("https://pager.example/", &[]).unwrap();
    }

    #[test]
    fn only_statuses_about_the_content_refuse_it() {
        let verdict = |status| classify(StatusCode::from_u16(status).unwrap());
        for status in [400, 413, 422] {
            assert_eq!(verdict(status), FailureVerdict::Refused, "{status}");
        }
        for status in [301, 401, 403, 404, 405, 429, 500, 503] {
            assert_eq!(verdict(status), FailureVerdict::Declined, "{status}");
        }
        for status in [408, 502, 504] {
            assert_eq!(verdict(status), FailureVerdict::Unclear, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_capped() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:40 GMT", now), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("86400", now), Some(LONGEST_RETRY_AFTER));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
