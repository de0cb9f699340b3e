//! The agent's HTTP API, asked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use rollcall_agent::api::{AddressReport, HostDetail, Problem, PushOutcome, Status, StopOutcome, StopRequest};
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::screen::printable;
use crate::source::secret::only_ours;

/// Which agent, and by what right.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// URL of the agent
    #[arg(long, value_name = "URL", env = "ROLLCALL_AGENT", hide_env_values = true, default_value = "http://127.0.0.1:9798")]
    pub agent: Url,
    /// File that holds the agent's token; changing calls need one unless the agent listens on loopback only
    #[arg(long, value_name = "FILE", env = "ROLLCALL_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,
}

/// One agent.
pub struct Client {
    http: reqwest::Client,
    agent: Url,
    token: Option<header::HeaderValue>,
}

/// What came of sending a table or a delta.
pub enum Pushed {
    /// It is in force.
    Done(PushOutcome),
    /// The agent runs another table than the delta's base.
    OtherBase(Problem),
}

impl Client {
    /// Prepares calls; nothing is sent yet.
    pub fn new(args: &AgentArgs) -> Result<Client, Failure> {
        if !["http", "https"].contains(&args.agent.scheme()) || args.agent.cannot_be_a_base() {
            let error = format!("--agent: found {:?}, allowed: a URL such as http://127.0.0.1:9798", args.agent.as_str());
            return Err(Failure::Usage(error));
        }
        let token = match &args.token_file {
            None => None,
            Some(path) => {
                let what = || format!("token file {}", path.display());
                only_ours(path).context("--token-file")?;
                let text = std::fs::read_to_string(path).with_context(what)?;
                let mut value = header::HeaderValue::from_str(&format!("Bearer {}", text.trim()))
                    .map_err(|_| anyhow!("it holds what no HTTP header can carry: one line of printable ASCII is allowed"))
                    .with_context(what)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot set up HTTP")?;
        Ok(Client { http, agent: args.agent.clone(), token })
    }

    /// A name for this agent that fits a file name.
    pub fn file_name(&self) -> String {
        let port = self.agent.port_or_known_default().unwrap_or_default();
        let name = format!("{}_{port}{}", self.agent.host_str().unwrap_or_default(), self.agent.path());
        let safe = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
        name.trim_end_matches('/').chars().map(safe).collect()
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, Failure> {
        self.json(self.request(Method::GET, &["v1", "status"])).await
    }

    /// `GET /v1/hosts` with these parameters.
    pub async fn hosts(&self, query: &[(&str, String)]) -> Result<Vec<AddressReport>, Failure> {
        self.json(self.query(&["v1", "hosts"], query)).await
    }

    /// `GET /v1/hosts` as CSV, piece by piece.
    pub async fn hosts_csv(&self, query: &[(&str, String)]) -> Result<Response, Failure> {
        let query = [query, &[("format", "csv".to_owned())]].concat();
        self.good(self.send(self.query(&["v1", "hosts"], &query)).await?).await
    }

    /// `GET /v1/hosts/{id}`.
    pub async fn host(&self, id: &str) -> Result<HostDetail, Failure> {
        let response = self.send(self.request(Method::GET, &["v1", "hosts", id])).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(Failure::NotFound(format!("the agent at {} knows no host {}", self.agent, printable(id))));
        }
        self.decode(self.good(response).await?).await
    }

    /// `GET /v1/events`: an endless answer.
    pub async fn events(&self) -> Result<Response, Failure> {
        let request = self.request(Method::GET, &["v1", "events"]).header(header::ACCEPT, "text/event-stream");
        self.good(self.send(request).await?).await
    }

    /// `PUT /v1/table` of a table or a delta.
    pub async fn push(&self, bytes: Vec<u8>) -> Result<Pushed, Failure> {
        let request = self.request(Method::PUT, &["v1", "table"]).header(header::CONTENT_TYPE, "application/octet-stream").body(bytes);
        let response = self.send(request).await?;
        if response.status() == StatusCode::CONFLICT {
            return Ok(Pushed::OtherBase(problem(response).await));
        }
        Ok(Pushed::Done(self.decode(self.good(response).await?).await?))
    }

    /// `POST /v1/stop`.
    pub async fn stop(&self, hosts: Vec<String>) -> Result<StopOutcome, Failure> {
        self.json(self.request(Method::POST, &["v1", "stop"]).json(&StopRequest { hosts })).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.agent.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn query(&self, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.authorised(Method::GET, url)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.authorised(method, self.url(path))
    }

    fn authorised(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token.clone()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| {
            let hint = format!("no answer from the agent at {} (is it running, and is that its URL?)", self.agent);
            Failure::Unreachable(anyhow!(root_cause(&error)).context(hint))
        })
    }

    /// A refusal becomes an error in the agent's own words.
    async fn good(&self, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut text = format!("the agent at {} refuses ({status}): {}", self.agent, describe(problem(response).await));
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            text.push_str(" (give its token by --token-file FILE or ROLLCALL_TOKEN_FILE; sync: token_file of the agent)");
        }
        Err(Failure::Refused(anyhow!(text)))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.good(self.send(request).await?).await?;
        self.decode(response).await
    }

    async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response.bytes().await.map_err(|error| {
            let hint = format!("the answer of the agent at {} broke off", self.agent);
            Failure::Unreachable(anyhow!(root_cause(&error)).context(hint))
        })?;
        Ok(serde_json::from_slice(&bytes)
            .with_context(|| format!("what answers at {} is no agent of this release ({})", self.agent, env!("CARGO_PKG_VERSION")))?)
    }
}

/// A refusal as text: one line, and one more for each detail.
pub fn describe(problem: Problem) -> String {
    let details = problem.details.iter().map(|detail| format!("\n  {}", printable(detail)));
    std::iter::once(printable(&problem.error)).chain(details).collect()
}

async fn problem(response: Response) -> Problem {
    let status = response.status();
    let bytes = response.bytes().await.unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| {
        let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
        let error = if text.is_empty() { status.to_string() } else { text };
        Problem { error, details: Vec::new() }
    })
}

/// The innermost reason: "connection refused" says more than "error sending request".
pub fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match error.is_timeout() {
        true => "timed out".to_owned(),
        false => cause.to_string(),
    }
}
