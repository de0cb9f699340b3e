//! `[[source]]` of type `openstack`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::super::SourceError;
use super::super::format::{OWNERS, owners};
use super::join::Rules;
use super::notify;

/// How an OpenStack is asked, and whom of it is watched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenStackSettings {
    /// What it is called in messages and metrics.
    pub name: String,
    /// Its name in `clouds.yaml`; absent: `OS_CLOUD`, or the credential is in the `OS_*` environment.
    pub cloud: Option<String>,
    /// `clouds.yaml`; absent: `OS_CLIENT_CONFIG_FILE`, `./`, `~/.config/openstack/`, `/etc/openstack/`.
    pub clouds_file: Option<PathBuf>,
    /// Which owners of ports count.
    #[serde(default = "device_owner")]
    pub device_owner: Vec<String>,
    /// Whether hosts are watched whose owner says nothing of `rollcall`.
    #[serde(default)]
    pub default: Default,
    /// How long a host that is new, or active again, may take until its silence means something.
    #[serde(default = "grace", with = "humantime_serde")]
    pub grace: Duration,
    /// Names for networks, by their ids; others are called by their id.
    #[serde(default)]
    pub networks: BTreeMap<String, String>,
    /// Whether floating IPs are addresses of their hosts as well, in the network that they are of.
    #[serde(default)]
    pub floating_ips: bool,
    /// So many of a list are asked for at once.
    #[serde(default = "page_size")]
    pub page_size: u32,
    /// For each request, its answer included.
    #[serde(default = "timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// How to hear of changes at once.
    pub notifications: Option<notify::Settings>,
}

/// Who is watched whose owner says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Default {
    /// Everybody.
    #[default]
    On,
    /// Nobody.
    Off,
}

fn device_owner() -> Vec<String> {
    vec![OWNERS.to_owned()]
}

fn grace() -> Duration {
    Duration::from_secs(60)
}

fn page_size() -> u32 {
    1_000
}

fn timeout() -> Duration {
    super::super::url::TIMEOUT
}

impl OpenStackSettings {
    /// As without any setting, for `rollcall import`.
    pub fn new(name: &str, cloud: Option<String>, clouds_file: Option<PathBuf>) -> OpenStackSettings {
        OpenStackSettings {
            name: name.to_owned(),
            cloud,
            clouds_file,
            device_owner: device_owner(),
            default: Default::On,
            grace: grace(),
            networks: BTreeMap::new(),
            floating_ips: false,
            page_size: page_size(),
            timeout: timeout(),
            notifications: None,
        }
    }

    pub(super) fn rules(&self) -> Result<Rules, SourceError> {
        let wrong = |what: String| SourceError::Configuration(what);
        if self.page_size == 0 {
            return Err(wrong("page_size: found 0, allowed: from 1 on".to_owned()));
        }
        if self.timeout.is_zero() {
            return Err(wrong("timeout: found 0s, allowed: more than that".to_owned()));
        }
        Ok(Rules {
            owners: owners(&self.device_owner)?,
            watched: self.default == Default::On,
            networks: self.networks.clone(),
            floating_ips: self.floating_ips,
        })
    }
}
