//! The demo: the whole line, from a host list to the alarms, with the real programs on a simulated cloud.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use rollcall_agent_ebpf::fleet::Cloud;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::Mode;
use crate::lab::Lab;
use crate::netns::{self, Namespace};

mod expectation;
mod options;
mod play;
mod scene;
mod silence;
mod summary;

pub use self::options::Options;
use crate::voice::Voice;

/// Name of the demo's lab.
const LAB: &str = "demo";
/// Where the agent listens, inside its namespace.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9798);

/// Runs the demo as the command line says. The exit status is 0 only when every expectation held, 130 after Ctrl-C.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let voice = Voice::new(options.json);
    // One thread: it enters the agent's namespace, and so does all that it starts.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(&options, &voice)));
    match outcome {
        Ok(Ending::Played(summary)) => {
            summary.print(&voice);
            if options.json {
                println!("{}", summary.json(&options));
            }
            if summary.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Ending::Interrupted) => {
            voice.line("interrupted; everything is removed");
            if options.json {
                println!("{}", json!({"ok": false, "error": "interrupted"}));
            }
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("{} {error:#}", voice.red("error:"));
            if options.json {
                println!("{}", json!({"ok": false, "error": format!("{error:#}")}));
            }
            ExitCode::FAILURE
        }
    }
}

enum Ending {
    Played(Box<summary::Summary>),
    Interrupted,
}

/// The play between the lab's coming up and its removal, which happens whatever came in between.
async fn run(options: &Options, voice: &Voice) -> Result<Ending> {
    netns::need_root("the demo")?;
    // From here on a signal no longer ends the process at once: it ends the play.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let _lock = only_one()?;
    remove_leftovers(voice)?;

    let cloud = Cloud { on_link: options.hosts, routed: 0 };
    let mut lab = Lab::owned(LAB, cloud, if options.generic { Mode::Generic } else { Mode::Native })?;
    let played = {
        let played = async {
            lab.agent().enter()?;
            play::play(options, voice, &lab).await
        };
        tokio::select! {
            played = played => played.map(|summary| Ending::Played(Box::new(summary))),
            _ = interrupt.recv() => Ok(Ending::Interrupted),
            _ = terminate.recv() => Ok(Ending::Interrupted),
        }
    };
    let removed = lab.demolish();
    let played = played?;
    removed.context("the lab could not be removed; try: cargo xtask lab down --name demo")?;
    Ok(played)
}

/// Two demos at once would be in each other's way. The lock ends with the process, however it ends.
fn only_one() -> Result<File> {
    const LOCK: &str = "/run/rollcall-demo.lock";
    let file = File::create(LOCK).with_context(|| format!("cannot write {LOCK}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another demo is running (it holds {LOCK}); wait for its end")
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {LOCK}")),
    }
}

/// What a demo that was killed could not remove.
fn remove_leftovers(voice: &Voice) -> Result<()> {
    let namespace = Namespace::named(format!("rollcall-{LAB}"));
    if namespace.exists() {
        let pids = netns::ip(["netns", "pids", namespace.name()])?;
        let pids: Vec<&str> = pids.split_whitespace().collect();
        if !pids.is_empty() {
            bail!(
                "a demo that was killed left processes behind in the namespace {}; end them first: kill {}",
                namespace.name(),
                pids.join(" ")
            );
        }
    }
    for what in Lab::down(LAB)? {
        voice.line(&format!("removed what an earlier demo left: {what}"));
    }
    Ok(())
}

/// `down 3, up 9,997`.
fn verdicts(verdicts: &BTreeMap<String, u64>) -> String {
    let parts = verdicts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{} {name}", crate::voice::grouped(*count)));
    parts.collect::<Vec<_>>().join(", ")
}

/// How long anything may take that the policy's arithmetic does not bound.
const PATIENCE: Duration = Duration::from_secs(15);
