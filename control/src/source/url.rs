//! A list at an http(s) URL as a source.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use super::file::{max_bytes, owners_by_default, read, too_large};
use super::format::{Format, Networks, Options, owners};
use super::secret::SecretHeader;
use super::{Listing, Meanwhile, Source, SourceError};
use crate::client::root_cause;

/// `[[source]]` of type `url`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlSettings {
    /// What it is called in messages and metrics.
    pub name: String,
    /// Where the list is. Secrets have no place in it.
    pub url: String,
    /// How it is written.
    pub format: Format,
    /// The network of addresses of which the list names none.
    pub network: Option<String>,
    /// Names for networks, by what the list calls them (or their subnets).
    #[serde(default)]
    pub networks: BTreeMap<String, String>,
    /// Id of the host that the list is about, where it is about one.
    #[serde(default)]
    pub host: String,
    /// Its name.
    #[serde(default)]
    pub host_name: String,
    /// With format `neutron`: a file with the servers.
    pub servers: Option<PathBuf>,
    /// Which owners of ports count.
    #[serde(default = "owners_by_default")]
    pub device_owner: Vec<String>,
    /// A file with a header that is sent along: `Authorization: Token ...`.
    pub header_file: Option<PathBuf>,
    /// For each request, its answer included.
    #[serde(default = "timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// A larger list is refused; all of its pages count.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
}

/// How long a request may take, unless the user says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);

fn timeout() -> Duration {
    TIMEOUT
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let allowed = "a time such as \"30s\" or \"2m\", more than zero";
    let time = humantime::parse_duration(&text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &allowed))
}

/// What Prometheus tells those that it asks: how often it does.
const REFRESH: &str = "X-Prometheus-Refresh-Interval-Seconds";

/// So many pages are no list any more.
const MAX_PAGES: usize = 10_000;

/// A URL as a source.
#[derive(Debug)]
pub struct Url {
    settings: UrlSettings,
    url: reqwest::Url,
    options: Options,
    client: Client,
    interval: Duration,
    known: Option<Listing>,
}

impl Url {
    /// Prepares asking every `interval`; nothing is sent yet.
    pub fn new(settings: UrlSettings, interval: Duration) -> Result<Url, SourceError> {
        // What cannot be read is not shown: a password may stand in it.
        let url: reqwest::Url = settings
            .url
            .parse()
            .map_err(|error| SourceError::Configuration(format!("url: {error}, allowed: http://... or https://...")))?;
        if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
            let error = format!("url: found {}, allowed: http://... or https://...", crate::mistake::quoted(&shown(&url)));
            return Err(SourceError::Configuration(error));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let error = "url: found a user or a password in it, allowed: none (send a header: --header-file, in sync.toml header_file)";
            return Err(SourceError::Configuration(error.to_owned()));
        }
        let options = Options {
            networks: Networks { other: settings.network.clone(), names: settings.networks.clone() },
            host: settings.host.clone(),
            host_name: settings.host_name.clone(),
            owners: owners(&settings.device_owner)?,
            whole: true,
            servers: None,
        };
        // Elsewhere the header is not for.
        let origin = url.origin();
        let policy = Policy::custom(move |attempt| match attempt.url().origin() == origin && attempt.previous().len() <= 5 {
            true => attempt.follow(),
            false => attempt.stop(),
        });
        let client = Client::builder()
            .timeout(settings.timeout)
            .redirect(policy)
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SourceError::Configuration(format!("cannot set up HTTP: {}", root_cause(&error))))?;
        Ok(Url { settings, url, options, client, interval, known: None })
    }

    async fn ask(&self) -> Result<Listing, SourceError> {
        let mut options = self.options.clone();
        // At every list: secrets are renewed in place.
        let header = self.settings.header_file.as_deref().map(SecretHeader::read).transpose()?;
        if let Some(path) = &self.settings.servers {
            options.servers = Some((path.display().to_string(), read(path, self.settings.max_bytes)?));
        }
        let what = shown(&self.url);
        let (mut pages, mut seen) = (Vec::new(), HashSet::new());
        let mut next = Some(self.url.clone());
        while let Some(url) = next.take() {
            let start = pages.len();
            self.page(url.clone(), header.as_ref(), &what, &mut pages).await?;
            seen.insert(url);
            if let Some(link) = self.settings.format.next_page(&pages[start..]) {
                let url = self.follow(&link).ok_or_else(|| strange(&what, "a next page that is no URL of the same host"))?;
                if seen.contains(&url) || seen.len() >= MAX_PAGES {
                    return Err(strange(&what, "pages that go round in a circle"));
                }
                next = Some(url);
                pages.push(b'\n');
            }
        }
        let format = self.settings.format;
        let work = tokio::task::spawn_blocking(move || format.read(&what, &pages, &options));
        work.await.map_err(|error| SourceError::Configuration(format!("reading ended early: {error}")))?
    }

    /// The address of a next page. Only path and query count: who stands behind a proxy often names the wrong scheme or port.
    fn follow(&self, link: &str) -> Option<reqwest::Url> {
        let link = self.url.join(link).ok()?;
        let mut url = self.url.clone();
        (link.host_str() == url.host_str()).then(|| {
            url.set_path(link.path());
            url.set_query(link.query());
            url
        })
    }

    async fn page(&self, url: reqwest::Url, header: Option<&SecretHeader>, what: &str, into: &mut Vec<u8>) -> Result<(), SourceError> {
        let mut request = self.client.get(url);
        if let Some(header) = header {
            request = header.on(request);
        }
        if self.settings.format == Format::Prometheus {
            request = request.header(REFRESH, self.interval.as_secs().max(1));
        }
        let lost = |error: reqwest::Error| SourceError::Unreachable { what: what.to_owned(), why: root_cause(&error) };
        let mut response = good(request.send().await.map_err(lost)?, header, what).await?;
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            if (into.len() + piece.len()) as u64 > self.settings.max_bytes {
                return Err(too_large(what, self.settings.max_bytes));
            }
            into.extend_from_slice(&piece);
        }
        Ok(())
    }
}

impl Source for Url {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn list<'a>(&'a mut self, _: Meanwhile<'a>) -> BoxFuture<'a, Result<Listing, SourceError>> {
        Box::pin(async {
            let listing = self.ask().await?;
            self.known = Some(listing.clone());
            Ok(listing)
        })
    }

    fn known(&self) -> Option<Listing> {
        self.known.clone()
    }
}

/// A URL as messages name it: without the query, which may hold a secret.
fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Where these fail there is none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

fn strange(what: &str, found: &str) -> SourceError {
    let (what, found) = (what.to_owned(), found.to_owned());
    SourceError::Broken { what, found, expected: "pages that end".to_owned() }
}

/// A refusal becomes an error with the beginning of what the server says.
async fn good(mut response: Response, header: Option<&SecretHeader>, what: &str) -> Result<Response, SourceError> {
    const LONGEST: usize = 200;
    let (status, what) = (response.status(), what.to_owned());
    if status.is_success() {
        return Ok(response);
    }
    let reason = status.canonical_reason().unwrap_or("no reason").to_owned();
    if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
        let hint = if header.is_some() { "is the header file's content still valid?" } else { "give a header by --header-file" };
        return Err(SourceError::Refused { what, why: format!("{} {reason} ({hint})", status.as_u16()) });
    }
    if status.is_redirection() {
        let why = "it sends us to another place; name that place itself".to_owned();
        return Err(SourceError::Status { what, status: status.as_u16(), why });
    }
    let mut text = Vec::new();
    while text.len() < 4 * LONGEST
        && let Ok(Some(piece)) = response.chunk().await
    {
        text.extend_from_slice(&piece[..piece.len().min(4 * LONGEST)]);
    }
    // First without the secret, then cut: half a secret is not found.
    let text = String::from_utf8_lossy(&text).into_owned();
    let text = header.map_or_else(|| text.clone(), |header| header.hide(text.clone()));
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    let why = if text.trim().is_empty() { reason } else { format!("{reason}: {}", text.trim()) };
    Err(SourceError::Status { what, status: status.as_u16(), why })
}

#[cfg(test)]
mod tests;
