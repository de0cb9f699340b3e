//! What the first table of a run would take from an agent. From a start on nothing is known but what the agents hold, and a list that lost
//! its hosts meanwhile looks like any other.
//!
//! Each agent is judged by itself when it answers first, be that days after the start, by the addresses that it holds: those that the plan
//! has for no agent at all are gone. One that the plan has for another agent has moved, as a share does when an agent comes or goes; so
//! nobody has to be waited for, and what one agent loses is not made small by what others hold.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rollcall_agent::table::Table;
use serde::Deserialize;

use super::guard::Guard;
use crate::client::Client;
use crate::failure::Failure;

/// Addresses that an agent holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// All.
    pub all: u64,
    /// Those that are in none of the tables.
    pub gone: u64,
}

impl Held {
    /// Whether a first table may take that.
    pub fn judge(self, guard: Guard) -> Result<(), String> {
        guard.judge("its first table from here", self.all, self.gone)
    }

    /// Of these, by network and address.
    pub fn of<'a>(places: impl Iterator<Item = (&'a str, IpAddr)>, tables: &[Arc<Table>]) -> Held {
        places.fold(Held::default(), |held, (network, address)| {
            let kept = tables.iter().any(|table| table.find(network, address).is_some());
            Held { all: held.all + 1, gone: held.gone + u64::from(!kept) }
        })
    }
}

/// A refusal stands so long: on a busy platform tables change every second, and each look at it is one at all that the agent holds.
const STANDS: Duration = Duration::from_secs(30);

/// The judgement of an agent's first table.
#[derive(Clone, Debug)]
pub struct First {
    guard: Guard,
    refused: Option<(Instant, String)>,
}

impl First {
    /// By a guard, which may let it take whatever it wants.
    pub fn new(guard: Guard) -> First {
        First { guard, refused: None }
    }

    /// Whether an agent that holds so many addresses may get it.
    pub async fn judge(&mut self, client: &Client, addresses: u64, tables: &Arc<[Arc<Table>]>) -> Result<(), Failure> {
        if addresses == 0 || self.guard.allow {
            return Ok(());
        }
        if let Some((_, why)) = self.refused.as_ref().filter(|(at, _)| at.elapsed() < STANDS) {
            return Err(anyhow!(why.clone()).into());
        }
        let held = held(client, tables).await?;
        Ok(held.judge(self.guard).map_err(|why| {
            self.refused = Some((Instant::now(), why.clone()));
            anyhow!(why)
        })?)
    }
}

/// A row of the agent's list, as far as this goes.
#[derive(Deserialize)]
struct Place {
    network: String,
    address: IpAddr,
}

/// Asks an agent what it holds. As CSV, which is a third of the JSON.
async fn held(client: &Client, tables: &Arc<[Arc<Table>]>) -> Result<Held, Failure> {
    let what = "cannot read the agent's list of hosts";
    let bytes = client.hosts_csv(&[]).await?.bytes().await.context(what).map_err(Failure::Unreachable)?;
    let tables = tables.clone();
    // A million rows take a while, in which others want to be served.
    let read = move || {
        let places: Result<Vec<Place>, csv::Error> = csv::Reader::from_reader(&bytes[..]).into_deserialize().collect();
        places.map(|places| Held::of(places.iter().map(|place| (place.network.as_str(), place.address)), &tables))
    };
    Ok(tokio::task::spawn_blocking(read).await.context(what)?.context(what)?)
}
