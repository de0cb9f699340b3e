//! What is predicted beside what the engine does: `cargo xtask truth`, which writes TRUTH.md.

mod detection;
mod odds;
mod page;
mod trap;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;

pub use self::odds::{Odds, false_downs_per_probe};
use self::page::Page;
use crate::scenario::{self, Outcome};

/// What is predicted beside what the engine does, in a simulated cloud; scenarios in an operator's words.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask truth", version, about, max_term_width = 100)]
struct Options {
    /// Probes without any loss; with loss a fifth of that each, a thousandth where one miss is enough.
    #[arg(long, default_value_t = 1_000_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    probes: u64,
    /// Seed of all that chance decides in the simulated cloud.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
    /// Where the page goes; with fewer probes than usual it is not written unless this is given.
    #[arg(long)]
    out: Option<PathBuf>,
    #[arg(long, hide = true)]
    fuzzed: Option<u64>,
    #[arg(long, hide = true)]
    not_fuzzed: Option<String>,
}

/// Runs as the command line says. The exit status is 0 only when all that was predicted came.
pub fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All that was seen.
struct Findings {
    none: Odds,
    lossy: Vec<Odds>,
    detections: Vec<detection::Detection>,
    scenarios: Vec<Outcome>,
    /// Mutated frames that the XDP program was given, none of which it dropped wrongly; or why there were none.
    fuzzed: Result<u64, String>,
    /// What rollcall and others say of a dead host for which a switch answers; or why nobody was asked.
    trap: Result<Vec<trap::Word>, String>,
}

impl Findings {
    fn good(&self) -> bool {
        self.none.false_downs == 0
            && self.lossy.iter().all(Odds::fits)
            && self.detections.iter().all(detection::Detection::holds)
            && self.scenarios.iter().all(|outcome| outcome.failures.is_empty())
            // Of the others nothing is expected, and without root nobody can be asked.
            && match &self.trap {
                Ok(words) => words.iter().take(1).all(|word| word.right),
                Err(_) => !nix::unistd::geteuid().is_root(),
            }
    }
}

fn run(options: &Options) -> Result<bool> {
    let say = |text: &str| eprintln!("truth: {text}");
    say(&format!("{} probes without loss", options.probes));
    let none = odds::run(options.seed, 1, 0.0, options.probes)?;
    let mut lossy = Vec::new();
    for (loss, down_after) in [(0.001, 1), (0.001, 2), (0.001, 3), (0.01, 1), (0.01, 2), (0.01, 3)] {
        // Where one loss is enough there is much to count and to remember.
        let probes = options.probes / if down_after == 1 { 1000 } else { 5 };
        say(&format!("{probes} probes at {} % loss, down after {down_after}", loss * 100.0));
        lossy.push(odds::run(options.seed + 100, down_after, loss, probes)?);
    }
    say("deaths");
    let hosts = u32::try_from(options.probes / 10).unwrap_or(u32::MAX).clamp(1000, 20_000);
    let detections = [1, 2, 3].map(|down_after| detection::run(options.seed, hosts, odds::policy(down_after)));
    let detections = detections.into_iter().collect::<Result<Vec<_>>>()?;
    say("scenarios");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios = scenario::all(&folder)?.iter().map(scenario::in_memory).collect::<Result<Vec<_>>>()?;
    let fuzzed = options.fuzzed.ok_or_else(|| options.not_fuzzed.clone().unwrap_or_else(|| "cargo xtask truth runs them".into()));
    say("the broadcast trap");
    let trap = trap::run().map_err(|error| format!("{error:#}"));
    let findings = Findings { none, lossy, detections, scenarios, fuzzed, trap };

    let page = Page::of(&findings);
    println!("{page}");
    let whole = options.probes >= 1_000_000_000;
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("TRUTH.md");
    if let Some(out) = options.out.clone().or_else(|| whole.then_some(default)) {
        std::fs::write(&out, page.to_string()).with_context(|| format!("cannot write {}", out.display()))?;
    }
    if options.json {
        println!("{}", json(&findings));
    }
    Ok(findings.good())
}

/// At 0.1 % the figures are those of down after 2 misses, at 1 % of 3: rates of one in a million, which can be counted.
fn json(findings: &Findings) -> serde_json::Value {
    let of = |loss: f64, down_after: u8| findings.lossy.iter().find(|odds| odds.loss == loss && odds.down_after == down_after);
    let (tenth, one) = (of(0.001, 2), of(0.01, 3));
    let failed = findings.scenarios.iter().filter(|outcome| !outcome.failures.is_empty()).count();
    json!({
        "ok": findings.good(),
        "probes": findings.none.probes,
        "false_down_no_loss": findings.none.false_downs,
        "false_down_rate_0_1pct": tenth.map(Odds::rate),
        "predicted_0_1pct": tenth.map(|odds| odds.predicted),
        "false_down_rate_1pct": one.map(Odds::rate),
        "predicted_1pct": one.map(|odds| odds.predicted),
        "scenarios_passed": findings.scenarios.len() - failed,
        "scenarios_failed": failed,
        "frames_fuzzed": findings.fuzzed.as_ref().ok(),
        "foreign_frames_dropped": findings.fuzzed.as_ref().ok().map(|_| 0),
    })
}
