//! `rollcall import`: a host list from somebody else's list.

use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::anyhow;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::screen::Screen;
use crate::source::file::{MAX_BYTES, bounded, read};
use crate::source::format::{Format, Networks, OWNERS, Options, owners};
use crate::source::openstack::{OpenStack, OpenStackSettings};
use crate::source::url::{Url, UrlSettings};
use crate::source::{Listing, Source, SourceError};
use crate::warning::tell;

/// What a URL that wants to know is told of how often it is asked: as often as Prometheus asks by default.
const REFRESH: Duration = Duration::from_secs(60);

/// As of every verb, but that it asks no agent.
const EXIT_CODES: &str = "\
Exit status:
  0  done; what was left out is a warning
  1  refused: the list is broken, nobody in it can be watched, or the URL or the cloud said no
  2  wrong usage
  3  the URL or the cloud cannot be reached";

/// What is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// A live OpenStack.
    OpenStack,
    /// A list that somebody wrote.
    List(Format),
}

impl ValueEnum for From {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<From>> = LazyLock::new(|| {
            let lists = Format::value_variants().iter().copied().map(From::List);
            std::iter::once(From::OpenStack).chain(lists).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            From::OpenStack => Some(PossibleValue::new("openstack").help("A live OpenStack: --cloud names it, or OS_* of an openrc file")),
            From::List(format) => format.to_possible_value(),
        }
    }
}

/// Make a host list (JSON lines) of somebody else's list: OpenStack, Prometheus, AWS, libvirt, Proxmox, NetBox
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Import {
    /// How the list is written, or `openstack` for a live one
    #[arg(value_name = "FORMAT")]
    format: From,
    /// The list: a file, an http(s) URL, or `-` for standard input
    #[arg(value_name = "FILE|URL|-")]
    from: Option<String>,
    /// With openstack: its name in clouds.yaml
    #[arg(long, value_name = "NAME")]
    cloud: Option<String>,
    /// With openstack: where clouds.yaml is; chmod 600
    #[arg(long, value_name = "FILE")]
    clouds_file: Option<PathBuf>,
    /// With openstack: floating IPs too, in the network that they are of
    #[arg(long)]
    floating_ips: bool,
    /// Network of the addresses, where the list names none; FROM=NAME renames what the list calls FROM (a network, subnet, VPC, VRF)
    #[arg(long = "network", value_name = "NAME|FROM=NAME")]
    networks: Vec<String>,
    /// With neutron: Nova's servers (`{"servers": [...]}`), for names, tags and who is expected to be silent
    #[arg(long, value_name = "FILE")]
    servers: Option<PathBuf>,
    /// With libvirt-domain and proxmox: id of the host that the list is about
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    host: String,
    /// With libvirt-domain and proxmox: name of that host
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// With openstack, neutron and openstack-ports: which owners of ports count; `*` is any text
    #[arg(long, value_name = "PATTERN", default_value = OWNERS)]
    device_owner: Vec<String>,
    /// With a URL: file of one line, a header that is sent along, such as "Authorization: Token SECRET"; chmod 600
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// With a URL: how long a request may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Refuse a list with more bytes
    #[arg(long, value_name = "N", default_value_t = MAX_BYTES)]
    max_bytes: u64,
}

impl Import {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let listing = match self.format {
            From::OpenStack => self.cloud().await?,
            From::List(format) => self.list(format).await?,
        };
        tell(&listing.warnings);
        let mut screen = Screen::new();
        for entry in &listing.hosts {
            serde_json::to_writer(&mut screen, entry)?;
            writeln!(screen)?;
        }
        Ok(screen.flush()?)
    }

    /// Asks a live OpenStack.
    async fn cloud(&self) -> Result<Listing, Failure> {
        if self.from.is_some() || self.servers.is_some() || self.header_file.is_some() {
            return Err(Failure::Usage("openstack is asked itself: it has no FILE, URL, --servers or --header-file".to_owned()));
        }
        let networks = Networks::parse(&self.networks).map_err(usage)?;
        if let Some(other) = networks.other {
            return Err(Failure::Usage(format!("--network {other}: openstack names its networks itself: ID=NAME renames one")));
        }
        let settings = OpenStackSettings::new("import", self.cloud.clone(), self.clouds_file.clone());
        let settings = OpenStackSettings {
            device_owner: self.device_owner.clone(),
            networks: networks.names,
            floating_ips: self.floating_ips,
            timeout: self.timeout,
            // A list that is written once would say for ever what is true for a minute.
            grace: Duration::ZERO,
            ..settings
        };
        OpenStack::new(settings).map_err(usage)?.list(&mut |_| {}).await.map_err(failure)
    }

    /// Reads a list.
    async fn list(&self, format: Format) -> Result<Listing, Failure> {
        let networks = Networks::parse(&self.networks).map_err(usage)?;
        let owners = owners(&self.device_owner).map_err(usage)?;
        let Some(from) = self.from.as_deref() else {
            return Err(Failure::Usage(format!("which list? name a file, a URL, or - after {format}")));
        };
        if self.cloud.is_some() || self.clouds_file.is_some() || self.floating_ips {
            return Err(Failure::Usage(format!("--cloud, --clouds-file and --floating-ips go with openstack, not with {format}")));
        }
        let at_url = from.starts_with("http://") || from.starts_with("https://");
        if self.header_file.is_some() && !at_url {
            return Err(Failure::Usage("--header-file goes with a URL".to_owned()));
        }
        if self.servers.is_some() && format != Format::Neutron {
            return Err(Failure::Usage(format!("--servers goes with {}, not with {format}", Format::Neutron)));
        }
        let options = Options { host: self.host.clone(), host_name: self.name.clone(), owners, ..Options::default() };
        let listing = match at_url {
            true => Url::new(self.url(from, format, networks), REFRESH).map_err(usage)?.list(&mut |_| {}).await,
            false => self.file(from, format, Options { networks, ..options }),
        };
        listing.map_err(failure)
    }

    fn file(&self, from: &str, format: Format, mut options: Options) -> Result<Listing, SourceError> {
        let (what, bytes) = match from {
            "-" => ("<stdin>", bounded(std::io::stdin().lock(), "<stdin>", self.max_bytes)?),
            path => (path, read(path.as_ref(), self.max_bytes)?),
        };
        if let Some(path) = &self.servers {
            options.servers = Some((path.display().to_string(), read(path, self.max_bytes)?));
        }
        format.read(what, &bytes, &options)
    }

    fn url(&self, from: &str, format: Format, networks: Networks) -> UrlSettings {
        UrlSettings {
            name: "import".to_owned(),
            url: from.to_owned(),
            format,
            network: networks.other,
            networks: networks.names,
            host: self.host.clone(),
            host_name: self.name.clone(),
            servers: self.servers.clone(),
            device_owner: self.device_owner.clone(),
            header_file: self.header_file.clone(),
            timeout: self.timeout,
            max_bytes: self.max_bytes,
        }
    }
}

fn usage(error: SourceError) -> Failure {
    Failure::Usage(error.to_string())
}

/// Nobody there is another exit status than a list that is wrong.
fn failure(error: SourceError) -> Failure {
    match error {
        SourceError::Unreachable { .. } => Failure::Unreachable(anyhow!(error)),
        _ => Failure::Refused(anyhow!(error)),
    }
}
