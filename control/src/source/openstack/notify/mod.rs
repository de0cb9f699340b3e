//! Notifications: what Neutron and Nova tell of their changes, over RabbitMQ.
//!
//! They are a hint, the list is the truth: whoever listens has a queue of his own that is gone with him, so after every connection
//! everything is listed once more ([`Change::Lost`]), and a message that cannot be read costs no more than that.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tokio::sync::mpsc;

use super::super::SourceError;
use super::super::secret::only_ours;
use super::change::Change;

mod envelope;
mod neutron;
mod nova;
mod rabbit;

pub use envelope::changes;

/// Changes that wait for whoever takes them; beyond it the broker keeps them.
const WAITING: usize = 1_024;

/// `[source.notifications]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A file with one line, `amqp://USER:PASSWORD@HOST:5672/VHOST` (or `amqps`), that nobody else may read.
    pub url_file: PathBuf,
    /// Where the services send to.
    #[serde(default = "exchanges")]
    pub exchanges: Vec<String>,
    /// What they send under (`[oslo_messaging_notifications] topics`).
    #[serde(default = "topics")]
    pub topics: Vec<String>,
    /// For `amqps`: certificates that are believed instead of those of the system.
    pub cacert: Option<PathBuf>,
}

fn exchanges() -> Vec<String> {
    ["neutron", "nova"].map(str::to_owned).to_vec()
}

fn topics() -> Vec<String> {
    ["notifications", "versioned_notifications"].map(str::to_owned).to_vec()
}

/// How the listening stands, for metrics.
#[derive(Debug, Default)]
pub struct Standing {
    /// Whether there is a connection.
    pub connected: AtomicBool,
    /// Messages that came.
    pub messages: AtomicU64,
    /// Of these, those that could not be read.
    pub broken: AtomicU64,
    /// What went wrong last with the connection.
    pub trouble: Mutex<Option<String>>,
}

/// Listens, in a task of its own, until nobody takes what it hears any more.
pub fn listen(settings: Settings, source: &str) -> Result<(mpsc::Receiver<Change>, Arc<Standing>), SourceError> {
    only_ours(&settings.url_file)?;
    if settings.exchanges.is_empty() || settings.topics.is_empty() {
        let why = "notifications: exchanges and topics: found none, allowed: at least one of each";
        return Err(SourceError::Configuration(why.to_owned()));
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let standing = Arc::new(Standing::default());
    tokio::spawn(rabbit::listen(settings, source.to_owned(), sender, standing.clone()));
    Ok((receiver, standing))
}
