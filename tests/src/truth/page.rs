//! TRUTH.md, and what stands on the screen: one text.

use std::fmt::{self, Display};

use super::Findings;
use super::detection::Detection;
use super::odds::Odds;
use crate::bench::machine::Machine;
use crate::voice::grouped;

/// The page.
pub(super) struct Page<'a>(&'a Findings);

impl<'a> Page<'a> {
    pub(super) fn of(findings: &'a Findings) -> Self {
        Page(findings)
    }
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { none, lossy, detections, scenarios, fuzzed, trap } = self.0;
        let arguments = std::env::args().skip(1).filter(|argument| !argument.contains("fuzzed="));
        let command: Vec<String> = std::iter::once("cargo xtask truth".to_owned()).chain(arguments).collect();
        writeln!(f, "# What is predicted, and what the engine does\n")?;
        writeln!(f, "Made by `{}`; {}.\n", command.join(" "), Machine::here().line())?;
        writeln!(f, "The agent's engine, schedule, verdicts and the receiver's code run on a cloud in memory, by a simulated clock.\n")?;
        writeln!(f, "## False downs\n")?;
        writeln!(
            f,
            "Counted: verdicts `down` of addresses that are alive, over all probes that were judged. Down after one miss, without loss:"
        )?;
        writeln!(
            f,
            "**{} false downs in {} probes** ({} of virtual time over all engines, {} of ours).\n",
            none.false_downs,
            grouped(none.probes),
            whole(none.lasted),
            whole(none.took)
        )?;
        writeln!(f, "| loss | down after | probes | false downs | expected | 999 of 1000 lie in | per probe | predicted | fits |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        lossy.iter().try_for_each(|odds| row(f, odds))?;
        writeln!(f, "\nPer regular probe of an address that is up, the prediction is p^n.\n\n## Time from death to verdict\n")?;
        writeln!(
            f,
            "Half of the hosts die, each at a random moment; milliseconds, predicted in brackets. The bound is the policy's; 10 ms more, which is two turns of the engine while a miss is coming, are allowed.\n"
        )?;
        writeln!(f, "| down after | deaths | p50 | p90 | p99 | longest | bound |\n|---|---|---|---|---|---|---|")?;
        detections.iter().try_for_each(|detection| times(f, detection))?;
        writeln!(f, "\n## Scenarios, in memory\n\n| scenario | what | virtual time | outcome |\n|---|---|---|---|")?;
        for outcome in scenarios {
            let text = if outcome.failures.is_empty() { "as expected".into() } else { outcome.failures.join("; ") };
            writeln!(f, "| {} | {} | {} | {text} |", outcome.name, outcome.describe, whole(outcome.lasted))?;
        }
        writeln!(f, "\n## Frames of others\n")?;
        match fuzzed {
            Ok(frames) => {
                writeln!(f, "The XDP program was given {} mutated frames and dropped none that is not provably ours.", grouped(*frames))
            }
            Err(why) => writeln!(f, "Not measured: {why}."),
        }?;
        writeln!(f, "\n## The broadcast trap\n")?;
        writeln!(
            f,
            "A host is dead, and its switch answers questions to all in its name, as OVN and VTEPs do; in the lab, asked one after the other:\n"
        )?;
        match trap {
            Ok(words) => {
                writeln!(f, "| program | says | right |\n|---|---|---|")?;
                words.iter().try_for_each(|word| {
                    let (says, right) = match &word.says {
                        Ok(says) => (says.clone(), if word.right { "yes" } else { "NO" }),
                        Err(why) => (format!("not measured: {why}"), "-"),
                    };
                    writeln!(f, "| `{}` | {says} | {right} |", word.program)
                })
            }
            Err(why) => writeln!(f, "Not measured: {why}."),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, odds: &Odds) -> fmt::Result {
    let (low, high) = odds.interval();
    writeln!(
        f,
        "| {} % | {} | {} | {} | {:.1} | {low} to {high} | {:.3e} | {:.3e} | {} |",
        odds.loss * 100.0,
        odds.down_after,
        grouped(odds.probes),
        odds.false_downs,
        odds.expected(),
        odds.rate(),
        odds.predicted,
        if odds.fits() { "yes" } else { "NO" }
    )
}

fn times(f: &mut fmt::Formatter<'_>, detection: &Detection) -> fmt::Result {
    write!(f, "| {} | {} |", detection.policy.down_after, grouped(detection.times.len() as u64))?;
    for share in [0.5, 0.9, 0.99, 1.0] {
        write!(f, " {} ({}) |", detection.measured(share).as_millis(), detection.predicted(share).as_millis())?;
    }
    writeln!(f, " {} |", detection.policy.detection_bound().as_millis())
}

fn whole(duration: std::time::Duration) -> String {
    humantime::format_duration(std::time::Duration::from_secs(duration.as_secs())).to_string()
}
