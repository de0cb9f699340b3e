//! What a cloud's folder holds before anything runs: the services' settings, what starts them, the programs that tests use.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::install::{Programs, write_private};

pub(super) const KEYSTONE: &str = include_str!("conf/keystone.conf");
pub(super) const NEUTRON: &str = include_str!("conf/neutron.conf");
pub(super) const NOVA: &str = include_str!("conf/nova.conf");
const NOVA_POLICY: &str = include_str!("conf/nova-policy.yaml");
const RABBITMQ: &str = include_str!("conf/rabbitmq.conf");
const UWSGI: &str = include_str!("conf/uwsgi.ini");
const CLOUDS: &str = include_str!("conf/clouds.yaml");

pub(super) const BASE: &str = include_str!("python/base.py");
pub(super) const TABLES: &str = include_str!("python/tables.py");
pub(super) const SERVER: &str = include_str!("python/server.py");
const ROWS: &str = include_str!("python/rows.py");
const DESCRIBE: &str = include_str!("python/describe.py");
const LISTEN: &str = include_str!("python/listen.py");

/// Secrets that are made with the template, each a file in `DIR/secrets`. The services know them as users' passwords.
const KEPT: [&str; 3] = ["admin-password", "monitor-password", "service-password"];

/// Where each listens, on 127.0.0.1.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) keystone: u16,
    pub(super) neutron: u16,
    pub(super) nova: u16,
    pub(super) rabbitmq: u16,
    pub(super) epmd: u16,
    distribution: u16,
}

impl Ports {
    /// Ports that are free now, below those that the kernel gives to connections (32768 and up).
    pub(super) fn free() -> Result<Self> {
        let mut held: Vec<TcpListener> = Vec::new();
        for _ in 0..1_000 {
            let port = 20_000 + u16::from_le_bytes(random()?) % 12_000;
            // Held until all are found, so that none is found twice.
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                held.push(listener);
            }
            if let [a, b, c, d, e, f] = held.as_slice() {
                let of = |listener: &TcpListener| Ok::<_, std::io::Error>(listener.local_addr()?.port());
                return Ok(Self { keystone: of(a)?, neutron: of(b)?, nova: of(c)?, rabbitmq: of(d)?, epmd: of(e)?, distribution: of(f)? });
            }
        }
        anyhow::bail!("there are no six free ports between 20000 and 32000 on 127.0.0.1")
    }
}

/// What the settings of one cloud are made of.
pub(super) struct Site<'a> {
    pub(super) dir: &'a Path,
    pub(super) programs: &'a Programs,
    pub(super) ports: Ports,
    pub(super) page: u32,
    pub(super) token_seconds: u32,
}

impl Site<'_> {
    /// Everything but the databases. The passwords are those in `DIR/secrets` where there are some, or new ones.
    pub(super) fn write(&self) -> Result<()> {
        for name in KEPT {
            let path = self.dir.join("secrets").join(name);
            if !path.exists() {
                write_private(&path, &format!("{}\n", password()?), 0o600)?;
            }
        }
        write_private(&self.dir.join("secrets/rabbit-password"), &format!("{}\n", password()?), 0o600)?;
        for folder in ["log", "bin", "keystone", "neutron/state", "neutron/lock", "nova/state", "nova/lock", "rabbitmq/home"] {
            let folder = self.dir.join(folder);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        self.settings()?;
        self.starters()?;
        self.commands()
    }

    fn settings(&self) -> Result<()> {
        for (path, template) in [
            ("keystone/keystone.conf", KEYSTONE),
            ("neutron/neutron.conf", NEUTRON),
            ("nova/nova.conf", NOVA),
            ("nova/policy.yaml", NOVA_POLICY),
            ("rabbitmq/rabbitmq.conf", RABBITMQ),
        ] {
            self.put(path, template, &[])?;
        }
        for (service, port, module) in [
            ("keystone", self.ports.keystone, "keystone.wsgi.api:application"),
            ("neutron", self.ports.neutron, "neutron.wsgi.api:application"),
            ("nova", self.ports.nova, "nova.wsgi.osapi_compute:application"),
        ] {
            self.put(&format!("{service}/uwsgi.ini"), UWSGI, &[("port", port.to_string()), ("module", module.into())])?;
        }
        for service in ["neutron", "nova"] {
            let path = self.programs.openstack.join("etc").join(service).join("api-paste.ini");
            let paste = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let paste = paste.replace("/var/lib/neutron", &self.dir.join("neutron").display().to_string());
            write_private(&self.dir.join(service).join("api-paste.ini"), &paste, 0o600)?;
        }
        let rabbit = format!("amqp://rollcall:{}@127.0.0.1:{}/%2f\n", self.secret("rabbit-password")?, self.ports.rabbitmq);
        write_private(&self.dir.join("secrets/rabbit-url"), &rabbit, 0o600)
    }

    /// One script for each service, which becomes it.
    fn starters(&self) -> Result<()> {
        let (dir, broker) = (self.dir.display(), self.programs.broker.display());
        let uwsgi = self.programs.program("uwsgi");
        for (service, environment) in [
            ("keystone", format!("OS_KEYSTONE_CONFIG_FILES={dir}/keystone/keystone.conf OS_KEYSTONE_CONFIG_DIR={dir}/keystone")),
            ("neutron", format!("OS_NEUTRON_CONFIG_FILES={dir}/neutron/neutron.conf OS_NEUTRON_CONFIG_DIR={dir}/neutron")),
            // The files that it looks for in there are api-paste.ini and nova.conf.
            ("nova", format!("OS_NOVA_CONFIG_DIR={dir}/nova")),
        ] {
            let more = if service == "neutron" { format!(" --pyargv '--config-file {dir}/neutron/neutron.conf'") } else { String::new() };
            self.script(
                &format!("start-{service}"),
                &format!("cd {dir}/{service}\nexport {environment}\nexec '{}' --ini uwsgi.ini{more}", uwsgi.display()),
            )?;
        }
        let erlang = format!("{broker}/usr/lib/erlang");
        let epmd = self.ports.epmd;
        self.script("start-epmd", &format!("exec '{erlang}/bin/epmd' -address 127.0.0.1 -port {epmd}"))?;
        let own = format!("{dir}/rabbitmq");
        self.script(
            "start-rabbitmq",
            &format!(
                "cd {own}\n\
                 export HOME={own}/home ERL_ROOTDIR='{erlang}' ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT={epmd}\n\
                 export RABBITMQ_NODENAME=rollcall@localhost RABBITMQ_DIST_PORT={distribution}\n\
                 export RABBITMQ_MNESIA_BASE={own}/mnesia RABBITMQ_LOG_BASE={own}/log RABBITMQ_PID_FILE={own}/rabbit.pid\n\
                 export RABBITMQ_CONFIG_FILE={own}/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE={own}/enabled_plugins RABBITMQ_CONF_ENV_FILE={own}/none\n\
                 export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {{127,0,0,1}} +S 1:1'\n\
                 export PATH='{broker}/usr/lib/rabbitmq/bin:{erlang}/bin':\"$PATH\"\n\
                 exec rabbitmq-server",
                distribution = self.ports.distribution
            ),
        )
    }

    fn commands(&self) -> Result<()> {
        let dir = self.dir.display();
        for (name, program) in [
            ("base.py", BASE),
            ("tables.py", TABLES),
            ("server.py", SERVER),
            ("rows.py", ROWS),
            ("describe.py", DESCRIBE),
            ("listen.py", LISTEN),
        ] {
            write_private(&self.dir.join("bin").join(name), program, 0o600)?;
        }
        let python = self.programs.python();
        let python = python.display();
        self.script("server", &format!("export PYTHONWARNINGS=ignore\nexec '{python}' {dir}/bin/server.py {dir} \"$@\""))?;
        // The URL has a password in it, and a command line is for all to see: it goes by a file.
        self.script("listen", &format!("exec '{python}' {dir}/bin/listen.py {dir}/secrets/rabbit-url \"$@\""))
    }

    /// `clouds.yaml`, as any OpenStack program reads it: once there is an application credential.
    pub(super) fn clouds(&self) -> Result<()> {
        self.put("clouds.yaml", CLOUDS, &[])
    }

    fn script(&self, name: &str, text: &str) -> Result<()> {
        write_private(&self.dir.join("bin").join(name), &format!("#!/bin/sh\n{text}\n"), 0o700)
    }

    fn put(&self, path: &str, template: &str, more: &[(&str, String)]) -> Result<()> {
        let mut values = vec![
            ("dir", self.dir.display().to_string()),
            ("keystone", self.ports.keystone.to_string()),
            ("neutron", self.ports.neutron.to_string()),
            ("nova", self.ports.nova.to_string()),
            ("rabbit", self.ports.rabbitmq.to_string()),
            ("page", self.page.to_string()),
            ("token_seconds", self.token_seconds.to_string()),
        ];
        for name in KEPT.into_iter().chain(["rabbit-password", "application-id", "application-secret"]) {
            let placeholder = format!("@{}@", name.replace('-', "_"));
            if template.contains(&placeholder) {
                values.push((name, self.secret(name)?));
            }
        }
        values.extend(more.iter().cloned());
        let text = filled(template, &values).with_context(|| format!("the template of {path}"))?;
        write_private(&self.dir.join(path), &text, 0o600)
    }

    pub(super) fn secret(&self, name: &str) -> Result<String> {
        let path = self.dir.join("secrets").join(name);
        Ok(std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?.trim().into())
    }
}

/// The template with `@name@` replaced by its value.
fn filled(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_string();
    for (name, value) in values {
        text = text.replace(&format!("@{}@", name.replace('-', "_")), value);
    }
    let left = text.split('@').skip(1).find(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    ensure!(left.is_none(), "nobody says what @{}@ is", left.unwrap_or_default());
    Ok(text)
}

fn password() -> Result<String> {
    Ok(random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("cannot read /dev/urandom")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_nobody_can_fill_in_is_noticed() {
        let values = [("rabbit", "1".to_string()), ("rabbit-password", "x".into())];
        assert_eq!(filled("rabbit://a:@rabbit_password@@127.0.0.1:@rabbit@/", &values).unwrap(), "rabbit://a:x@127.0.0.1:1/");
        assert!(filled("port = @nova@", &values).is_err());
    }

    #[test]
    fn ports_are_all_different() {
        let ports = Ports::free().unwrap();
        let mut all = [ports.keystone, ports.neutron, ports.nova, ports.rabbitmq, ports.epmd, ports.distribution];
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]) && all[0] >= 20_000 && all[5] < 32_000, "{all:?}");
    }
}
