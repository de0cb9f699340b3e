//! `sync.toml`: sources, agents, and the rules between them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use globset::{Glob, GlobSet, GlobSetBuilder};
use reqwest::Url;
use serde::Deserialize;

use super::guard::Guard;
use crate::client::AgentArgs;
use crate::source::file::{File, FileSettings};
use crate::source::openstack::{OpenStack, OpenStackSettings};
use crate::source::url::{Url as UrlSource, UrlSettings};
use crate::source::{Source, secret};

/// Shortest and longest interval.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Policy file; read anew at every interval.
    pub policy: PathBuf,
    /// Between two full lists of each source.
    #[serde(default = "minute", with = "humantime_serde")]
    pub interval: Duration,
    /// Where metrics and health are served; nowhere if absent.
    pub listen: Option<SocketAddr>,
    /// By how many per cent a list may shrink at once.
    #[serde(default = "fifth")]
    pub max_shrink_percent: u8,
    /// Where hosts come from.
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceSettings>,
    /// Who probes them.
    #[serde(default, rename = "agent")]
    pub agents: Vec<AgentSettings>,
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

fn fifth() -> u8 {
    20
}

/// `[[source]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SourceSettings {
    /// A file in one of the formats of `rollcall import`.
    File(FileSettings),
    /// The same from a URL.
    Url(UrlSettings),
    /// A live OpenStack.
    OpenStack(Box<OpenStackSettings>),
}

/// `[[agent]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// What it is called in messages and metrics, and by what its share of a network is found: it keeps it as long as it keeps its name.
    pub name: String,
    /// Its API.
    #[serde(deserialize_with = "url")]
    pub url: Url,
    /// File with its token; needed unless it listens on loopback only.
    pub token_file: Option<PathBuf>,
    /// The networks that it is attached to; `*` is any text.
    pub networks: Vec<String>,
}

fn url<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    let allowed = "allowed: a URL such as http://10.0.0.5:9798 (a token goes into a file: token_file)";
    let wrong = |found: String| serde::de::Error::custom(format!("url: found {found}, {allowed}"));
    // It is not shown: a password may stand in it.
    let url: Url = String::deserialize(from)?.parse().map_err(|error| wrong(format!("what is no URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("a user, a password or a query in it".to_owned()));
    }
    Ok(url)
}

/// What is wrong with the file, and where. Of the line itself nothing is shown: a secret that is misplaced may stand there.
fn mistake(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => anyhow!("line {}: {}", before.matches('\n').count() + 1, error.message()),
        None => anyhow!("{}", error.message()),
    }
}

impl Config {
    /// Reads and checks the file. Paths in it are relative to where it is.
    pub fn read(path: &Path) -> Result<Config> {
        let what = || format!("cannot use {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        let mut config: Config = toml::from_str(&text).map_err(|error| mistake(&error, &text)).with_context(what)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let files = config.sources.iter_mut().flat_map(SourceSettings::files);
        let tokens = config.agents.iter_mut().filter_map(|agent| agent.token_file.as_mut());
        for file in files.chain(tokens).chain([&mut config.policy]) {
            *file = folder.join(&*file);
        }
        config.check().with_context(what)?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            (INTERVAL.0..=INTERVAL.1).contains(&self.interval),
            "interval: found {}, allowed: 1s to 24h",
            humantime::format_duration(self.interval)
        );
        ensure!(self.max_shrink_percent <= 100, "max_shrink_percent: found {}, allowed: 0 to 100", self.max_shrink_percent);
        ensure!(!self.sources.is_empty(), "source: found none, allowed: at least one [[source]]");
        ensure!(!self.agents.is_empty(), "agent: found none, allowed: at least one [[agent]]");
        unique("source", self.sources.iter().map(SourceSettings::name))?;
        unique("agent", self.agents.iter().map(|agent| agent.name.as_str()))?;
        for agent in &self.agents {
            ensure!(!agent.networks.is_empty(), "agent {:?}: networks: found none, allowed: at least one (\"*\" is all)", agent.name);
            agent.globs()?;
            if let Some(token) = &agent.token_file {
                secret::only_ours(token).with_context(|| format!("agent {:?}: token_file", agent.name))?;
            }
        }
        Ok(())
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut known = BTreeSet::new();
    for name in names {
        ensure!(!name.is_empty(), "{what}: name: found an empty text, allowed: a name of its own");
        if !known.insert(name) {
            bail!("{what} {name:?}: found twice, allowed: each name once");
        }
    }
    Ok(())
}

impl SourceSettings {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            SourceSettings::File(settings) => &settings.name,
            SourceSettings::Url(settings) => &settings.name,
            SourceSettings::OpenStack(settings) => &settings.name,
        }
    }

    fn files(&mut self) -> Vec<&mut PathBuf> {
        match self {
            SourceSettings::File(settings) => std::iter::once(&mut settings.path).chain(settings.servers.as_mut()).collect(),
            SourceSettings::Url(settings) => settings.header_file.as_mut().into_iter().chain(settings.servers.as_mut()).collect(),
            SourceSettings::OpenStack(settings) => {
                let notifications = settings.notifications.as_mut();
                let more =
                    notifications.into_iter().flat_map(|settings| std::iter::once(&mut settings.url_file).chain(settings.cacert.as_mut()));
                settings.clouds_file.as_mut().into_iter().chain(more).collect()
            }
        }
    }

    /// Prepares the source. One that follows changes hears of them from now on; what it believes of its own lists is up to the guard.
    pub fn open(&self, interval: Duration, follows: Option<Guard>) -> Result<Box<dyn Source>> {
        let opened: Result<Box<dyn Source>, _> = match self.clone() {
            SourceSettings::File(settings) => File::new(settings).map(|source| Box::new(source) as _),
            SourceSettings::Url(settings) => UrlSource::new(settings, interval).map(|source| Box::new(source) as _),
            SourceSettings::OpenStack(settings) => {
                let source = OpenStack::new(*settings).and_then(|source| match follows {
                    Some(guard) => source.following(guard),
                    None => Ok(source),
                });
                source.map(|source| Box::new(source) as _)
            }
        };
        opened.with_context(|| format!("source {:?}", self.name()))
    }
}

impl AgentSettings {
    /// Which networks it is attached to.
    pub fn globs(&self) -> Result<GlobSet> {
        let mut globs = GlobSetBuilder::new();
        for network in &self.networks {
            let wrong = || format!("agent {:?}: networks: found {network:?}, allowed: names, in which * is any text", self.name);
            globs.add(Glob::new(network).with_context(wrong)?);
        }
        Ok(globs.build()?)
    }

    /// How it is called.
    pub fn args(&self) -> AgentArgs {
        AgentArgs { agent: self.url.clone(), token_file: self.token_file.clone() }
    }
}
