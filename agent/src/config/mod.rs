//! The agent's own configuration: what only it knows. A TOML file, or flags for a first try.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rollcall_agent_ebpf::config::Tags;
use serde::{Deserialize, Deserializer};

use crate::alarm::{AgentAlarmConfig, FlapConfig, RouteConfig, StormConfig};
use crate::reply::Receive;
use crate::schedule::Pps;
use crate::wire::Transmit;

/// The commented template that `rollcall-agent config` prints.
pub const TEMPLATE: &str = include_str!("template.toml");

/// Most canaries of a network.
const CANARIES: usize = 16;
/// Within which time everybody may be asked for each address.
const CONFLICT_CHECK: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

mod vlan;

pub use self::vlan::Vlan;

/// All settings, defaults filled in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where API and metrics listen.
    pub listen: SocketAddr,
    /// File with the token for calls that change something.
    pub token_file: Option<PathBuf>,
    /// Where the agent keeps what must survive a restart.
    pub state_directory: PathBuf,
    /// A table to start with.
    pub table: Option<PathBuf>,
    /// Most probes per second.
    pub pps: Pps,
    /// Which receiver to use.
    pub receive: Receive,
    /// How probes are sent.
    pub transmit: Transmit,
    /// Most series of single addresses.
    pub metrics_max_abnormal: usize,
    /// When many silent addresses are one alarm.
    pub storm: StormConfig,
    /// When an address that turns again and again is one alarm.
    pub flapping: FlapConfig,
    /// When the agent cannot see, and who hears of it.
    pub agent_alarm: AgentAlarmConfig,
    /// The networks.
    #[serde(rename = "network")]
    pub networks: Vec<NetworkConfig>,
    /// The alarm routes.
    #[serde(rename = "route")]
    pub routes: Vec<RouteConfig>,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Its name in the host lists.
    pub name: String,
    /// The interface that is attached to it.
    pub interface: String,
    /// The network namespace that the interface is in: a name as `ip netns` shows it, or a path.
    pub namespace: Option<String>,
    /// VLAN tag or tags of its frames.
    pub vlan: Option<Vlan>,
    /// Source address of probes.
    pub source: Option<Ipv4Addr>,
    /// Source address of probes of IPv6 addresses that are not link-local.
    pub source_v6: Option<Ipv6Addr>,
    /// Gateway for what is not on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Gateway for IPv6 addresses that are not on the link.
    pub gateway_v6: Option<Ipv6Addr>,
    /// Prefixes that are on the link.
    pub on_link: Option<Vec<Prefix>>,
    /// Addresses on the link whose answers show that the agent hears, beside the gateways.
    #[serde(default)]
    pub canary: Vec<IpAddr>,
    /// Within which time everybody is asked for each address once, to find second owners.
    #[serde(default, with = "humantime_serde")]
    pub conflict_check: Option<Duration>,
}

/// An IPv4 or IPv6 prefix, as `10.0.0.0/16` or `2001:db8::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(pub IpAddr, pub u8);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("found {text:?}, allowed: a prefix as 10.0.0.0/16 or 2001:db8::/64");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv6() { 128 } else { 32 };
        let length: u8 = length.parse().ok().filter(|length| *length <= most).ok_or_else(wrong)?;
        Ok(Prefix(address, length))
    }
}

impl Prefix {
    /// The same without host bits.
    fn network(self) -> Self {
        let Prefix(address, length) = self;
        let address = match address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into(),
        };
        Prefix(address, length)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl NetworkConfig {
    /// Of an interface, all else as the kernel knows it.
    pub fn new(name: &str, interface: &str) -> Self {
        NetworkConfig {
            name: name.into(),
            interface: interface.into(),
            namespace: None,
            vlan: None,
            source: None,
            source_v6: None,
            gateway: None,
            gateway_v6: None,
            on_link: None,
            canary: vec![],
            conflict_check: None,
        }
    }

    /// Where the network namespace of its interface is; `None`: the agent's own.
    pub fn namespace_path(&self) -> Option<PathBuf> {
        self.namespace.as_deref().map(crate::namespace::path_of)
    }

    /// VLAN tags of its frames.
    pub fn tags(&self) -> Tags {
        self.vlan.map_or(Tags::default(), |vlan| vlan.0)
    }
}

impl FromStr for NetworkConfig {
    type Err = String;

    /// `NAME=INTERFACE`, as on the command line.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, interface)) if !name.is_empty() && !interface.is_empty() => Ok(NetworkConfig::new(name, interface)),
            _ => Err(format!("found {text:?}, allowed: NAME=INTERFACE, as tenant-a=eth1")),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9798)),
            token_file: None,
            state_directory: "/var/lib/rollcall".into(),
            table: None,
            pps: Pps::new(200_000).unwrap_or_else(|| unreachable!("the default is not zero")),
            receive: Receive::Auto,
            transmit: Transmit::Auto,
            metrics_max_abnormal: 1000,
            storm: StormConfig::default(),
            flapping: FlapConfig::default(),
            agent_alarm: AgentAlarmConfig::default(),
            networks: vec![],
            routes: vec![],
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read it: {error}", path = path.display())]
    Read { path: PathBuf, error: std::io::Error },
    /// Not TOML, or not our fields.
    #[error("{path}: {error}\n(`rollcall-agent config` prints a template with every setting)", path = path.display())]
    Syntax { path: PathBuf, error: String },
    /// Rules that are broken, all of them.
    #[error("{}", .0.join("\n"))]
    Mistakes(Vec<String>),
}

impl Config {
    /// Reads a file. Rules between settings are checked by [`Config::check`], after flags were applied.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.into(), error })?;
        toml::from_str(&text).map_err(|error| ConfigError::Syntax { path: path.into(), error: error.to_string().trim_end().into() })
    }

    /// Every rule that is broken, each naming the setting, what was found and what is allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut mistakes = Vec::new();
        if self.networks.is_empty() {
            mistakes.push("network: found none, allowed: at least one [[network]] section, or --network NAME=INTERFACE".to_owned());
        }
        let mut names = BTreeSet::new();
        let mut interfaces = BTreeSet::new();
        for network in &self.networks {
            let NetworkConfig { name, interface, .. } = network;
            if name.is_empty() || interface.is_empty() {
                mistakes.push(format!("network {name:?}: name and interface: found an empty one, allowed: text"));
            }
            if !names.insert(name) {
                mistakes.push(format!("network {name:?}: name: found twice, allowed: each network once"));
            }
            if !interfaces.insert((network.namespace_path(), interface, network.tags().word())) {
                mistakes.push(format!(
                    "network {name:?}: interface: found {interface:?} a second time, allowed: one network for each interface and VLAN of a namespace"
                ));
            }
            if network.namespace.as_deref() == Some("") {
                mistakes
                    .push(format!("network {name:?}: namespace: found an empty text, allowed: a name as `ip netns` shows it, or a path"));
            }
            if network.canary.len() > CANARIES {
                mistakes.push(format!("network {name:?}: canary: found {} addresses, allowed: up to {CANARIES}", network.canary.len()));
            }
            if network.conflict_check.is_some_and(|period| !CONFLICT_CHECK.contains(&period)) {
                mistakes.push(format!("network {name:?}: conflict_check: found a period out of reach, allowed: 1s to 30days"));
            }
            for prefix in network.on_link.iter().flatten() {
                let right = prefix.network();
                if *prefix != right {
                    let (Prefix(address, length), Prefix(right, _)) = (prefix, right);
                    mistakes
                        .push(format!("network {name:?}: on_link: found {address}/{length} with host bits set, allowed: {right}/{length}"));
                }
            }
        }
        if self.receive == Receive::Socket && self.transmit == Transmit::Kernel {
            mistakes.push(
                "transmit: found \"kernel\" with receive = \"socket\", allowed: \"socket\" or \"auto\" (the program that makes probes in the kernel is the one that receives)".to_owned(),
            );
        }
        if !is_loopback(self.listen.ip()) && self.token_file.is_none() {
            mistakes.push(format!("listen: found {} without a token_file, allowed: a loopback address, or a token_file", self.listen));
        }
        if let Err(error) = self.token() {
            mistakes.push(error);
        }
        mistakes.extend(crate::alarm::check_routes(&self.routes).into_iter().map(|mistake| mistake.to_string()));
        mistakes.extend(self.storm.mistakes());
        mistakes.extend(self.flapping.mistakes());
        mistakes.extend(self.agent_alarm.mistakes(&self.routes.iter().map(RouteConfig::name).collect::<Vec<_>>()));
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigError::Mistakes(mistakes)) }
    }

    /// The token for changing calls, when one is set.
    pub fn token(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let shown = path.display();
        let metadata = std::fs::metadata(path).map_err(|error| format!("token_file: {shown} cannot be read: {error}"))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o007 != 0 {
            return Err(format!("token_file: everybody can read {shown} (mode {:o}): chmod 600 {shown}", mode & 0o777));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("token_file: {shown} cannot be read: {error}"))?;
        let token = text.trim();
        if token.len() < 16 || token.contains(char::is_whitespace) {
            return Err(format!("token_file: {shown}: found {} characters, allowed: one word of at least 16", token.len()));
        }
        Ok(Some(token.to_owned()))
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_with_nothing_uncommented_is_the_default() {
        assert_eq!(toml::from_str::<Config>(TEMPLATE).unwrap(), Config::default());
    }

    #[test]
    fn template_with_everything_uncommented_is_valid_and_names_every_setting() {
        let all: String = TEMPLATE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let config: Config = toml::from_str(&all).unwrap();
        let default = Config::default();
        assert_eq!((config.listen, config.pps, config.receive), (default.listen, default.pps, default.receive));
        assert_eq!(config.transmit, default.transmit);
        assert_eq!((config.storm, config.flapping, config.agent_alarm.hold), (default.storm, default.flapping, default.agent_alarm.hold));
        assert_eq!((config.networks.len(), config.routes.len()), (1, 3));
        assert_eq!(config.networks[0].on_link, Some(vec![Prefix(Ipv4Addr::new(10, 0, 0, 0).into(), 16), "2001:db8::/64".parse().unwrap()]));
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let config: Config = toml::from_str(
            "listen = \"0.0.0.0:9798\"\n[[network]]\nname = \"a\"\ninterface = \"x\"\n[[network]]\nname = \"a\"\ninterface = \"x\"\non_link = [\"10.0.0.1/8\"]\n",
        )
        .unwrap();
        let ConfigError::Mistakes(mistakes) = config.check().unwrap_err() else { panic!() };
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
        assert!(mistakes[2].contains("allowed: 10.0.0.0/8"), "{}", mistakes[2]);
    }

    #[test]
    fn zero_pps_and_unknown_settings_are_refused() {
        for (text, wanted) in [("pps = 0", "nonzero"), ("ppm = 3", "unknown field `ppm`"), ("receive = \"magic\"", "`auto`")] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("line 1"), "{error}");
        }
    }

    #[test]
    fn token_that_everybody_can_read_is_refused_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let config = Config { token_file: Some(path.clone()), ..Config::default() };
        let mode = |mode| std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(config.token().unwrap_err().contains("chmod 600"));
        mode(0o600);
        assert_eq!(config.token().unwrap().as_deref(), Some("0123456789abcdef"));
        std::fs::write(&path, "short").unwrap();
        assert!(config.token().unwrap_err().contains("at least 16"));
    }
}
