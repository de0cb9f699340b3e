//! `cloud up` and `cloud down`: a folder with everything of one cloud, and the processes that carry its mark.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::base;
use super::cache::{self, Cache};
use super::config::{Ports, Site};
use super::install::{Programs, quietly, write_private};
use super::options::Options;
use super::process::Mark;
use super::service::{Service, Started};
use super::watcher::Watcher;
use crate::step;

/// Says that a folder is ours, to be removed with all that is in it; holds what the cloud was asked to be like.
const OURS: &str = ".rollcall-cloud";

/// What an error begins with where nothing is wrong but that this machine has not got what a cloud needs.
const CANNOT_BE_HAD: &str = "the cloud cannot be had here";

pub(super) fn up(options: &Options) -> Result<()> {
    let dir = options.dir.as_path();
    let described = dir.join("cloud.json");
    if described.exists() && missing(dir).is_empty() {
        let found = std::fs::read_to_string(dir.join(OURS)).unwrap_or_default();
        let down = format!("cargo xtask cloud down --dir {}", dir.display());
        ensure!(!options.foreground, "there is a cloud in {} already; `{down}` ends it", dir.display());
        ensure!(found == options.signature(), "there is a cloud in {} already, another one ({found}); `{down}` ends it", dir.display());
        eprintln!("cloud: is up already");
        println!("{}", described.display());
        return Ok(());
    }
    claim(dir)?;
    // What was left there by one that was not ended well.
    remove(dir)?;
    // In the cache, beside what is made of it; each call has its own.
    let making = cache::folder()?.join(format!("making-{}", std::process::id()));
    let watcher = Watcher::start(&[dir, &making])?;
    let outcome = bring_up(options, &making);
    if outcome.is_ok() {
        println!("{}", described.display());
        std::io::stdout().flush()?;
        if !options.foreground {
            return watcher.done();
        }
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    let removed = remove(&making).and_then(|()| remove(dir));
    watcher.done()?;
    outcome.and(removed)
}

/// Ends a cloud's processes and removes its folder; nothing to do is no mistake.
pub(super) fn down(dir: &Path) -> Result<()> {
    let there = dir.exists() || !Mark::of(dir).processes().is_empty();
    claim(dir)?;
    remove(dir)?;
    eprintln!("cloud: {} {}", dir.display(), if there { "is down" } else { "was not there" });
    Ok(())
}

pub(super) fn stop(dir: &Path, service: Service) -> Result<()> {
    service.former_port(dir)?;
    Mark::of(dir).service(service.name()).end_gently(Duration::from_secs(20))
}

pub(super) fn start(dir: &Path, service: Service) -> Result<()> {
    let port = service.former_port(dir)?;
    if Mark::of(dir).service(service.name()).processes().is_empty() {
        service.start(dir, port)?.ready()?;
    }
    Ok(())
}

/// Becomes one of the cloud's commands.
pub(super) fn command(dir: &Path, name: &str, arguments: &[String]) -> Result<()> {
    let program = dir.join("bin").join(name);
    ensure!(program.exists(), "there is no cloud in {}", dir.display());
    step::become_program(Command::new(program).args(arguments))
}

/// Services that do not run.
fn missing(dir: &Path) -> Vec<&'static str> {
    let runs = |service: &Service| !Mark::of(dir).service(service.name()).processes().is_empty();
    Service::ALL.iter().filter(|service| !runs(service)).map(|service| service.name()).collect()
}

/// Whether the folder is ours to remove, or there is none, or nothing in it.
fn claim(dir: &Path) -> Result<()> {
    let empty = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| format!("cannot use {} for a cloud", dir.display())),
    };
    if !empty && !dir.join(OURS).exists() {
        bail!("{} holds other things than a cloud: it is left as it is; name another folder by --dir", dir.display());
    }
    Ok(())
}

/// Ends what runs of this folder and removes it, if it is ours.
pub(super) fn remove(dir: &Path) -> Result<()> {
    Mark::of(dir).end()?;
    if dir.join(OURS).exists() { cache::remove(dir) } else { Ok(()) }
}

/// A new folder of ours, in which only we may look.
fn own(dir: &Path, signature: &str) -> Result<File> {
    let context = || format!("cannot make {}", dir.display());
    std::fs::create_dir_all(dir).with_context(context)?;
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).with_context(context)?;
    let marker = dir.join(OURS);
    let file = File::create_new(&marker).with_context(|| format!("another `cloud up` is at work in {}", dir.display()))?;
    write_private(&marker, signature, 0o600)?;
    Ok(file)
}

fn bring_up(options: &Options, making: &Path) -> Result<()> {
    let dir = options.dir.as_path();
    own(dir, &options.signature())?;
    let begun = Instant::now();
    let (programs, template) = prepare(making)?;
    let prepared = begun.elapsed();
    base::copy(&template, dir)?;
    let site = Site { dir, programs: &programs, ports: Ports::free()?, page: options.page, token_seconds: options.token_seconds };
    site.write()?;
    site.clouds()?;
    let start = |service: Service| service.start(dir, service.port(&site.ports));
    // Slow to start, and without a need of the databases.
    let mut services = vec![start(Service::Epmd)?, start(Service::Rabbitmq)?];
    let seeding = Instant::now();
    let counts = seed(&site, options.ports)?;
    let seeded = seeding.elapsed();
    for service in [Service::Keystone, Service::Neutron, Service::Nova] {
        services.push(start(service)?);
    }
    services.into_iter().try_for_each(|service: Started| service.ready().map(drop))?;
    describe(&site, &counts)?;
    eprintln!(
        "cloud: is up: {} ports and servers (prepared {:.1} s, seeded {:.1} s, all {:.1} s); `cargo xtask cloud down --dir {}` ends it",
        options.ports,
        prepared.as_secs_f64(),
        seeded.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        dir.display()
    );
    Ok(())
}

/// Programs and template, made where they are missing.
fn prepare(making: &Path) -> Result<(Programs, PathBuf)> {
    let cache = Cache::open()?;
    let programs = Programs::installed(&cache, &Mark::of(making)).context(CANNOT_BE_HAD)?;
    own(making, "")?;
    let template = base::template(&cache, &programs, making);
    remove(making)?;
    Ok((programs, template?))
}

fn seed(site: &Site, ports: u32) -> Result<String> {
    let services = [site.ports.keystone, site.ports.neutron, site.ports.nova].map(|port| port.to_string());
    let mut command = Command::new(site.programs.python());
    command.arg(site.dir.join("bin/rows.py")).arg(site.dir).arg(ports.to_string()).args(services);
    quietly(Mark::of(site.dir).on(&mut command)).context("cannot multiply the template's rows")
}

/// Writes `cloud.json`: last, so that who finds it finds a cloud that is up.
fn describe(site: &Site, counts: &str) -> Result<()> {
    let (dir, ports) = (site.dir.display(), site.ports);
    let mut facts = vec![
        format!("auth_url=http://127.0.0.1:{}/v3", ports.keystone),
        "region=RegionOne".into(),
        format!("clouds_yaml={dir}/clouds.yaml"),
        format!("application_credential_file={dir}/secrets/application-credential.json"),
        format!("rabbit.url_file={dir}/secrets/rabbit-url"),
        format!("commands.server={dir}/bin/server"),
        format!("commands.listen={dir}/bin/listen"),
        format!("databases.keystone={dir}/keystone/keystone.db"),
        format!("databases.neutron={dir}/neutron/neutron.db"),
        format!("databases.nova={dir}/nova/nova.db"),
        format!("databases.nova_api={dir}/nova/nova_api.db"),
        format!("endpoints.identity=http://127.0.0.1:{}/v3", ports.keystone),
        format!("endpoints.network=http://127.0.0.1:{}", ports.neutron),
        format!("endpoints.compute=http://127.0.0.1:{}/v2.1", ports.nova),
        format!("rabbit.port={}", ports.rabbitmq),
    ];
    for user in ["admin", "monitor"] {
        facts.push(format!("accounts.{user}.user={user}"));
        facts.push(format!("accounts.{user}.project={user}"));
        facts.push(format!("accounts.{user}.password_file={dir}/secrets/{user}-password"));
    }
    for exchange in ["neutron", "nova"] {
        facts.push(format!("rabbit.exchanges.{exchange}={exchange}"));
    }
    for service in Service::ALL {
        let pid = std::fs::read_to_string(site.dir.join("log").join(service.name()).with_extension("pid"))?;
        facts.push(format!("pids.{}={}", service.name(), pid.trim()));
    }
    let mut command = Command::new(site.programs.python());
    command.arg(site.dir.join("bin/describe.py")).arg(site.dir).arg(counts.trim()).args(facts);
    quietly(Mark::of(site.dir).on(&mut command)).context("cannot describe the cloud").map(drop)
}
