//! The template that every cloud is copied from: schemas, catalog, users, networks, and one server, made by the services themselves.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cache::{self, Cache};
use super::config::{self, Ports, Site};
use super::install::{Programs, quietly};
use super::process::Mark;
use super::service::{Service, Started};
use crate::step;

/// What of a cloud is its template.
const KEPT: [&str; 9] = [
    "keystone/keystone.db",
    "keystone/fernet",
    "keystone/credential",
    "neutron/neutron.db",
    "nova/nova.db",
    "nova/nova_api.db",
    "nova/nova_cell0.db",
    "ids.json",
    "secrets",
];

/// The template's folder; it is made in `making`, which is removed again.
pub(super) fn template(cache: &Cache, programs: &Programs, making: &Path) -> Result<std::path::PathBuf> {
    let scripts = [config::BASE, config::TABLES, config::SERVER];
    let settings = [config::KEYSTONE, config::NEUTRON, config::NOVA];
    let versions = std::fs::read_to_string(programs.openstack.join("complete"))?;
    let of = cache::digest(&[scripts.as_slice(), &settings, &[&versions]].concat());
    cache.made("base", &of, |folder| {
        let begun = Instant::now();
        eprintln!("cloud: making the template in {} (once, a minute)", folder.display());
        make(programs, making).context("cannot make the template")?;
        for part in KEPT {
            cache::copy(&making.join(part), &folder.join(part))?;
        }
        cache::remove(making)?;
        eprintln!("cloud: the template was made in {:.0} s", begun.elapsed().as_secs_f64());
        Ok(())
    })
}

/// Copies the template into a new cloud's folder.
pub(super) fn copy(template: &Path, dir: &Path) -> Result<()> {
    KEPT.iter().try_for_each(|part| cache::copy(&template.join(part), &dir.join(part)))
}

fn make(programs: &Programs, dir: &Path) -> Result<()> {
    let site = Site { dir, programs, ports: Ports::free()?, page: 1_000, token_seconds: 3_600 };
    site.write()?;
    schemas(&site)?;
    let start = |service: Service| service.start(dir, service.port(&site.ports));
    let services = Service::ALL.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    services.into_iter().try_for_each(|service: Started| service.ready().map(drop))?;
    python(&site, "base.py", &["identity"])?;
    python(&site, "base.py", &["network"])?;
    let dir_text = dir.display().to_string();
    let mark = Mark::of(dir);
    let script = dir.join("bin/server.py");
    let mut server = Command::new(programs.python());
    server.arg(script).args([dir_text.as_str(), "create", "blue", "vm-00000", "customer=acme"]);
    quietly(mark.on(&mut server))?;
    python(&site, "base.py", &["floating"])?;
    // Gently: their databases are to be copied.
    for service in [Service::Nova, Service::Neutron, Service::Keystone] {
        mark.service(service.name()).end_gently(Duration::from_secs(20))?;
    }
    mark.end()
}

fn python(site: &Site, script: &str, first: &[&str]) -> Result<()> {
    let ports = [site.ports.keystone, site.ports.neutron, site.ports.nova].map(|port| port.to_string());
    let mut command = Command::new(site.programs.python());
    command.arg(site.dir.join("bin").join(script)).args(first).arg(site.dir).args(ports);
    quietly(Mark::of(site.dir).on(&mut command)).map(drop)
}

/// The three services' databases, at the same time.
fn schemas(site: &Site) -> Result<()> {
    std::thread::scope(|scope| {
        let threads = [scope.spawn(|| keystone(site)), scope.spawn(|| neutron(site)), scope.spawn(|| nova(site))];
        threads.into_iter().try_for_each(|thread| thread.join().expect("making a schema does not panic"))
    })
}

fn keystone(site: &Site) -> Result<()> {
    let url = format!("http://127.0.0.1:{}/v3/", site.ports.keystone);
    for folder in ["fernet", "credential"] {
        let folder = site.dir.join("keystone").join(folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    }
    let manage = |arguments: &[&str]| {
        let mut command = Command::new(site.programs.program("keystone-manage"));
        command.arg("--config-file").arg(site.dir.join("keystone/keystone.conf")).args(arguments);
        // Not as an argument: a command line is for all to see.
        command.env("OS_BOOTSTRAP_PASSWORD", site.secret("admin-password")?);
        quietly(Mark::of(site.dir).on(&mut command)).map(drop)
    };
    manage(&["db_sync"])?;
    let own = |option| step::output(Command::new("id").arg(option)).context("`id` does not say who we are");
    let (user, group) = (own("-un")?, own("-gn")?);
    for keys in ["fernet_setup", "credential_setup"] {
        manage(&[keys, "--keystone-user", user.trim(), "--keystone-group", group.trim()])?;
    }
    manage(&[
        "bootstrap",
        "--bootstrap-region-id=RegionOne",
        &format!("--bootstrap-admin-url={url}"),
        &format!("--bootstrap-internal-url={url}"),
        &format!("--bootstrap-public-url={url}"),
    ])
}

fn neutron(site: &Site) -> Result<()> {
    let mut command = Command::new(site.programs.python());
    command.arg(site.dir.join("bin/tables.py")).arg(site.dir);
    quietly(Mark::of(site.dir).on(&mut command)).map(drop)
}

fn nova(site: &Site) -> Result<()> {
    let manage = |arguments: &[&str]| {
        let mut command = Command::new(site.programs.program("nova-manage"));
        command.arg("--config-file").arg(site.dir.join("nova/nova.conf")).args(arguments);
        quietly(Mark::of(site.dir).on(&mut command)).map(drop)
    };
    let database = |name: &str| format!("sqlite:///{}/nova/{name}", site.dir.display());
    manage(&["api_db", "sync"])?;
    manage(&["cell_v2", "map_cell0", "--database_connection", &database("nova_cell0.db")])?;
    manage(&["db", "sync"])?;
    manage(&["cell_v2", "create_cell", "--name=cell1", "--transport-url=fake://", "--database_connection", &database("nova.db")])
}
