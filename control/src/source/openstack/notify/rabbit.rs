//! The connection to RabbitMQ: made anew for ever, with a queue of its own that is gone with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use tokio::sync::mpsc::Sender;

use super::super::super::file;
use super::super::super::secret::only_ours;
use super::super::change::Change;
use super::{Settings, Standing, changes};

/// A URL is no longer.
const LONGEST: u64 = 4_096;
/// How long a broker may take to let us in.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Between two looks whether an exchange that was not there has come: a service makes it with the first thing that it tells.
const LOOK: Duration = Duration::from_secs(5);
/// Messages that are under way to us.
const PREFETCH: u16 = 256;

/// Why a session ended.
enum End {
    /// Nobody takes what is heard.
    Unwanted,
    /// What went wrong.
    Broken(String),
}

/// Who listens, and what was said of it last.
struct Listener {
    settings: Settings,
    source: String,
    changes: Sender<Change>,
    standing: Arc<Standing>,
    said: String,
}

/// Listens until nobody wants it any more.
pub(super) async fn listen(settings: Settings, source: String, changes: Sender<Change>, standing: Arc<Standing>) {
    let unwanted = changes.clone();
    let mut listener = Listener { settings, source, changes, standing, said: String::new() };
    let mut pause = PAUSE.0;
    loop {
        let began = Instant::now();
        let end = tokio::select! {
            end = listener.session() => end,
            () = unwanted.closed() => return,
        };
        listener.standing.connected.store(false, Ordering::Relaxed);
        match end {
            End::Unwanted => return,
            End::Broken(why) => {
                *listener.standing.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
                listener.say(&format!("no notifications: {why}; until they come again changes are seen within the interval"))
            }
        }
        if began.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        // Not all at once, when a broker that many listen to comes back.
        let wait = pause.mul_f64(rand::random_range(0.5..1.0));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = unwanted.closed() => return,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

impl Listener {
    /// Each thing once, until it is another one.
    fn say(&mut self, text: &str) {
        if self.said != text {
            eprintln!("rollcall sync: source {:?}: {text}", self.source);
            text.clone_into(&mut self.said);
        }
    }

    /// The URL, read anew: passwords are changed in place.
    fn url(&self) -> Result<AMQPUri, String> {
        let path = &self.settings.url_file;
        only_ours(path).map_err(|error| error.to_string())?;
        let bytes = file::read(path, LONGEST).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&bytes);
        // What is wrong with it is not said: it would be quoted.
        text.trim().parse().map_err(|_: String| format!("{}: found no URL, allowed: amqp://USER:PASSWORD@HOST:5672/VHOST", path.display()))
    }

    async fn session(&mut self) -> End {
        match self.hear().await {
            Ok(end) => end,
            Err(why) => End::Broken(why),
        }
    }

    async fn hear(&mut self) -> Result<End, String> {
        let uri = self.url()?;
        let (host, password) = (format!("{}:{}", uri.authority.host, uri.authority.port), uri.authority.userinfo.password.clone());
        let why = |what: &str, error: lapin::Error| format!("RabbitMQ at {host}: {what}: {}", hide(&error.to_string(), &password));
        let tls = OwnedTLSConfig { identity: None, cert_chain: self.certificates()? };
        let properties = ConnectionProperties::default().with_connection_name("rollcall sync".into());
        let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
        let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
        let connection = tokio::time::timeout(PATIENCE, connecting)
            .await
            .map_err(|_| format!("RabbitMQ at {host} does not let us in within {} s", PATIENCE.as_secs()))?
            .map_err(|error| why("cannot connect", error))?;
        let channel = connection.create_channel().await.map_err(|error| why("no channel", error))?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(|error| why("no prefetch", error))?;
        // Of our own, and gone with us: nothing fills up while nobody listens.
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.map_err(|error| why("no queue", error))?;
        let mut missing = Vec::new();
        for exchange in self.settings.exchanges.clone() {
            if !self.bind(&connection, queue.name().as_str(), &exchange).await.map_err(|error| why("cannot bind", error))? {
                missing.push(exchange);
            }
        }
        let consume = channel.basic_consume(queue.name().clone(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer = consume.await.map_err(|error| why("cannot consume", error))?;
        self.standing.connected.store(true, Ordering::Relaxed);
        self.report(&host, &missing);
        // What happened while nobody listened is not known.
        let mut wants_list = true;
        let mut look = tokio::time::interval(LOOK);
        look.reset();
        loop {
            if std::mem::take(&mut wants_list) && self.changes.send(Change::Lost).await.is_err() {
                return Ok(End::Unwanted);
            }
            tokio::select! {
                delivery = consumer.next() => {
                    let delivery = delivery.ok_or_else(|| format!("RabbitMQ at {host} has closed the connection"))?;
                    let delivery = delivery.map_err(|error| why("the connection is lost", error))?;
                    self.standing.messages.fetch_add(1, Ordering::Relaxed);
                    let told = changes(&delivery.data).unwrap_or_else(|| {
                        self.standing.broken.fetch_add(1, Ordering::Relaxed);
                        vec![Change::Lost]
                    });
                    for change in told {
                        if self.changes.send(change).await.is_err() {
                            return Ok(End::Unwanted);
                        }
                    }
                    delivery.acker.ack(BasicAckOptions::default()).await.map_err(|error| why("cannot acknowledge", error))?;
                }
                _ = look.tick(), if !missing.is_empty() => {
                    let mut still = Vec::new();
                    for exchange in missing {
                        if self.bind(&connection, queue.name().as_str(), &exchange).await.map_err(|error| why("cannot bind", error))? {
                            wants_list = true;
                        } else {
                            still.push(exchange);
                        }
                    }
                    missing = still;
                    self.report(&host, &missing);
                }
            }
        }
    }

    /// Says how it stands.
    fn report(&mut self, host: &str, missing: &[String]) {
        let hears = format!("hears notifications of RabbitMQ at {host}");
        if missing.is_empty() {
            self.say(&hears);
        } else {
            let names: Vec<String> = missing.iter().map(|name| format!("{name:?}")).collect();
            self.say(&format!(
                "{hears}, but it has no exchange {}: does that service send notifications ([oslo_messaging_notifications] driver = messagingv2)?",
                names.join(", ")
            ));
        }
    }

    /// Binds the queue to an exchange. False: there is none. It is the services' own: it is not made here, for it might be made otherwise.
    async fn bind(&self, connection: &Connection, queue: &str, exchange: &str) -> Result<bool, lapin::Error> {
        // A question that is answered by no closes its channel.
        let channel = connection.create_channel().await?;
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let there = channel.exchange_declare(exchange.into(), ExchangeKind::Topic, passive, FieldTable::default()).await;
        match there {
            Ok(()) => {}
            Err(error) if error.is_amqp_soft_error() => return Ok(false),
            Err(error) => return Err(error),
        }
        for topic in &self.settings.topics {
            let key = format!("{topic}.#");
            channel.queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), FieldTable::default()).await?;
        }
        Ok(true)
    }

    fn certificates(&self) -> Result<Option<String>, String> {
        let read = |path: &std::path::PathBuf| std::fs::read_to_string(path).map_err(|error| format!("cacert {}: {error}", path.display()));
        self.settings.cacert.as_ref().map(read).transpose()
    }
}

/// An error of the broker's without our password, and in one line.
fn hide(text: &str, password: &str) -> String {
    let text = if password.len() < 4 { text.to_owned() } else { text.replace(password, "(secret)") };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
