//! The controller with sources that say what a test wants, and agents that stand in for real ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rollcall_agent::table::Table;
use tokio::sync::{mpsc, oneshot};

use super::config::Config;
use super::controller::Controller;
use super::courier::Standing;
use super::plan::Planner;
use super::serve::Show;
use super::tasks::Tasks;
use crate::failure::Failure;
use crate::source::{Entry, Listing, Meanwhile, Source, SourceError, spot};

#[path = "../../../tests/stand/agent.rs"]
mod agent;
mod cloud;
mod config;
mod events;
mod faults;
mod first;
mod plans;

use agent::Agent;

/// How long a test waits for what should be at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for several rounds of a controller.
const A_WHILE: Duration = Duration::from_millis(600);

/// Hosts of network red, by number.
fn hosts(numbers: impl IntoIterator<Item = u32>) -> Listing {
    let host = |n: u32| {
        let addresses = vec![spot("red", &format!("10.0.{}.{}", n / 250, n % 250 + 1), None).unwrap()];
        Entry { id: format!("vm-{n}"), addresses, ..Entry::default() }
    };
    Listing { hosts: numbers.into_iter().map(host).collect(), warnings: vec![] }
}

/// A controller's files: as many sources as are wanted, and these agents, each attached to all networks.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(agents: &[(&str, SocketAddr)], sources: &[&str]) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "policy = \"policies.toml\"\n".to_owned();
        for name in sources {
            text += &format!("[[source]]\ntype = \"file\"\nname = \"{name}\"\npath = \"{name}\"\nformat = \"hosts\"\n");
        }
        for (name, address) in agents {
            text += &format!("[[agent]]\nname = \"{name}\"\nurl = \"http://{address}\"\nnetworks = [\"*\"]\n");
        }
        std::fs::write(folder.path().join("sync.toml"), text).unwrap();
        let desk = Desk { folder };
        desk.policy("[defaults]\n");
        desk
    }

    fn policy(&self, text: &str) {
        std::fs::write(self.folder.path().join("policies.toml"), text).unwrap();
    }

    fn config(&self) -> Config {
        let config = Config::read(&self.folder.path().join("sync.toml")).unwrap();
        Config { interval: Duration::from_millis(100), ..config }
    }

    /// The table of the first agent, of these hosts, as if it ran it for a while.
    fn table(&self, listing: &Listing) -> Table {
        let config = self.config();
        let plan = Planner::new(&config.agents[..1]).unwrap().plan(&config, [("list", listing)].into_iter()).unwrap();
        plan.tables[0].with_generation(7)
    }

    fn run(&self, allow_shrink: bool, sources: Vec<Box<dyn Source>>) -> Running {
        let controller = Controller::new(self.config(), allow_shrink).unwrap();
        let show = controller.show.clone();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        Running { show, stop, task: tokio::spawn(controller.work(Tasks::default(), sources, stopped)) }
    }
}

/// A controller at work.
struct Running {
    show: Show,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), Failure>>,
}

impl Running {
    fn agent(&self, at: usize) -> Standing {
        self.show.agents[at].1.standing()
    }

    /// Waits until what is shown is as it should be.
    async fn until(&self, what: &str, is: impl Fn(&Show) -> bool) {
        let began = Instant::now();
        while !is(&self.show) {
            assert!(began.elapsed() < PATIENCE && !self.task.is_finished(), "{what}: {:?}", self.show.troubles());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it is in trouble that is described so.
    async fn until_trouble(&self, what: &str) {
        self.until(what, |show| show.troubles().iter().any(|trouble| trouble.contains(what))).await;
    }

    async fn until_well(&self) {
        self.until("all is well", |show| show.troubles().is_empty()).await;
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// What a test has in hand of a source.
struct Hand {
    /// What it answers when it is listed.
    list: Arc<std::sync::Mutex<Result<Listing, String>>>,
    /// What it is told of.
    changes: mpsc::UnboundedSender<Listing>,
}

impl Hand {
    fn lists(&self, answer: Result<Listing, &str>) {
        *self.list.lock().unwrap() = answer.map_err(str::to_owned);
    }

    fn tells(&self, listing: Listing) {
        self.changes.send(listing).unwrap();
    }
}

/// A source by the hand of a test.
struct Script {
    list: Arc<std::sync::Mutex<Result<Listing, String>>>,
    changes: mpsc::UnboundedReceiver<Listing>,
    known: Option<Listing>,
}

fn script(first: Result<Listing, &str>) -> (Hand, Box<dyn Source>) {
    let (sender, changes) = mpsc::unbounded_channel();
    let list = Arc::new(std::sync::Mutex::new(first.map_err(str::to_owned)));
    (Hand { list: list.clone(), changes: sender }, Box::new(Script { list, changes, known: None }))
}

impl Source for Script {
    fn name(&self) -> &str {
        "list"
    }

    fn list<'a>(&'a mut self, _: Meanwhile<'a>) -> BoxFuture<'a, Result<Listing, SourceError>> {
        Box::pin(async {
            let listing = self.list.lock().unwrap().clone().map_err(SourceError::Configuration)?;
            self.known = Some(listing.clone());
            Ok(listing)
        })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            match self.changes.recv().await {
                Some(listing) => self.known = Some(listing),
                None => std::future::pending().await,
            }
        })
    }

    fn known(&self) -> Option<Listing> {
        self.known.clone()
    }
}

/// An address at which nobody listens for now.
async fn nobody() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
