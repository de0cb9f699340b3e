//! The live source against real services: Keystone, Neutron, Nova and RabbitMQ on loopback (`cargo xtask cloud up`).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::Method;
use rollcall_control::hosts::Monitor;
use rollcall_control::source::openstack::notify::Settings as Notifications;
use rollcall_control::source::openstack::{OpenStack, OpenStackSettings};
use rollcall_control::source::{Listing, Source as _, SourceError};
use rollcall_control::sync::guard::Guard;
use rollcall_tests::cloud::relay::Relay;
use rollcall_tests::cloud::site::Site;

const PORTS: usize = 300;
/// How long a change may take to be heard of: what is tested is that it comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cloud that is taken down when this is dropped: it lasts as long as its standard input is open.
struct Cloud {
    process: Child,
    described: PathBuf,
    _folder: tempfile::TempDir,
}

impl Cloud {
    /// `None`, said aloud, where it cannot be had.
    fn start(test: &str) -> Result<Option<Cloud>> {
        let folder = tempfile::tempdir()?;
        let (dir, log) = (folder.path().join("cloud"), folder.path().join("log"));
        let mut process = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["xtask", "cloud", "up", "--foreground", "--ports", &PORTS.to_string(), "--page", "100", "--dir"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("cannot run cargo xtask")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        if line.trim().is_empty() {
            process.wait()?;
            let mut said = String::new();
            std::fs::File::open(&log)?.read_to_string(&mut said)?;
            ensure!(said.contains("the cloud cannot be had here"), "cargo xtask cloud up failed:\n{said}");
            println!("SKIPPED: {test}: {}", said.lines().last().unwrap_or_default());
            return Ok(None);
        }
        Ok(Some(Cloud { process, described: line.trim().into(), _folder: folder }))
    }

    fn service(&self, verb: &str, name: &str) -> Result<()> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let dir = self.described.parent().context("a folder")?;
        let output = command.args(["xtask", "cloud", verb, name, "--dir"]).arg(dir).output()?;
        ensure!(output.status.success(), "cannot {verb} {name}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

async fn list(source: &mut OpenStack) -> Result<Listing, SourceError> {
    source.list(&mut |_| {}).await
}

fn open(settings: OpenStackSettings) -> Result<OpenStack> {
    OpenStack::new(settings).map_err(|error| anyhow!("{error}"))
}

/// Port, and user and virtual host, of what stands behind the scheme of a broker's URL.
fn apart(url: &str) -> Option<(&str, (&str, &str))> {
    let (user, rest) = url.split_once('@')?;
    let (place, vhost) = rest.split_once('/')?;
    Some((place.split_once(':')?.1, (user, vhost)))
}

/// Waits until what is known of a host is so.
async fn until(source: &mut OpenStack, host: &str, wanted: impl Fn(Option<Monitor>) -> bool) -> Result<()> {
    let seen = |source: &OpenStack| {
        source.known().and_then(|listing| listing.hosts.into_iter().find(|known| known.id == host)).map(|host| host.monitor)
    };
    let work = async {
        while !wanted(seen(source)) {
            source.changed().await;
            if source.wants_list() {
                list(source).await.map_err(|error| anyhow!("{error}"))?;
            }
        }
        Ok(())
    };
    let waited = tokio::time::timeout(PATIENCE, work).await;
    waited.unwrap_or_else(|_| Err(anyhow!("host {host} is {:?}", seen(source))))
}

#[tokio::test(flavor = "multi_thread")]
async fn real_openstack_is_listed_and_followed_and_its_faults_remove_nobody() -> Result<()> {
    let Some(cloud) = Cloud::start("real_openstack_is_listed_and_followed_and_its_faults_remove_nobody")? else { return Ok(()) };
    let site = Site::open(&cloud.described).await?;
    let watched = PORTS - site.count("off")? as usize;

    // Password and application credential, both with the least rights, and the administrator see the same.
    let first = list(&mut open(site.settings("monitor")?)?).await?;
    assert_eq!((first.hosts.len(), &first.warnings[..]), (watched, &[][..]));
    assert_eq!(
        first.hosts.iter().filter(|host| host.tags.iter().any(|tag| tag == "rollcall-policy=gold")).count() as u64,
        site.count("gold")? - gold_and_off()
    );
    for account in ["application", "admin"] {
        assert_eq!(list(&mut open(site.settings(account)?)?).await?, first, "{account}");
    }

    // A server's life, told by Nova and Neutron themselves, by way of TLS: a broker whose certificate is not known is told nothing.
    let folder = tempfile::tempdir()?;
    let url = fs::read_to_string(site.text("/rabbit/url_file")?)?;
    let (behind, (user, vhost)) = url.trim().strip_prefix("amqp://").and_then(apart).context("amqp://USER:PASSWORD@HOST:PORT/VHOST")?;
    let relay = Relay::start(folder.path(), behind.parse()?).await?;
    let url_file = folder.path().join("url");
    fs::write(&url_file, format!("amqps://{user}@{}/{vhost}", relay.address))?;
    fs::set_permissions(&url_file, fs::Permissions::from_mode(0o600))?;
    let follows = |cacert| {
        let notifications = Notifications {
            url_file: url_file.clone(),
            exchanges: vec!["neutron".into(), "nova".into()],
            topics: vec!["notifications".into(), "versioned_notifications".into()],
            cacert,
        };
        let settings = OpenStackSettings { notifications: Some(notifications), grace: Duration::from_secs(1), ..site.settings("monitor")? };
        open(settings)?.following(Guard { percent: 20, allow: false }).map_err(|error| anyhow!("{error}"))
    };
    let stranger = follows(None)?;
    let mut source = follows(Some(relay.certificate.clone()))?;
    list(&mut source).await?;
    let connected = |source: &OpenStack| source.notifications().is_some_and(|standing| standing.connected.load(Ordering::Relaxed));
    tokio::time::timeout(PATIENCE, async {
        while !connected(&source) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .context("no connection to the broker by TLS")?;
    // Whoever does not know the certificate says so, and stays away.
    let refused = async {
        loop {
            let trouble = stranger.notifications().and_then(|standing| standing.trouble.lock().ok()?.clone());
            match trouble {
                Some(trouble) => return trouble,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let trouble = tokio::time::timeout(PATIENCE, refused).await.context("a broker whose certificate nobody knows is not refused")?;
    ensure!(trouble.contains("certificate") && !connected(&stranger), "a broker whose certificate nobody knows: {trouble}");
    drop(stranger);
    let text = |value: &serde_json::Value| value["server"].as_str().map(str::to_owned).context("a server has an id");
    let server = text(&site.server(&["create", "blue", "web", "rollcall-policy=gold"])?)?;
    until(&mut source, &server, |monitor| monitor == Some(Monitor::Silent)).await?;
    until(&mut source, &server, |monitor| monitor == Some(Monitor::On)).await.context("its grace is over")?;
    for verb in ["stop", "start", "live-migrate", "pause", "unpause"] {
        site.server(&["begin", verb, &server])?;
        until(&mut source, &server, |monitor| monitor == Some(Monitor::Silent)).await.context(verb)?;
        site.server(&["end", verb, &server])?;
        let runs = !["stop", "pause"].contains(&verb);
        until(&mut source, &server, |monitor| monitor == Some(if runs { Monitor::On } else { Monitor::Silent })).await.context(verb)?;
    }
    site.server(&["metadata", &server, "rollcall=off"])?;
    until(&mut source, &server, |monitor| monitor.is_none()).await.context("its owner turned it off")?;
    site.server(&["metadata", &server, "rollcall=on"])?;
    until(&mut source, &server, |monitor| monitor == Some(Monitor::On)).await?;
    site.server(&["delete", &server])?;
    until(&mut source, &server, |monitor| monitor.is_none()).await?;

    // The broker restarts: what it told meanwhile is not known, so everything is listed anew.
    list(&mut source).await?;
    cloud.service("stop", "rabbitmq")?;
    cloud.service("start", "rabbitmq")?;
    let heard = async {
        while !source.wants_list() {
            source.changed().await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, heard).await.context("it never came back to the broker")?;
    let healed = list(&mut source).await?;
    assert_eq!(healed.hosts.len(), watched);

    // A role is lost; nobody is removed for it.
    let place = format!(
        "/projects/{}/users/{}/roles/{}",
        site.text("/projects/monitor")?,
        site.text("/users/monitor")?,
        site.text("/roles/service")?
    );
    site.call(Method::DELETE, "identity", &place, None).await?;
    // Neutron says 200 and nobody, which would be an empty list; Nova, which is asked last, refuses.
    let error = list(&mut open(site.settings("monitor")?)?).await.err().context("a lost role is not told")?.to_string();
    ensure!(error.contains("/servers/detail refuses the credential: 403"), "{error}");
    // Its token is from before: as long as the services remember that they believed it they list all, and then they refuse.
    match list(&mut source).await {
        Ok(listing) => ensure!(listing.hosts.len() == healed.hosts.len(), "a list of {} hosts is believed", listing.hosts.len()),
        Err(error) => ensure!(matches!(error, SourceError::Refused { .. } | SourceError::Configuration(_)), "{error}"),
    }
    assert_eq!(source.known().map(|known| known.hosts.len()), Some(healed.hosts.len()));
    site.call(Method::PUT, "identity", &place, None).await?;
    list(&mut source).await?;

    // Keystone is away: whoever has a token goes on, whoever has none says so.
    cloud.service("stop", "keystone")?;
    let error = list(&mut open(site.settings("monitor")?)?).await.unwrap_err().to_string();
    assert!(error.contains("/v3/auth/tokens cannot be reached"), "{error}");
    assert!(source.known().is_some_and(|known| known.hosts.len() >= watched));
    cloud.service("start", "keystone")?;
    list(&mut source).await?;
    Ok(())
}

/// Of the seeded servers every tenth has a policy and every fiftieth is off: those are both.
fn gold_and_off() -> u64 {
    (PORTS as u64 - 1) / 50
}
