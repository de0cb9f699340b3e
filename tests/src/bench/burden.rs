//! What an operator may ask of an agent at full rate: scrapes, a listing of all hosts, a push of the whole table, and the
//! snapshot that it writes by itself after verdicts changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rollcall_agent::api::PushOutcome;
use rollcall_agent::table::{Table, Writer};
use serde::{Deserialize, Serialize};

use super::scrape::Scrape;
use super::sheet::{Sheet, number, rounded};
use super::spread::{percentile, sorted};
use crate::agent::Agent;
use crate::voice::{Voice, grouped, megabytes};

/// What was asked, and how long the answers took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Burden {
    pub(super) scrapes: u64,
    pub(super) scrape_max_ms: f64,
    pub(super) scrape_bytes: u64,
    pub(super) listings: u64,
    pub(super) listing_s: f64,
    pub(super) listing_bytes: u64,
    pub(super) pushes: u64,
    pub(super) push_s: f64,
}

/// Asks for so long: a scrape each second, listings and pushes of the whole table in turn.
pub(super) async fn carry(agent: &Agent, table: Table, seconds: Duration, voice: &Voice) -> Result<Burden> {
    let mut burden = Burden::default();
    let table = Arc::new(table);
    // Not on this thread: the answers' times would wait for it.
    let prepare = |round: u32| {
        let table = table.clone();
        async move { tokio::task::spawn_blocking(move || renamed(&table, round)).await.context("the table could not be changed")? }
    };
    let deadline = Instant::now() + seconds;
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(300)).build()?;
    let scrapes = async {
        let mut times = Vec::new();
        let mut bytes = 0;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        while Instant::now() < deadline {
            tick.tick().await;
            let began = Instant::now();
            bytes = Scrape::of(agent).await?.bytes();
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::Ok((times, bytes))
    };
    let changes = async {
        let (mut listings, mut pushes) = (Vec::new(), Vec::new());
        let mut next = prepare(1).await?;
        loop {
            voice.progress("load", &format!("{} listings, {} pushes of the whole table", listings.len(), pushes.len()));
            let began = Instant::now();
            let bytes = list(&client, agent).await?;
            listings.push(began.elapsed().as_secs_f64());
            let changed = std::mem::replace(&mut next, Table::empty());
            let began = Instant::now();
            push(&client, agent, &changed).await?;
            pushes.push(began.elapsed().as_secs_f64());
            if Instant::now() >= deadline {
                return anyhow::Ok((listings, pushes, bytes));
            }
            next = prepare(pushes.len() as u32 + 1).await?;
            // Not all the time: an operator's table changes, and hosts are listed, now and then.
            tokio::time::sleep(Duration::from_secs(2).min(deadline.saturating_duration_since(Instant::now()))).await;
        }
    };
    let ((times, scrape_bytes), (listings, pushes, listing_bytes)) = tokio::try_join!(scrapes, changes)?;
    let longest = |values: &[f64]| percentile(&sorted(values.iter().copied()), 100.0).map_or(0.0, rounded);
    burden.scrapes = times.len() as u64;
    burden.scrape_max_ms = longest(&times);
    burden.scrape_bytes = scrape_bytes as u64;
    burden.listings = listings.len() as u64;
    burden.listing_s = longest(&listings);
    burden.listing_bytes = listing_bytes;
    burden.pushes = pushes.len() as u64;
    burden.push_s = longest(&pushes);
    Ok(burden)
}

/// `GET /v1/hosts`, thrown away as it comes: its length.
async fn list(client: &reqwest::Client, agent: &Agent) -> Result<u64> {
    let response = client.get(format!("{}/v1/hosts", agent.url())).send().await.context("GET /v1/hosts")?;
    ensure!(response.status().is_success(), "GET /v1/hosts: {}", response.status());
    let mut stream = response.bytes_stream();
    let mut bytes = 0;
    while let Some(piece) = stream.next().await {
        bytes += piece.context("the listing broke off")?.len() as u64;
    }
    Ok(bytes)
}

/// `PUT /v1/table`, answered once the engine follows it.
pub(super) async fn push(client: &reqwest::Client, agent: &Agent, table: &Table) -> Result<PushOutcome> {
    put(client, agent, table.bytes().to_vec()).await
}

/// The same of a table or a delta as bytes.
pub(super) async fn put(client: &reqwest::Client, agent: &Agent, bytes: Vec<u8>) -> Result<PushOutcome> {
    let response = client.put(format!("{}/v1/table", agent.url())).body(bytes).send().await.context("PUT /v1/table")?;
    let (status, body) = (response.status(), response.text().await?);
    ensure!(status.is_success(), "PUT /v1/table: {status}: {body}");
    serde_json::from_str(&body).context("PUT /v1/table answered no outcome")
}

/// The same table with a new name for every tenth host: a real change, which leaves every address where it is.
pub(super) fn renamed(table: &Table, round: u32) -> Result<Table> {
    let mut writer = Writer::sized(table.hosts(), table.len());
    let policies: Vec<_> = table.policies().iter().map(|policy| writer.policy(policy.clone())).collect();
    let mut rows = Vec::with_capacity(table.hosts());
    for index in 0..table.hosts() as u32 {
        let host = table.host(index);
        let name = if index % 10 == 0 { format!("{}-{round}", host.name()) } else { host.name().into() };
        rows.push(writer.host(host.id(), &name, host.project(), host.tags()));
    }
    for record in table.records() {
        let network = table.network(record.network());
        writer.address(rows[record.host() as usize], network, record.address(), record.mac(), policies[usize::from(record.policy())]);
    }
    writer.finish().context("the changed table")
}

impl Burden {
    /// Rows for people.
    pub(super) fn rows(&self, sheet: &mut Sheet) {
        sheet.pair(
            "meanwhile: scrapes",
            format!("{}, longest {} ms, {} bytes", self.scrapes, number(self.scrape_max_ms, 1), grouped(self.scrape_bytes)),
        );
        sheet.pair(
            "meanwhile: listings of all hosts",
            format!("{}, longest {} s, {}", self.listings, number(self.listing_s, 2), megabytes(self.listing_bytes)),
        );
        sheet.pair("meanwhile: pushes of the whole table", format!("{}, longest {} s", self.pushes, number(self.push_s, 2)));
    }
}

#[cfg(test)]
mod tests {
    use rollcall_agent::policy::Method;
    use rollcall_agent_ebpf::fleet::Cloud;

    use super::super::options::Options;
    use super::super::stand::table;
    use super::*;
    use clap::Parser as _;

    #[test]
    fn a_renamed_table_is_another_table_of_the_same_addresses() {
        let policy = Options::parse_from(["bench", "steady"]).policy(Method::Arp);
        let before = table(Cloud { on_link: 25, routed: 5 }, &policy, &[], |host| host.name.clone()).unwrap();
        let after = renamed(&before, 7).unwrap();
        assert_ne!(before.digest(), after.digest());
        let addresses = |table: &Table| table.records().iter().map(|record| (record.address(), record.mac())).collect::<Vec<_>>();
        assert_eq!(addresses(&before), addresses(&after));
        assert_eq!((before.hosts(), after.host(0).name()), (after.hosts(), &*format!("{}-7", before.host(0).name())));
    }
}
