//! The programs: OpenStack from PyPI in one virtual environment, RabbitMQ from Debian's packages, unpacked and not installed, so
//! that no service of the system starts and no root is needed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::process::Mark;
use crate::{debian, step};

/// Every package with its version: what was tried is what is installed, whenever.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// RabbitMQ, and the parts of Erlang that it loads.
const BROKER: [&str; 18] = [
    "rabbitmq-server",
    "erlang-asn1",
    "erlang-base",
    "erlang-crypto",
    "erlang-eldap",
    "erlang-ftp",
    "erlang-inets",
    "erlang-mnesia",
    "erlang-os-mon",
    "erlang-parsetools",
    "erlang-public-key",
    "erlang-runtime-tools",
    "erlang-snmp",
    "erlang-ssl",
    "erlang-syntax-tools",
    "erlang-tftp",
    "erlang-tools",
    "erlang-xmerl",
];

/// Where the programs are.
pub(super) struct Programs {
    /// The virtual environment.
    pub(super) openstack: PathBuf,
    /// The root under which RabbitMQ and Erlang lie.
    pub(super) broker: PathBuf,
}

impl Programs {
    /// Those that are there, or else installed now.
    pub(super) fn installed(cache: &Cache, mark: &Mark) -> Result<Self> {
        let python = step::output(Command::new("python3").arg("--version")).unwrap_or_default();
        let of = format!("{python}{REQUIREMENTS}");
        let openstack = cache.made("openstack", &of, |folder| openstack(folder, mark))?;
        let broker = cache.made("rabbitmq", &BROKER.join("\n"), |folder| broker(folder, mark))?;
        Ok(Self { openstack, broker })
    }

    pub(super) fn python(&self) -> PathBuf {
        self.program("python")
    }

    /// A program of the virtual environment.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.openstack.join("bin").join(name)
    }
}

fn openstack(folder: &Path, mark: &Mark) -> Result<()> {
    const ABLE: &str =
        "import ensurepip, os, sys, sysconfig, venv; sys.exit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))";
    let able = step::output(Command::new("python3").args(["-c", ABLE])).is_some() && step::in_path("cc");
    if !able {
        debian::ensure(&["python3-venv", "python3-dev", "gcc", "libc6-dev"], "OpenStack from PyPI, whose web server is compiled,")?;
    }
    let begun = Instant::now();
    eprintln!("cloud: Keystone 30.0.0, Neutron 29.0.0 and Nova 34.0.0 from PyPI into {} (minutes, 550 MB)", folder.display());
    quietly(mark.on(Command::new("python3").args(["-m", "venv"]).arg(folder)))?;
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS)?;
    let mut pip = Command::new("nice");
    pip.arg(folder.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"]).arg(&requirements);
    quietly(mark.on(&mut pip)).context("PyPI does not give OpenStack")?;
    eprintln!("cloud: OpenStack was installed in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

fn broker(folder: &Path, mark: &Mark) -> Result<()> {
    if !step::in_path("apt-get") || !step::in_path("dpkg") {
        bail!("RabbitMQ comes from Debian's packages, and there is no apt-get and dpkg here");
    }
    let begun = Instant::now();
    eprintln!("cloud: RabbitMQ and Erlang from Debian's packages into {} (60 MB)", folder.display());
    if debian::is_root() && BROKER.iter().any(|package| !debian::available(package)) {
        quietly(mark.on(debian::apt().arg("update")))?;
    }
    let packages = folder.join("packages");
    std::fs::create_dir_all(&packages)?;
    let mut download = debian::apt();
    // As root apt gives the download to an account of its own, which may not write into somebody's home.
    download.args(["-o", "APT::Sandbox::User=root", "download"]).args(BROKER).current_dir(&packages);
    quietly(mark.on(&mut download)).context("Debian does not give RabbitMQ; as root, `apt-get update` may help")?;
    for entry in std::fs::read_dir(&packages)? {
        quietly(mark.on(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(folder)))?;
    }
    std::fs::remove_dir_all(&packages)?;
    relocate(&folder.join("usr/lib/erlang/bin/erl"))?;
    eprintln!("cloud: RabbitMQ was unpacked in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Erlang's starter knows but one place where it may be, though the rest of it takes any: now it asks `ERL_ROOTDIR`.
fn relocate(starter: &Path) -> Result<()> {
    let found = std::fs::read_to_string(starter).with_context(|| format!("the packages have no {}", starter.display()))?;
    let changed = found.replace("ROOTDIR=/usr/lib/erlang\n", "ROOTDIR=\"$ERL_ROOTDIR\"\n");
    if changed == found {
        bail!("{} is not like the one that was tried: Erlang cannot be started from elsewhere", starter.display());
    }
    std::fs::write(starter, changed)?;
    Ok(())
}

/// Runs a program, and says what it printed only where it fails.
pub(super) fn quietly(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", short(command)))?;
    if !output.status.success() {
        let said = [output.stderr, output.stdout].concat();
        bail!("`{}` failed: {}\n{}", short(command), output.status, last(&String::from_utf8_lossy(&said), 15));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command without its environment, which may hold a secret.
fn short(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The last lines of what a program said.
pub(super) fn last(said: &str, lines: usize) -> String {
    let all: Vec<&str> = said.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let context = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    let mut file = file.with_context(context)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode)).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}
