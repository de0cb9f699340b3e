//! The benchmark: what rollcall does and costs, with the real programs on a simulated cloud. One part, one file; each
//! has a lab of its own, and says what its figures mean.

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::lab::Lab;
use crate::netns;
use crate::voice::Voice;

mod blackbox;
mod burden;
mod core;
mod detect;
mod events;
mod grow;
mod load;
pub(crate) mod machine;
mod memory;
mod monitor;
mod monitors;
mod options;
mod page;
mod peak;
mod peer;
mod peers;
mod plot;
mod responder;
mod results;
mod rig;
mod rtt;
mod runtime;
mod scrape;
mod sender;
mod sheet;
mod spread;
mod stand;
mod steady;
mod sweep;
mod tool;
mod witness;

pub use self::options::{Options, Part, Transmit};
use self::results::Results;

/// Runs the benchmark as the command line says. The exit status is 0 when all was measured, 130 after Ctrl-C.
pub fn main() -> ExitCode {
    let options = Options::parse();
    // Standard output belongs to the tables and the JSON object.
    let voice = Voice::new(true);
    // One thread: it enters the labs' namespaces, and so does all that it starts.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(&options, &voice)));
    let error = match outcome {
        Ok(Some(results)) => {
            results.print(&options);
            return ExitCode::SUCCESS;
        }
        Ok(None) => {
            voice.line("interrupted; everything is removed");
            "interrupted".to_owned()
        }
        Err(error) => {
            voice.line(&format!("{} {error:#}", voice.red("error:")));
            format!("{error:#}")
        }
    };
    if options.json {
        println!("{}", json!({"error": error}));
    }
    if error == "interrupted" { ExitCode::from(130) } else { ExitCode::FAILURE }
}

/// All parts that were asked for; `None` after an interruption.
async fn run(options: &Options, voice: &Voice) -> Result<Option<Results>> {
    if options.part == Part::Report {
        let results = Results::read(options)?;
        results.write_page(options, voice)?;
        results.write_plot(options, voice)?;
        return Ok(Some(results));
    }
    netns::need_root("the benchmark")?;
    // From here on a signal no longer ends the process at once: it ends the part, whose lab and programs go with it.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let _lock = only_one()?;
    remove_leftovers(voice)?;
    let results = tokio::select! {
        results = results::measure(options, voice) => results?,
        _ = interrupt.recv() => return Ok(None),
        _ = terminate.recv() => return Ok(None),
    };
    if options.write || options.part == Part::Grow {
        results.write_plot(options, voice)?;
    }
    if options.write {
        results.keep(options, voice)?.write_page(options, voice)?;
    }
    Ok(Some(results))
}

/// Two benchmarks at once would measure each other. The lock ends with the process, however it ends.
fn only_one() -> Result<File> {
    const LOCK: &str = "/run/rollcall-bench.lock";
    let file = File::create(LOCK).with_context(|| format!("cannot write {LOCK}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!("another benchmark is running (it holds {LOCK}); wait for its end"),
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {LOCK}")),
    }
}

/// What a benchmark that was killed could not remove: its labs, and the programs in them.
fn remove_leftovers(voice: &Voice) -> Result<()> {
    let orphans = [stand::LAB, stand::GENERIC_LAB].map(Lab::orphans);
    for name in orphans.into_iter().collect::<Result<Vec<_>>>()?.concat() {
        for pid in Lab::processes(&name)? {
            // They are in a namespace that only a benchmark makes, and whose benchmark is gone.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            voice.line(&format!("ended process {pid}, which an earlier benchmark left"));
        }
        for what in Lab::down(&name)? {
            voice.line(&format!("removed what an earlier benchmark left: {what}"));
        }
    }
    for folder in stand::remove_folders()? {
        voice.line(&format!("removed what an earlier benchmark left: folder {}", folder.display()));
    }
    Ok(())
}
