//! `cloud`: the real Keystone, Neutron, Nova API and RabbitMQ on loopback, with thousands of ports and servers.
//!
//! Programs are installed once into the user's cache folder (`install`), and so is a small cloud made through the services' own APIs
//! (`base`). Each `up` copies that, multiplies its rows, and starts the services on free ports (`up`, `config`, `service`); tests
//! learn of it from one file, `DIR/cloud.json`.

mod base;
mod cache;
mod check;
mod config;
mod install;
mod options;
mod process;
mod service;
mod up;
mod watcher;

use anyhow::{Result, bail};

use options::Options;
use service::Service;

const USAGE: &str = "\
usage: cargo xtask cloud up [--dir DIR] [--ports N] [--page N] [--token-seconds N] [--foreground]
       cargo xtask cloud down [--dir DIR]
       cargo xtask cloud stop|start SERVICE [--dir DIR]
       cargo xtask cloud server [--dir DIR] ARGUMENTS
       cargo xtask cloud listen [--dir DIR]
       cargo xtask cloud check [--ports N] [--json] [--changes N] [--interval TIME]

The real Keystone 30.0.0, Neutron 29.0.0 and Nova API 34.0.0 (PyPI), and RabbitMQ (Debian), on 127.0.0.1 alone, on free ports:
several clouds may be up side by side, each in a folder of its own.

  up       brings one up, with N ports and servers (5000), and prints the path of the file that describes it, cloud.json.
           The first time it downloads and builds 600 MB under the cache folder, which takes minutes; later it takes seconds.
  down     ends it and removes DIR
  stop, start   one of keystone, neutron, nova, rabbitmq
  server   what nova-compute would do: create, stop, start, migrate, delete servers ... : DIR/bin/server --help
  listen   prints every notification
  check    brings one up, measures how long its list and its changes take to reach an agent, and takes it down; needs root

  --dir DIR           where it is (target/cloud)
  --page N            the most that one page of a list holds (1000)
  --token-seconds N   how long a token is good for (3600)
  --foreground        stays until standard input ends, then takes the cloud down; however it is ended, nothing is left

Programs and the template are kept in $XDG_CACHE_HOME/rollcall/cloud, or ~/.cache/rollcall/cloud.";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Some((verb, rest)) = arguments.split_first() else { bail!("cloud takes a verb\n\n{USAGE}") };
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") && verb != "server" {
        println!("{USAGE}");
        return Ok(());
    }
    match verb.as_str() {
        "up" => up::up(&Options::parse(rest)?),
        "down" => up::down(&options::only_dir(rest)?),
        "stop" | "start" => {
            let (name, rest) = options::word(rest, "the name of a service")?;
            let service = Service::named(&name)?;
            let dir = options::only_dir(&rest)?;
            if verb == "stop" { up::stop(&dir, service) } else { up::start(&dir, service) }
        }
        "check" => check::run(rest),
        "server" | "listen" => {
            let (dir, rest) = options::dir(rest)?;
            up::command(&dir, verb, &rest)
        }
        // Started by `up` itself, for the case that it does not come to its end.
        "watch" => watcher::watch(rest),
        "help" => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no verb {other:?} of cloud\n\n{USAGE}"),
    }
}
