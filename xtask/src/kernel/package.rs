//! Debian's package of a kernel: found, fetched by apt, which checks its signature, and unpacked under `target/kernels`.
//!
//! A series that the system's own lists do not have is looked for in the suites of Debian's releases, in lists of our own:
//! the same archive and the same keys, and nothing of the system changes.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{debian, step, workspace};

/// The releases of Debian, by the series of their kernels.
const RELEASES: [(&str, &str); 3] = [("5.10", "bullseye"), ("6.1", "bookworm"), ("6.12", "trixie")];
/// Where newer ones appear first.
const NEWEST: &str = "sid";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// The package's name.
    pub(crate) name: String,
    /// What `uname -r` says of it.
    pub(crate) release: String,
    folder: PathBuf,
}

impl Kernel {
    fn at(folder: PathBuf, name: String) -> Option<Self> {
        let release = name.strip_prefix("linux-image-")?.to_owned();
        let kernel = Self { name, release, folder };
        kernel.image().is_file().then_some(kernel)
    }

    /// What boots.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Its modules, in folders.
    pub(crate) fn modules(&self) -> PathBuf {
        let folder = Path::new("lib/modules").join(&self.release);
        let merged = self.folder.join("usr").join(&folder);
        if merged.is_dir() { merged } else { self.folder.join(folder) }
    }
}

/// Whether it is two numbers with a dot between them.
pub(crate) fn is_series(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor))
}

/// The newest kernel of a series. One that was fetched before is taken as it is: remove its folder for a newer one.
pub(crate) fn ensure(series: &str) -> Result<Kernel> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let here = fs::read_dir(&folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let unpacked = newest_first(series, here).into_iter().find_map(|name| Kernel::at(folder.join(&name), name));
    if let Some(kernel) = unpacked {
        return Ok(kernel);
    }
    ensure!(
        step::in_path("apt-get") && step::in_path("dpkg-deb"),
        "kernels are taken from Debian's packages, by apt-get and dpkg-deb, which are not in the PATH"
    );
    match Lists::system().fetch(series) {
        Ok(kernel) => return Ok(kernel),
        Err(error) => println!("apt's own lists give no kernel {series} ({error:#}): Debian's are asked"),
    }
    let suite = RELEASES.iter().find(|(kernels, _)| *kernels == series).map_or(NEWEST, |(_, suite)| suite);
    let lists = Lists::of(suite)?;
    lists.update()?;
    let known = RELEASES.map(|(kernels, _)| kernels).join(", ");
    lists
        .fetch(series)
        .with_context(|| format!("neither apt's lists nor Debian's {suite} gave a kernel {series}; its releases have {known}"))
}

fn folder() -> PathBuf {
    workspace::target().join("kernels")
}

/// The signed kernels for clouds of one series among these packages, the newest one first.
fn newest_first(series: &str, packages: impl Iterator<Item = String>) -> Vec<String> {
    let start = format!("linux-image-{series}.");
    let mut names: Vec<String> = packages.filter(|name| name.starts_with(&start) && name.ends_with("-cloud-amd64")).collect();
    names.sort_by_cached_key(|name| Reverse(numbers(name)));
    names.dedup();
    names
}

/// The numbers in a text, in order: `6.1.0-50` is newer than `6.1.0-9`.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Lists of packages that apt works with.
struct Lists {
    options: Vec<String>,
}

impl Lists {
    /// The system's own.
    fn system() -> Self {
        Self { options: vec![] }
    }

    /// Lists of one suite of Debian and its security updates, from the archive that apt is configured for.
    fn of(suite: &str) -> Result<Self> {
        let targets = step::output(Command::new("apt-get").args(["indextargets", "--format", FORMAT, "Created-By: Packages"]));
        let [archive, security] = archives(&targets.unwrap_or_default());
        let Some(archive) = archive else { bail!("apt is not configured for an archive of Debian here, so {suite} is nowhere to be had") };
        let apt = folder().join("apt").join(suite);
        for folder in ["state/lists/partial", "cache/archives/partial", "sources"] {
            let folder = apt.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let keys = if Path::new(KEYS).is_file() { format!("Signed-By: {KEYS}\n") } else { String::new() };
        let source = |uri: &str, suite: &str| format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n{keys}\n");
        let mut sources = source(&archive, suite);
        if let Some(security) = security.filter(|_| suite != NEWEST) {
            sources += &source(&security, &format!("{suite}-security"));
        }
        fs::write(apt.join("sources/debian.sources"), sources)?;
        let option = |name: &str, path: &Path| ["-o".into(), format!("{name}={}", path.display())];
        let options = [
            option("Dir::State", &apt.join("state")),
            option("Dir::Cache", &apt.join("cache")),
            option("Dir::Etc::SourceList", Path::new("/dev/null")),
            option("Dir::Etc::SourceParts", &apt.join("sources")),
            // What the system's apt does after an update is for the system's lists.
            option("APT::Update::Post-Invoke", Path::new("")),
            option("APT::Update::Post-Invoke-Success", Path::new("")),
        ];
        Ok(Self { options: options.concat() })
    }

    fn update(&self) -> Result<()> {
        step::run(debian::apt().args(&self.options).arg("update"))
    }

    fn fetch(&self, series: &str) -> Result<Kernel> {
        let names = self.cache().args(["pkgnames", &format!("linux-image-{series}.")]).output().context("cannot run apt-cache")?;
        let names = newest_first(series, String::from_utf8_lossy(&names.stdout).lines().map(String::from));
        // Names that other packages only speak of are listed too.
        let Some(name) = names.into_iter().find(|name| debian::has_candidate(self.cache().args(["policy", name]))) else {
            bail!("apt's lists have no kernel {series} for clouds")
        };
        let draft = folder().join(format!(".{name}.{}", std::process::id()));
        fs::create_dir_all(&draft).with_context(|| format!("cannot make {}", draft.display()))?;
        let place = folder().join(&name);
        let unpacked = debian::download(debian::apt().args(&self.options), &name, &draft)
            .and_then(|deb| step::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(draft.join("unpacked"))))
            .and_then(|()| Ok(fs::rename(draft.join("unpacked"), &place)?));
        let _ = fs::remove_dir_all(&draft);
        unpacked.with_context(|| format!("the kernel {name} could not be had"))?;
        Kernel::at(place, name).context("the package has no kernel in it")
    }

    fn cache(&self) -> Command {
        let mut command = Command::new("apt-cache");
        command.args(&self.options);
        command
    }
}

/// How apt is to show where its lists come from.
const FORMAT: &str = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";

/// The archive of Debian that apt is configured for, and the one of its security updates.
fn archives(targets: &str) -> [Option<String>; 2] {
    let of = |label: &str| {
        targets.lines().find_map(|line| line.strip_prefix("Debian|")?.strip_prefix(label)?.strip_prefix('|').map(String::from))
    };
    [of("Debian"), of("Debian-Security")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_signed_cloud_kernel_of_the_series_comes_first() {
        let names = "linux-image-6.1-cloud-amd64\nlinux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-50-cloud-amd64\n\
                     linux-image-6.1.0-50-cloud-amd64-dbg\nlinux-image-6.1.0-51-cloud-amd64-unsigned\nlinux-image-6.1.0-52-amd64\n\
                     linux-image-6.12.95+deb12-cloud-amd64\nlinux-image-6.1.0-0.deb11.52-cloud-amd64";
        let newest = |series: &str| newest_first(series, names.lines().map(String::from));
        assert_eq!(
            newest("6.1"),
            ["linux-image-6.1.0-50-cloud-amd64", "linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-0.deb11.52-cloud-amd64"]
        );
        assert_eq!(newest("6.12"), ["linux-image-6.12.95+deb12-cloud-amd64"]);
        assert!(newest("5.10").is_empty());
    }

    #[test]
    fn archives_are_those_that_apt_is_configured_for() {
        let targets = "Debian|Debian|http://mirror.example/debian/\nDebian|Debian-Security|http://mirror.example/security/\n\
                       Debian|Debian|http://mirror.example/other/\nnode|node|https://node.example/\n";
        let found = [Some("http://mirror.example/debian/".into()), Some("http://mirror.example/security/".into())];
        assert_eq!(archives(targets), found);
        assert_eq!(archives("Ubuntu|Ubuntu|http://mirror.example/ubuntu/\n"), [None, None]);
    }

    #[test]
    fn series_are_two_numbers() {
        assert!(is_series("6.1") && is_series("5.10"));
        assert!(!["6", "6.", ".1", "6.1.0", "6.x", "", "../6.1"].into_iter().any(is_series));
    }
}
