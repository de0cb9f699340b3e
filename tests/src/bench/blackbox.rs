//! Who asks blackbox_exporter, as a Prometheus server would: one call for each host in each interval.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use futures::{StreamExt, stream};
use tokio::task::JoinHandle;

/// Calls that are under way at once.
const AT_ONCE: usize = 128;

/// Asks until it is dropped.
pub(super) struct Driver {
    shared: Arc<Mutex<Shown>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shown {
    failing: BTreeSet<Ipv4Addr>,
    /// Calls that failed themselves: they say nothing of a host.
    refused: Option<String>,
}

impl Driver {
    /// Begins: each round takes the interval, or as long as the exporter needs for all.
    pub(super) fn start(url: &str, hosts: Vec<Ipv4Addr>, interval: Duration) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).pool_max_idle_per_host(AT_ONCE).build()?;
        let shared = Arc::new(Mutex::new(Shown::default()));
        let theirs = shared.clone();
        let url = format!("{url}/probe?module=icmp&target=");
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(interval);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let ask = |host: Ipv4Addr| {
                    let (client, url) = (&client, &url);
                    async move { (host, ask(client, &format!("{url}{host}")).await) }
                };
                let mut answers = stream::iter(hosts.iter().copied()).map(ask).buffer_unordered(AT_ONCE);
                while let Some((host, answer)) = answers.next().await {
                    let mut shown = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer {
                        Ok(true) => {}
                        Ok(false) => drop(shown.failing.insert(host)),
                        Err(error) => shown.refused = Some(format!("{host}: {error:#}")),
                    }
                }
            }
        });
        Ok(Self { shared, task })
    }

    /// Forgets what was shown so far.
    pub(super) fn mark(&self) {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Shown::default();
    }

    /// Whom it showed as failing since then.
    pub(super) fn failing(&self) -> Result<BTreeSet<Ipv4Addr>> {
        let shown = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refused) = &shown.refused {
            bail!("the exporter refused to probe {refused}");
        }
        Ok(shown.failing.clone())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether the probe succeeded.
async fn ask(client: &reqwest::Client, url: &str) -> Result<bool> {
    let text = client.get(url).send().await?.error_for_status()?.text().await?;
    success(&text)
}

fn success(text: &str) -> Result<bool> {
    match text.lines().find_map(|line| line.strip_prefix("probe_success ")) {
        Some(value) => Ok(value.trim() == "1"),
        None => bail!("an answer without probe_success"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_what_the_exporter_says_and_nothing_else() {
        assert!(success("# HELP probe_success x\nprobe_success 1\n").unwrap());
        assert!(!success("probe_success 0\n").unwrap());
        assert!(success("probe_duration_seconds 1\n").is_err());
    }
}
