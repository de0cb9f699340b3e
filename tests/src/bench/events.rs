//! The agent's event stream, read while a part goes on.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rollcall_agent::api::Event;
use rollcall_agent::unit::Verdict;
use tokio::task::JoinHandle;

use crate::agent::Agent;

/// A verdict `down` that the agent told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Down {
    pub(super) address: IpAddr,
    /// When the agent came to the verdict, by its own stamp, rounded down to a millisecond.
    pub(super) at: SystemTime,
    /// When it was heard of.
    pub(super) heard: SystemTime,
}

/// Follows the stream until it is dropped.
pub(super) struct Watcher {
    shared: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    downs: Vec<Down>,
    unknown: u64,
    broken: Option<String>,
}

impl Watcher {
    /// Begins to follow.
    pub(super) async fn start(agent: &Agent) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(10)).build()?;
        let response = client.get(format!("{}/v1/events", agent.url())).send().await.context("GET /v1/events")?;
        ensure!(response.status().is_success(), "GET /v1/events: {}", response.status());
        let shared = Arc::new(Mutex::new(Heard::default()));
        let theirs = shared.clone();
        let task = tokio::spawn(async move {
            let mut stream = response.bytes_stream();
            let mut lines = Lines::default();
            let why = loop {
                match stream.next().await {
                    Some(Ok(bytes)) => {
                        let mut heard = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                        lines.feed(&bytes, |line| heard.take(line));
                    }
                    Some(Err(error)) => break format!("the event stream broke: {error}"),
                    None => break "the event stream ended".into(),
                }
            };
            theirs.lock().unwrap_or_else(PoisonError::into_inner).broken.get_or_insert(why);
        });
        Ok(Self { shared, task })
    }

    /// All downs so far, and how often an address became unknown. Fails where the stream is not whole.
    pub(super) fn heard(&self) -> Result<(Vec<Down>, u64)> {
        let heard = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &heard.broken {
            anyhow::bail!("{why}: downs may be missing");
        }
        Ok((heard.downs.clone(), heard.unknown))
    }

    /// How many downs so far.
    pub(super) fn count(&self) -> usize {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).downs.len()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heard {
    /// One line of the stream (server-sent events of the HTML standard).
    fn take(&mut self, line: &str) {
        if line == "event: lagged" {
            self.broken = Some("the agent told more events than we could read".into());
        }
        let Some(event) = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Event>(data).ok()) else { return };
        match event.to {
            Verdict::Down => {
                let heard = SystemTime::now();
                match humantime::parse_rfc3339(&event.at) {
                    Ok(at) => self.downs.push(Down { address: event.address, at, heard }),
                    Err(error) => self.broken = Some(format!("an event's time {:?}: {error}", event.at)),
                }
            }
            Verdict::Unknown => self.unknown += 1,
            _ => {}
        }
    }
}

/// Lines out of pieces that end anywhere.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        self.0.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(end) = self.0[start..].iter().position(|byte| *byte == b'\n') {
            line(String::from_utf8_lossy(&self.0[start..start + end]).trim_end_matches('\r'));
            start += end + 1;
        }
        self.0.drain(..start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downs_are_read_from_pieces_that_end_anywhere() {
        let event = |to: &str| {
            format!(
                "event: verdict\ndata: {{\"at\":\"2024-05-01T00:00:00.250Z\",\"id\":\"a\",\"name\":\"a\",\"project\":\"p\",\"network\":\"lab\",\
                 \"address\":\"10.0.0.1\",\"policy\":\"x\",\"from\":\"suspect\",\"to\":\"{to}\",\"reason\":null}}\n\n"
            )
        };
        let text = event("down") + &event("up") + &event("unknown");
        for size in [1, 7, 1000] {
            let (mut heard, mut lines) = (Heard::default(), Lines::default());
            text.as_bytes().chunks(size).for_each(|piece| lines.feed(piece, |line| heard.take(line)));
            assert_eq!((heard.downs.len(), heard.unknown, &heard.broken), (1, 1, &None));
        }
    }

    #[test]
    fn a_stream_with_a_hole_is_not_whole() {
        let mut heard = Heard::default();
        heard.take("event: lagged");
        assert!(heard.broken.is_some());
    }
}
