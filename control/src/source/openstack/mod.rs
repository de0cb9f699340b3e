//! OpenStack: ports of Neutron, servers of Nova, joined by `device_id`.
//!
//! Every list is asked for whole: an error on any page leaves what is known as it is. Between two lists notifications tell of changes
//! ([`notify`]); one that is lost is healed by the next list. What is known is a [`World`]; [`join`] makes hosts of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use tokio::sync::mpsc::Receiver;

mod allowed;
pub mod auth;
pub mod change;
pub mod client;
pub mod credential;
mod grace;
pub mod join;
pub mod life;
pub mod model;
pub mod notify;
pub mod pages;
pub mod settings;
mod trust;
pub mod world;

pub use settings::OpenStackSettings;

use self::change::Change;
use self::client::Client;
use self::credential::Credential;
use self::join::Rules;
use self::model::{FloatingIp, Network, Port, Server};
use self::notify::Standing;
use self::pages::pages;
use self::world::{List, World};
use super::{Listing, Meanwhile, Source, SourceError};
use crate::sync::guard::Guard;

/// Where changes were lost everything is asked for anew, but not more often than this.
const SPARE: Duration = Duration::from_secs(5);
/// Nor so often that more than a quarter of the platform's time is spent on it: a tenant can lose us changes as often as he likes.
const SHARE: u32 = 3;

/// An OpenStack as a source.
pub struct OpenStack {
    settings: OpenStackSettings,
    rules: Rules,
    client: Client,
    world: World,
    changes: Option<Receiver<Change>>,
    standing: Option<Arc<Standing>>,
    /// When it was listed last, whole or in vain.
    asked: Option<Instant>,
    /// How long that took.
    took: Duration,
    guard: Option<Guard>,
}

impl OpenStack {
    /// Prepares asking; nothing is sent yet.
    pub fn new(settings: OpenStackSettings) -> Result<OpenStack, SourceError> {
        let credential = Credential::find(settings.cloud.as_deref(), settings.clouds_file.as_deref())?;
        let client = Client::new(credential, settings.timeout)?;
        let (rules, world) = (settings.rules()?, World::new(settings.grace));
        Ok(OpenStack { settings, rules, client, world, changes: None, standing: None, asked: None, took: Duration::ZERO, guard: None })
    }

    /// The same, that follows changes: it listens to notifications, if that was asked for. A list that the guard does not believe changes
    /// nothing of what is known, else the next change would bring it in by the back door.
    pub fn following(mut self, guard: Guard) -> Result<OpenStack, SourceError> {
        self.guard = Some(guard);
        if let Some(settings) = self.settings.notifications.clone() {
            let (changes, standing) = notify::listen(settings, &self.settings.name)?;
            (self.changes, self.standing) = (Some(changes), Some(standing));
        }
        Ok(self)
    }

    /// The same, that hears of changes from a test.
    #[cfg(test)]
    pub(crate) fn told_by(self, changes: Receiver<Change>) -> OpenStack {
        OpenStack { changes: Some(changes), ..self }
    }

    /// When the next list is wanted out of turn.
    fn wants_at(&self) -> Option<Instant> {
        self.world.lost.then(|| self.asked.map_or_else(Instant::now, |asked| asked + SPARE.max(SHARE * self.took)))
    }
}

/// Asks for everything. Ports before servers: the server of a port that is not among them is gone or has not come, not unseen.
async fn ask(client: &mut Client, size: u32, floating_ips: bool) -> Result<List, SourceError> {
    let networks: Vec<Network> = pages(client, "network", "/v2.0/networks", "networks", size).await?;
    let ports: Vec<Port> = pages(client, "network", "/v2.0/ports", "ports", size).await?;
    let floating_ips: Vec<FloatingIp> = match floating_ips {
        true => pages(client, "network", "/v2.0/floatingips", "floatingips", size).await?,
        false => vec![],
    };
    let servers: Vec<Server> = pages(client, "compute", "/servers/detail?all_tenants=true", "servers", size).await?;
    // Without its own we go by our clock.
    let clock = client.clock().unwrap_or_else(SystemTime::now);
    Ok(List { networks, ports, servers, floating_ips, clock: Some(clock) })
}

/// The next change that somebody tells of.
async fn told(changes: &mut Option<Receiver<Change>>) -> Change {
    loop {
        match changes {
            Some(receiver) => match receiver.recv().await {
                Some(change) => return change,
                None => *changes = None,
            },
            None => std::future::pending().await,
        }
    }
}

/// Waits for a moment, if there is one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

impl Source for OpenStack {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn list<'a>(&'a mut self, meanwhile: Meanwhile<'a>) -> BoxFuture<'a, Result<Listing, SourceError>> {
        Box::pin(async move {
            let OpenStack { settings, rules, client, world, changes, asked, took, guard, .. } = self;
            let began = Instant::now();
            // Whatever comes of it: lists that fail are not asked for out of turn again and again.
            world.lost = false;
            let mut asking = std::pin::pin!(ask(client, settings.page_size, rules.floating_ips));
            // What is told meanwhile may be younger than what is listed: it is told again once the list is known.
            let mut journal = Vec::new();
            let listed = loop {
                tokio::select! {
                    listed = &mut asking => break listed,
                    change = told(changes) => {
                        journal.push(change.clone());
                        world.apply(change, Instant::now());
                        while let Some(change) = changes.as_mut().and_then(|changes| changes.try_recv().ok()) {
                            journal.push(change.clone());
                            world.apply(change, Instant::now());
                        }
                    }
                    () = at(world.next_grace()) => {}
                }
                let now = Instant::now();
                if world.is_known() && world.take_change(now) {
                    meanwhile(join::listing(world, rules, now));
                }
            };
            let now = Instant::now();
            (*asked, *took) = (Some(now), now.saturating_duration_since(began));
            let list = listed?;
            trust::check(&list, world, rules)?;
            let mut next = world.clone();
            next.replace(list, now);
            for change in journal {
                next.apply(change, now);
            }
            let listing = join::listing(&next, rules, now);
            if let (Some(guard), true) = (guard, world.is_known()) {
                guard.compare("its list", &join::listing(world, rules, now), &listing).map_err(SourceError::Configuration)?;
            }
            *world = next;
            Ok(listing)
        })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            loop {
                if self.world.take_change(Instant::now()) || self.wants_list() {
                    return;
                }
                let wake = [self.world.next_grace(), self.wants_at()].into_iter().flatten().min();
                // Nothing is awaited between what is told and where it is kept: whoever drops this loses nothing.
                tokio::select! {
                    change = told(&mut self.changes) => {
                        self.world.apply(change, Instant::now());
                        while let Some(change) = self.changes.as_mut().and_then(|changes| changes.try_recv().ok()) {
                            self.world.apply(change, Instant::now());
                        }
                    }
                    () = at(wake) => {}
                }
            }
        })
    }

    fn known(&self) -> Option<Listing> {
        self.world.is_known().then(|| join::listing(&self.world, &self.rules, Instant::now()))
    }

    fn notifications(&self) -> Option<Arc<Standing>> {
        self.standing.clone()
    }

    fn wants_list(&self) -> bool {
        self.wants_at().is_some_and(|at| at <= Instant::now())
    }
}

#[cfg(test)]
mod tests;
