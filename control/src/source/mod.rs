//! Sources: where lists of hosts come from. Each is asked for all its hosts at every interval, and some tell of changes in between.
//!
//! What a source gives is a [`Listing`] of [`Entry`]s, whoever it is: `rollcall import` writes them as a host list, `rollcall sync` makes
//! tables of them.

use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use rollcall_agent::unit::Mac;
use serde::Serialize;

use crate::hosts::Monitor;

mod entry;
pub mod file;
pub mod format;
pub mod openstack;
pub mod secret;
pub mod url;
pub mod wish;

pub use entry::{Spot, curb};

/// All hosts that a source has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The hosts, each once.
    pub hosts: Vec<Entry>,
    /// What is odd, yet not wrong: a line each.
    pub warnings: Vec<String>,
}

/// One host. Serialised it is a line of a host list (JSON lines).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The platform's id of the host: stable, and its own among all sources.
    pub id: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its project (tenant).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// Tags, by which policies are chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whether it is watched.
    #[serde(skip_serializing_if = "Monitor::is_on")]
    pub monitor: Monitor,
    /// Its addresses, at least one.
    pub addresses: Vec<Spot>,
}

/// Who hears of changes while everything is asked for.
pub type Meanwhile<'a> = &'a mut (dyn FnMut(Listing) + Send);

/// Where hosts come from.
pub trait Source: Send {
    /// What it is called in messages and metrics: the name that the configuration gives it.
    fn name(&self) -> &str;

    /// Asks for everything. An error changes nothing: what was known before stays known, and [`Source::known`] gives it. That may take
    /// minutes: changes that the source is told of meanwhile are given to `meanwhile`, each time all that is known then.
    fn list<'a>(&'a mut self, meanwhile: Meanwhile<'a>) -> BoxFuture<'a, Result<Listing, SourceError>>;

    /// Waits until the source knows more than what it gave last: a change that it was told of, or a host whose time has come (a grace
    /// time that ends). Those that only answer when they are asked wait for ever. Dropping the future loses nothing.
    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// How its notifications stand, if it listens to any.
    fn notifications(&self) -> Option<Arc<openstack::notify::Standing>> {
        None
    }

    /// Whether it should be listed out of turn: changes were lost.
    fn wants_list(&self) -> bool {
        false
    }

    /// What is known now without asking: the last listing with the changes since; `None` before the first.
    fn known(&self) -> Option<Listing>;
}

/// Why a source gave nothing. None of these ever holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody answers, or not in time.
    #[error("{what} cannot be reached: {why}")]
    Unreachable { what: String, why: String },
    /// The credential is refused or expired.
    #[error("{what} refuses the credential: {why}")]
    Refused { what: String, why: String },
    /// An answer that is an error.
    #[error("{what} answers {status}: {why}")]
    Status { what: String, status: u16, why: String },
    /// An answer that is not what it should be.
    #[error("{what}: {found}, expected {expected}")]
    Broken { what: String, found: String, expected: String },
    /// A file or a setting.
    #[error("{0}")]
    Configuration(String),
}

/// An address and a MAC as a platform writes them: `None` where that is none that a host can have.
pub fn spot(network: &str, address: &str, mac: Option<&str>) -> Option<Spot> {
    let address: IpAddr = crate::hosts::address(address.trim()).ok()?;
    let mac: Option<Mac> = crate::hosts::mac(mac.unwrap_or_default().trim()).ok()?;
    Some(Spot { network: network.to_owned(), address, mac })
}
