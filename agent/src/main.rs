//! `rollcall-agent`: the proxy host's side of rollcall.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use rollcall_agent::config::{Config, NetworkConfig, TEMPLATE};
use rollcall_agent::heap;
use rollcall_agent::priority;
use rollcall_agent::reply::Receive;
use rollcall_agent::schedule::Pps;
use rollcall_agent::site::Site;
use rollcall_agent::table::{Edition, Table};
use rollcall_agent::wire::Transmit;
use tracing_subscriber::EnvFilter;

/// Probes every address of its networks and tells who should know.
#[derive(Parser)]
#[command(name = "rollcall-agent", version, term_width = 0)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until SIGTERM. Needs root, or CAP_NET_RAW, with XDP also CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON, with namespaces CAP_SYS_ADMIN.
    Run(Settings),
    /// Say what is wrong with a configuration (and its table); exit status 1 if anything is.
    Check(Settings),
    /// Print a commented configuration with every setting.
    Config,
}

/// Flags win over the file; with --table and --network no file is needed.
#[derive(Args)]
struct Settings {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Table to start with.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Attach a network to an interface; may be given several times.
    #[arg(long, value_name = "NAME=INTERFACE")]
    network: Vec<NetworkConfig>,
    /// Where API and metrics listen [default: 127.0.0.1:9798]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where state is kept [default: /var/lib/rollcall]
    #[arg(long, value_name = "DIRECTORY")]
    state_directory: Option<PathBuf>,
    /// Most probes per second [default: 200000]
    #[arg(long, value_parser = pps)]
    pps: Option<Pps>,
    /// How replies are received [default: auto]
    #[arg(long)]
    receive: Option<Receive>,
    /// How probes are sent [default: auto]
    #[arg(long)]
    transmit: Option<Transmit>,
}

fn pps(text: &str) -> Result<Pps, String> {
    let wrong = || format!("found {text:?}, allowed: 1 to {}", u32::MAX);
    text.parse().ok().and_then(Pps::new).ok_or_else(wrong)
}

impl Settings {
    fn config(self) -> Result<Config> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        config.networks.extend(self.network);
        config.table = self.table.or(config.table);
        config.listen = self.listen.unwrap_or(config.listen);
        config.state_directory = self.state_directory.unwrap_or(config.state_directory);
        config.pps = self.pps.unwrap_or(config.pps);
        config.receive = self.receive.unwrap_or(config.receive);
        config.transmit = self.transmit.unwrap_or(config.transmit);
        Ok(config)
    }
}

fn main() -> ExitCode {
    heap::give_back();
    let result = match Cli::parse().verb {
        Verb::Run(settings) => run(settings),
        Verb::Check(settings) => check(settings),
        Verb::Config => {
            print!("{TEMPLATE}");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let config = settings.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(priority::stand_back).build()?;
    let result = runtime.block_on(rollcall_agent::run::run(config));
    // What still runs on the blocking threads answers calls that nobody waits for any more.
    runtime.shutdown_background();
    result
}

fn check(settings: Settings) -> Result<()> {
    let config = settings.config()?;
    config.check()?;
    if let Some(path) = &config.table {
        let table = Table::open(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        println!("{}: {} addresses of {} hosts, digest {}", path.display(), table.len(), table.hosts(), table.digest());
        for misfit in Site::from(&config).misfits(&Edition::of(Arc::new(table))) {
            println!("warning: {misfit}");
        }
    }
    for network in &config.networks {
        // Those in other network namespaces are not seen from here.
        if network.namespace.is_none() && nix::net::if_::if_nametoindex(network.interface.as_str()).is_err() {
            println!("warning: network {:?}: there is no interface {} here now", network.name, network.interface);
        }
    }
    println!("the configuration is good; networks: {}, alarm routes: {}", config.networks.len(), config.routes.len());
    Ok(())
}
