//! The agent's event stream, read while a part goes on.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use rollcall_agent::api::Event;
use rollcall_agent::unit::Verdict;
use tokio::sync::oneshot;

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

/// All that was heard of the stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heard {
    pub(super) downs: Vec<Down>,
    /// Events that the agent threw away because we did not keep up: downs may be among them.
    pub(super) missed: u64,
    broken: Option<String>,
}

/// Follows the stream until it is dropped, on a thread of its own: what else is asked of the agent is not in its way.
pub(super) struct Watcher {
    shared: Arc<Mutex<Heard>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to follow; the stream is open when it returns.
    pub(super) async fn start(agent: &Agent) -> Result<Self> {
        let shared = Arc::new(Mutex::new(Heard::default()));
        let (theirs, url) = (shared.clone(), format!("{}/v1/events", agent.url()));
        let (stop, stopped) = oneshot::channel();
        let (opened, open) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("events".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = follow(&url, &theirs, opened) => {}
                    _ = stopped => {}
                }
            });
        });
        let watcher = Self { shared, stop: Some(stop), thread: Some(thread.context("cannot start a thread")?) };
        match open.await {
            Ok(()) => Ok(watcher),
            Err(_) => bail!("{}", watcher.lock().broken.clone().unwrap_or_default()),
        }
    }

    /// All that was heard so far. Fails where the stream broke.
    pub(super) fn heard(&self) -> Result<Heard> {
        let heard = self.lock().clone();
        match heard.broken {
            Some(why) => bail!("{why}: downs may be missing"),
            None => Ok(heard),
        }
    }

    /// How many downs so far.
    pub(super) fn count(&self) -> usize {
        self.lock().downs.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic was told where it happened.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn follow(url: &str, shared: &Mutex<Heard>, opened: oneshot::Sender<()>) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let broken = |why: String| lock().broken = Some(why);
    let client = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(10)).build();
    let response = match client {
        Ok(client) => client.get(url).send().await.and_then(reqwest::Response::error_for_status),
        Err(error) => Err(error),
    };
    let mut stream = match response {
        Ok(response) => response.bytes_stream(),
        Err(error) => return broken(format!("GET {url}: {error}")),
    };
    let _ = opened.send(());
    let mut lines = Lines::default();
    loop {
        match stream.next().await {
            Some(Ok(bytes)) => {
                let mut heard = lock();
                lines.feed(&bytes, |line| heard.take(line));
            }
            Some(Err(error)) => return broken(format!("the event stream broke: {error}")),
            None => return broken("the event stream ended".into()),
        }
    }
}

impl Heard {
    /// One line of the stream (server-sent events of the HTML standard).
    fn take(&mut self, line: &str) {
        let Some(data) = line.strip_prefix("data: ") else { return };
        // The agent's word for how many events it threw away.
        if let Ok(missed) = data.parse::<u64>() {
            self.missed += missed;
        }
        // Most events are of no interest, and reading one takes longer than looking for a word.
        let Some(event) = data.contains("\"down\"").then(|| serde_json::from_str::<Event>(data).ok()).flatten() else { return };
        if event.to == Verdict::Down && event.condition.is_none() {
            match humantime::parse_rfc3339(&event.at) {
                Ok(at) => self.downs.push(Down { address: event.address, at, heard: SystemTime::now() }),
                Err(error) => self.broken = Some(format!("an event's time {:?}: {error}", event.at)),
            }
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
            assert_eq!((heard.downs.len(), heard.missed, &heard.broken), (1, 0, &None));
        }
    }

    #[test]
    fn events_that_the_agent_threw_away_are_counted() {
        let mut heard = Heard::default();
        ["event: lagged", "data: 40", "", "event: lagged", "data: 2", ""].into_iter().for_each(|line| heard.take(line));
        assert_eq!(heard.missed, 42);
    }
}
