//! `rollcall watch`: verdicts as they change.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use rollcall_agent::api::Event;

use crate::client::{AgentArgs, Client, root_cause};
use crate::failure::{EXIT_CODES, Failure};
use crate::screen::{Screen, printable};
use crate::sse::Lines;

/// Longest pause between two attempts to reach an agent that went away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Write each change of a verdict or a condition as it happens, until interrupted
///
/// Reconnects when the agent goes away, and says so on standard error: changes in between are not repeated.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Watch {
    #[command(flatten)]
    agent: AgentArgs,
    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Watch {
    /// Runs it.
    pub async fn run(&self) -> Result<(), Failure> {
        let client = Client::new(&self.agent)?;
        let mut left = self.count.unwrap_or(u64::MAX);
        // Whoever asks for the first time wants to know that there is no agent; later it may be restarting.
        let mut response = client.events().await?;
        while left > 0 {
            let why = self.follow(response, &mut left).await?;
            if left == 0 {
                break;
            }
            eprintln!("rollcall: {}: {why}; reconnecting", self.agent.agent);
            response = reconnect(&client).await?;
            eprintln!("rollcall: {}: connected again; changes in between are not shown", self.agent.agent);
        }
        Ok(())
    }

    /// Writes events until the stream ends; says why it did.
    async fn follow(&self, response: reqwest::Response, left: &mut u64) -> Result<String, Failure> {
        let mut stream = response.bytes_stream();
        let mut lines = Lines::default();
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Ok(root_cause(&error)),
            };
            for data in lines.feed(&piece) {
                match serde_json::from_str::<Event>(&data) {
                    Ok(event) => self.write(&event)?,
                    Err(error) => {
                        eprintln!("warning: an event that this release does not understand: {error}");
                        continue;
                    }
                }
                *left -= 1;
                if *left == 0 {
                    return Ok(String::new());
                }
            }
        }
        Ok("the agent ended the stream".to_owned())
    }

    fn write(&self, event: &Event) -> Result<(), Failure> {
        // Not kept open between events: standard output is flushed with every line.
        let mut screen = Screen::new();
        if self.json {
            serde_json::to_writer(&mut screen, event)?;
            writeln!(screen)?;
        } else {
            let reason = event.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let (from, to) = (screen.verdict(event.from), screen.verdict(event.to));
            let what = condition(event).unwrap_or_else(|| format!("{from} -> {to}{reason}"));
            writeln!(
                screen,
                "{} {what}  {} {}  {} {}  {}",
                printable(&event.at),
                printable(&event.id),
                printable(&event.name),
                printable(&event.network),
                event.address,
                printable(&event.policy),
            )?;
        }
        Ok(screen.flush()?)
    }
}

/// What an event says of a condition, where it is about one.
pub(super) fn condition(event: &Event) -> Option<String> {
    let over = if event.holds == Some(false) { " no more" } else { "" };
    event.condition.map(|condition| format!("{condition}{over}"))
}

/// Tries until the agent answers again. What it refuses stays refused.
async fn reconnect(client: &Client) -> Result<reqwest::Response, Failure> {
    let mut pause = Duration::from_millis(250);
    loop {
        tokio::time::sleep(pause).await;
        match client.events().await {
            Err(Failure::Unreachable(_)) => pause = (pause * 2).min(PATIENCE),
            other => return other,
        }
    }
}
