//! One service: started, waited for until it answers, stopped.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::config::Ports;
use super::install::last;
use super::process::Mark;

/// How long a service may take until it answers: much more than it needs, for the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Epmd,
    Rabbitmq,
    Keystone,
    Neutron,
    Nova,
}

impl Service {
    pub(super) const ALL: [Self; 5] = [Self::Epmd, Self::Rabbitmq, Self::Keystone, Self::Neutron, Self::Nova];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Epmd => "epmd",
            Self::Rabbitmq => "rabbitmq",
            Self::Keystone => "keystone",
            Self::Neutron => "neutron",
            Self::Nova => "nova",
        }
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|service| service.name() == name && *service != Self::Epmd);
        found.with_context(|| format!("the services are keystone, neutron, nova and rabbitmq; found: {name}"))
    }

    pub(super) fn port(self, ports: &Ports) -> u16 {
        match self {
            Self::Epmd => ports.epmd,
            Self::Rabbitmq => ports.rabbitmq,
            Self::Keystone => ports.keystone,
            Self::Neutron => ports.neutron,
            Self::Nova => ports.nova,
        }
    }

    /// What is asked, and what an answer begins with; a question mark is any byte.
    fn question(self) -> (&'static [u8], &'static [u8]) {
        match self {
            // A request for the names that it knows; the answer begins with its own port.
            Self::Epmd => (b"\x00\x01n", b"????"),
            // The protocol's header; the answer is a method on channel 0.
            Self::Rabbitmq => (b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00"),
            Self::Keystone => (b"GET /v3 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.? 200"),
            Self::Neutron => (b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.? 200"),
            Self::Nova => (b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.? 200"),
        }
    }

    /// Starts it in the background: it outlives us, and a key pressed at our terminal is not for it.
    pub(super) fn start(self, dir: &Path, port: u16) -> Result<Started> {
        let log = dir.join("log").join(self.name()).with_extension("log");
        let output = OpenOptions::new().create(true).append(true).open(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(dir.join("bin").join(format!("start-{}", self.name())));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = Mark::of(dir).service(self.name()).on(&mut command).spawn();
        let child = child.with_context(|| format!("cannot start {}", self.name()))?;
        for (file, number) in [("pid", child.id()), ("port", port.into())] {
            std::fs::write(dir.join("log").join(self.name()).with_extension(file), format!("{number}\n"))?;
        }
        Ok(Started { service: self, child, port, log: log.display().to_string(), since: Instant::now() })
    }

    /// The port that it had when it was started.
    pub(super) fn former_port(self, dir: &Path) -> Result<u16> {
        let path = dir.join("log").join(self.name()).with_extension("port");
        let text = std::fs::read_to_string(&path).with_context(|| format!("there is no cloud in {}", dir.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no port", path.display()))
    }

    fn answers(self, port: u16) -> bool {
        let ask = || -> std::io::Result<bool> {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            // A web server takes connections before its application is loaded, and answers then.
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let (question, expected) = self.question();
            stream.write_all(question)?;
            let mut answer = vec![0; expected.len()];
            stream.read_exact(&mut answer)?;
            Ok(answer.iter().zip(expected).all(|(found, expected)| found == expected || *expected == b'?'))
        };
        ask().unwrap_or(false)
    }
}

/// A service that may not answer yet.
pub(super) struct Started {
    service: Service,
    child: Child,
    port: u16,
    log: String,
    since: Instant,
}

impl Started {
    /// Waits until it answers, and says how long that took since its start.
    pub(super) fn ready(mut self) -> Result<Duration> {
        let name = self.service.name();
        loop {
            if self.service.answers(self.port) {
                return Ok(self.since.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} has ended: {status}\n{}", self.said());
            }
            if self.since.elapsed() > PATIENCE {
                bail!("{name} does not answer on 127.0.0.1:{} for {} s\n{}", self.port, PATIENCE.as_secs(), self.said());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn said(&self) -> String {
        last(&String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()), 25)
    }
}
