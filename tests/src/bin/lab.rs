//! `cargo xtask lab`: the simulated cloud, by hand.

use std::io::{self, BufWriter};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use rand::SeedableRng;
use rand::seq::IteratorRandom;
use rollcall_agent_ebpf::fleet::{Behaviour, Cloud};
use rollcall_tests::fleet::{Fleet, Mode};
use rollcall_tests::lab::{AGENT_INTERFACE, FLEET_INTERFACE, Lab};
use rollcall_tests::{population, status};

/// A simulated cloud in two network namespaces, to try rollcall on. Its hosts answer ARP and ICMP echo
#[derive(Parser)]
#[command(name = "cargo xtask lab", bin_name = "cargo xtask lab", disable_help_subcommand = true)]
struct Arguments {
    /// Name of the lab; several can be up at once
    #[arg(long, global = true, default_value = "lab")]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring the lab up; it stays until `down`
    Up {
        #[command(flatten)]
        size: Size,
        /// Run the fleet in the network stack: slower, but it answers also while no agent runs
        #[arg(long)]
        generic: bool,
    },
    /// Print the host list, as CSV for `rollcall compile --hosts`
    List {
        #[command(flatten)]
        size: Size,
    },
    /// Silence hosts
    Kill {
        #[command(flatten)]
        which: Which,
        /// With --random: the same seed, the same hosts
        #[arg(long, requires = "random")]
        seed: Option<u64>,
    },
    /// Let silenced hosts answer again
    Revive {
        #[command(flatten)]
        which: Which,
    },
    /// Lose so many of a thousand requests; 0 loses none
    Loss {
        #[arg(value_name = "PERMILLE", value_parser = clap::value_parser!(u32).range(0..=1000))]
        per_mille: u32,
        #[command(flatten)]
        which: Which,
    },
    /// Drop ICMP but answer ARP, as a security group does
    FilterIcmp {
        #[command(flatten)]
        which: Which,
        /// Answer ICMP again
        #[arg(long)]
        off: bool,
    },
    /// Answer ICMP but no question for the MAC
    FilterNeighbour {
        #[command(flatten)]
        which: Which,
        /// Answer such questions again
        #[arg(long)]
        off: bool,
    },
    /// Answer from another MAC, as a second station with the same address does
    WrongMac {
        #[command(flatten)]
        which: Which,
        /// Answer from the right one again
        #[arg(long)]
        off: bool,
    },
    /// Show what is up, who does not answer, and what the fleet did
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Run a command in the agent's namespace
    Exec {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Remove the lab, or what is left of it
    Down,
    /// Remove what is left of the lab, with the processes in it, once standard input ends
    #[command(hide = true)]
    Caretaker,
}

#[derive(Args)]
struct Size {
    /// On-link hosts: vm-000001 is 10.128.1.1, and so on
    #[arg(long, value_name = "N", default_value_t = 1000)]
    hosts: u32,
    /// Hosts behind the gateway, which answer ICMP alone: rt-000001 is 10.64.1.1, and so on
    #[arg(long, value_name = "M", default_value_t = 0)]
    routed: u32,
}

impl Size {
    fn cloud(&self) -> Cloud {
        Cloud { on_link: self.hosts, routed: self.routed }
    }
}

#[derive(Args)]
#[group(required = true)]
struct Which {
    /// Ids or addresses of hosts, or `gateway`
    #[arg(value_name = "ID|ADDRESS")]
    hosts: Vec<String>,
    /// All hosts
    #[arg(long)]
    all: bool,
    /// So many hosts at random, of those that are not silent
    #[arg(long, value_name = "K")]
    random: Option<usize>,
}

impl Which {
    /// The stations that are meant. All are looked up before any is changed: a mistyped one changes nothing.
    fn stations(&self, fleet: &Fleet, seed: Option<u64>) -> Result<Vec<u32>> {
        let cloud = fleet.cloud();
        let Some(count) = self.random else {
            return if self.all {
                Ok((1..cloud.stations()).collect())
            } else {
                self.hosts.iter().map(|text| population::station(cloud, text)).collect()
            };
        };
        let seed = seed.unwrap_or_else(rand::random);
        let alive = (1..cloud.stations()).filter(|station| !fleet.behaviour(*station).has(Behaviour::DEAD));
        let mut chosen = alive.choose_multiple(&mut rand::rngs::StdRng::seed_from_u64(seed), count);
        ensure!(chosen.len() == count, "--random: found {count}, allowed: at most the {} hosts that are not silent", chosen.len());
        chosen.sort_unstable();
        eprintln!("seed {seed}");
        Ok(chosen)
    }
}

fn main() -> ExitCode {
    let Arguments { name, verb } = Arguments::parse();
    match run(&name, verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, verb: Verb) -> Result<()> {
    match verb {
        Verb::Up { size, generic } => up(name, size.cloud(), if generic { Mode::Generic } else { Mode::Native }),
        Verb::List { size } => {
            match population::write_csv(size.cloud(), BufWriter::new(io::stdout().lock())) {
                // `lab list | head` is no failure.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => Ok(other?),
            }
        }
        Verb::Kill { which, seed } => change(name, &which, seed, "silenced", |behaviour| behaviour.with(Behaviour::DEAD, true)),
        Verb::Revive { which } => change(name, &which, None, "alive", |behaviour| behaviour.with(Behaviour::DEAD, false)),
        Verb::Loss { per_mille, which } => {
            let done = format!("losing {per_mille} of 1000 requests");
            change(name, &which, None, &done, |behaviour| behaviour.with_loss_per_mille(per_mille))
        }
        Verb::FilterIcmp { which, off } => {
            let done = if off { "answering ICMP" } else { "dropping ICMP" };
            change(name, &which, None, done, |behaviour| behaviour.with(Behaviour::ICMP_FILTERED, !off))
        }
        Verb::FilterNeighbour { which, off } => {
            let done = if off { "answering questions for the MAC" } else { "answering no question for the MAC" };
            change(name, &which, None, done, |behaviour| behaviour.with(Behaviour::NEIGHBOUR_FILTERED, !off))
        }
        Verb::WrongMac { which, off } => {
            let done = if off { "answering from the right MAC" } else { "answering from another MAC" };
            change(name, &which, None, done, |behaviour| behaviour.with(Behaviour::WRONG_MAC, !off))
        }
        Verb::Status { json } => {
            let lab = Lab::open(name)?;
            if json {
                println!("{}", status::json(&lab)?)
            } else {
                status::print(&lab)?
            }
            Ok(())
        }
        Verb::Exec { command } => {
            use std::os::unix::process::CommandExt;
            let mut inside = Lab::open(name)?.agent().command(&command[0]);
            Err(inside.args(&command[1..]).exec().into())
        }
        Verb::Caretaker => Lab::outlive(io::stdin().lock(), name),
        Verb::Down => {
            let removed = Lab::down(name)?;
            if removed.is_empty() {
                println!("there is no lab {name}: nothing to remove");
            }
            for what in removed {
                println!("removed {what}");
            }
            Ok(())
        }
    }
}

fn up(name: &str, cloud: Cloud, mode: Mode) -> Result<()> {
    ensure!(cloud.stations() > 1, "a lab without hosts: found --hosts 0 --routed 0, allowed: at least one host");
    let lab = Lab::up(name, cloud, mode)?;
    let agent = lab.agent();
    println!("the lab {name} is up: {}", population::extent(cloud));
    println!("  agent's side   namespace {}, interface {AGENT_INTERFACE}, 10.128.0.1/9, gateway 10.128.0.2", agent.name());
    println!("  fleet          namespace {}, interface {FLEET_INTERFACE}, XDP {}", lab.fleet_side().name(), mode.name());
    if mode == Mode::Native {
        println!("  A fleet in native mode answers only while an XDP program runs on {AGENT_INTERFACE} too: start the agent first,");
        println!("  or bring the lab up with --generic to `ping` without one.");
    }
    let option = if name == "lab" { String::new() } else { format!(" --name {name}") };
    let size = format!("--hosts {} --routed {}", cloud.on_link, cloud.routed);
    println!("  host list      cargo xtask lab list {size} > hosts.csv");
    println!("  a command      cargo xtask lab exec{option} -- ping -c 1 10.128.0.2");
    println!("  remove it      cargo xtask lab down{option}");
    Ok(())
}

fn change(name: &str, which: &Which, seed: Option<u64>, done: &str, change: impl Fn(Behaviour) -> Behaviour) -> Result<()> {
    let lab = Lab::open(name)?;
    let fleet = lab.fleet();
    let stations = which.stations(fleet, seed)?;
    for station in &stations {
        fleet.change(*station, &change);
    }
    print_stations(fleet.cloud(), &stations, done);
    Ok(())
}

/// Names every station, or counts them where nobody would read the names.
fn print_stations(cloud: Cloud, stations: &[u32], done: &str) {
    const READABLE: usize = 100;
    if stations.len() > READABLE {
        println!("{} hosts are {done}", stations.len());
        return;
    }
    for station in stations {
        println!("{} is {done}", population::label(cloud, *station));
    }
}

// The lab's own commands need root; `list` and `--help` do not.
#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
