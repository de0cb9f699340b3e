//! The broadcast trap: a switch answers questions to all for a host that is dead, as OVN and VTEPs do. Who asks everybody is fooled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::table::Writer;
use rollcall_agent::unit::Verdict;
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud};

use crate::agent::Agent;
use crate::fleet::Mode;
use crate::lab::{AGENT_INTERFACE, Lab};
use crate::netns::Namespace;
use crate::population::{self, NETWORK};

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9798);
const PATIENCE: Duration = Duration::from_secs(30);

/// What one program says of the dead host.
pub(crate) struct Word {
    /// The program, as it was run.
    pub(crate) program: String,
    /// What it says; or why it was not asked.
    pub(crate) says: Result<String, String>,
    /// Whether that is true: the host is dead.
    pub(crate) right: bool,
}

/// Asks rollcall and the others about a host that is dead, and for which a switch answers.
pub(crate) fn run() -> Result<Vec<Word>> {
    let cloud = Cloud { on_link: 10, routed: 0 };
    // In the driver the fleet would answer nobody once the agent is gone.
    let lab = Lab::scratch("trap", cloud, Mode::Generic)?;
    let dead = population::hosts(cloud).next().context("a cloud without hosts")?.address;
    let mut words = vec![rollcall(&lab, cloud)?];
    let home = lab.agent();
    let address = dead.to_string();
    for (program, arguments) in [
        ("arping", vec!["-c", "1", "-w", "3", "-I", AGENT_INTERFACE, &address]),
        ("fping", vec!["-c", "3", "-q", &address]),
        ("ip", vec!["neigh", "show", "dev", AGENT_INTERFACE, "to", &address]),
    ] {
        words.push(ask(&home, program, &arguments));
    }
    Ok(words)
}

/// What the agent says of it after it knew it alive.
fn rollcall(lab: &Lab, cloud: Cloud) -> Result<Word> {
    let folder = tempfile::tempdir()?;
    let home = lab.agent();
    let verdict = home.block_on(async {
        let (config, log) = (folder.path().join("agent.toml"), folder.path().join("agent.log"));
        let state = folder.path().join("state");
        let network = format!("[[network]]\nname = \"{NETWORK}\"\ninterface = \"{AGENT_INTERFACE}\"\n");
        std::fs::write(&config, format!("listen = \"{LISTEN}\"\nstate_directory = {state:?}\n{network}"))?;
        let agent = Agent::start(&home, &config, LISTEN, &log).await?;
        let mut writer = Writer::new();
        let policy = writer.policy(Policy { method: Method::Arp, ..super::odds::policy(3) });
        for host in population::hosts(cloud) {
            let row = writer.host(&host.id, &host.name, host.project, host.tags);
            writer.address(row, NETWORK, host.address.into(), host.mac, policy);
        }
        agent.push(&writer.finish()?).await?;
        until(&agent, Verdict::Up).await?;
        lab.fleet().change(1, |behaviour| behaviour.with(Behaviour::DEAD, true).with(Behaviour::PROXIED, true));
        until(&agent, Verdict::Down).await
    })?;
    Ok(Word { program: "rollcall, method arp".into(), says: Ok(verdict.to_string()), right: verdict == Verdict::Down })
}

/// The verdict of the host, once it is this one, or the patience is over.
async fn until(agent: &Agent, wanted: Verdict) -> Result<Verdict> {
    let began = Instant::now();
    loop {
        let host = agent.host("vm-000001").await?.context("the agent does not know the host")?;
        let verdict = host.addresses[0].now.verdict;
        if verdict == wanted || began.elapsed() > PATIENCE {
            return Ok(verdict);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a program of Debian says of it: its last line.
fn ask(home: &Namespace, program: &str, arguments: &[&str]) -> Word {
    let name = format!("{program} {}", arguments.join(" "));
    let ran = Command::new("ip").args(["netns", "exec", home.name(), program]).args(arguments).output();
    let output = match ran {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("exec of") => {
            return Word { program: name, says: Err(format!("{program} is not installed")), right: false };
        }
        Ok(output) => output,
        Err(error) => return Word { program: name, says: Err(error.to_string()), right: false },
    };
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_owned();
    // Each says in its own way that somebody is there.
    let alive = match program {
        "fping" => last.contains("min/avg/max"),
        "ip" => last.contains("lladdr"),
        _ => output.status.success(),
    };
    let word = if alive { "alive" } else { "dead" };
    Word { program: name, says: Ok(format!("{word}: \"{last}\"")), right: !alive }
}
