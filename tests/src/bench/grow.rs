//! `grow`: what the agent costs with a thousand hosts, and with a million.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::options::Options;
use super::plot::{self, Panel};
use super::sheet::{Sheet, number};
use super::steady::{self, Steady};
use crate::voice::{Voice, grouped, megabytes};

const HOSTS: [u32; 7] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000];
const SECONDS: u64 = 20;
/// The plot's file.
pub(super) const PLOT: &str = "PERFORMANCE.svg";

/// Cost by number of hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Grow {
    hosts: Vec<u32>,
    cpu_cores: Vec<f64>,
    bytes: Vec<u64>,
    rows: Vec<Steady>,
}

/// Measures each number of hosts.
pub(super) async fn run(options: &Options, voice: &Voice) -> Result<Grow> {
    let seconds = Duration::from_secs(options.seconds.unwrap_or(SECONDS));
    let mut grow = Grow::default();
    for hosts in options.sizes_or(&HOSTS) {
        let row = steady::measure(options, voice, hosts, seconds).await.with_context(|| format!("{hosts} hosts"))?;
        grow.hosts.push(hosts);
        grow.cpu_cores.push(row.cpu_cores);
        grow.bytes.push(row.process_bytes + row.map_bytes);
        grow.rows.push(row);
    }
    Ok(grow)
}

impl Grow {
    /// The plot, as SVG.
    pub(super) fn plot(&self) -> String {
        let points = |value: fn(&Steady) -> f64| self.rows.iter().map(|row| (f64::from(row.hosts), value(row))).collect::<Vec<_>>();
        let interval = self.rows.first().map_or(0.0, |row| row.interval_ms);
        plot::svg(&[
            Panel {
                title: format!("CPU, cores (each host probed every {interval} ms)"),
                series: vec![
                    ("agent and its kernel work".into(), points(|row| row.cpu_cores)),
                    ("the process by its own account".into(), points(|row| row.process_cores)),
                ],
            },
            Panel {
                title: "Memory, bytes (process and kernel maps)".into(),
                series: vec![("all".into(), points(|row| (row.process_bytes + row.map_bytes) as f64))],
            },
        ])
    }

    /// For people.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let mut sheet = Sheet::new(
            "Growth: the agent's cost by number of hosts",
            &["hosts", "CPU, cores", "process alone", "memory", "bytes a host", "late over 10 ms, %", "lost", "false downs"],
        );
        for row in &self.rows {
            sheet.row([
                grouped(row.hosts.into()),
                number(row.cpu_cores, 3),
                number(row.process_cores, 3),
                megabytes(row.process_bytes + row.map_bytes),
                number(row.bytes_per_host, 0),
                number(row.late_ratio * 100.0, 4),
                row.lost.to_string(),
                row.false_down.to_string(),
            ]);
        }
        let row = self.rows.first().cloned().unwrap_or_default();
        sheet.note(format!(
            "Each for {} s, every host probed by {} every {} ms; CPU and memory as in the steady run.",
            number(row.seconds, 0),
            row.method,
            row.interval_ms
        ));
        vec![sheet]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_hosts_is_in_the_plot() {
        let row = |hosts, cpu_cores| Steady { hosts, cpu_cores, process_bytes: u64::from(hosts) * 100, ..Steady::default() };
        let grow = Grow { rows: vec![row(1000, 0.01), row(1_000_000, 0.5)], ..Grow::default() };
        let svg = grow.plot();
        for text in ["<svg", "1 k", "1 M", "CPU", "Memory", "</svg>"] {
            assert!(svg.contains(text), "{text}\n{svg}");
        }
    }
}
