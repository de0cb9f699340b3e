//! What the teller makes of the engine's notes about conflicts and blindness: a real alarm stage, a real receiver, notes by hand. The view's
//! arrays are in memory: nothing is attached and nothing sent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollcall_agent::alarm::{Change, Recovery, RouteConfig, Service, What};
use rollcall_agent::clock;
use rollcall_agent::condition::Conditions;
use rollcall_agent::engine::{Conditioned, Note, Sight, Turned};
use rollcall_agent::policy::{Method, Policy};
use rollcall_agent::reply::Program;
use rollcall_agent::roster::{Keeper, Roster};
use rollcall_agent::state::Restored;
use rollcall_agent::table::{Edition, Writer};
use rollcall_agent::tell::{Events, Teller, Telling};
use rollcall_agent::unit::{Blind, Condition, Mac, Verdict};
use rollcall_agent::view::{NetworkView, View};
use rollcall_tests::webhook::{Alarm, Receiver};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x66]);

/// The agent's telling half.
struct Half {
    notes: mpsc::UnboundedSender<Note>,
    view: Arc<View>,
    alarms: Service,
    teller: JoinHandle<()>,
    roster: Arc<Roster>,
    _program: Program,
}

fn routes(receiver: &Receiver) -> Vec<RouteConfig> {
    let route = serde_json::json!({"type": "webhook", "name": "oncall", "url": receiver.url(), "retry_min": "50ms"});
    vec![serde_json::from_value(route).unwrap()]
}

/// Ten hosts in one network, one in a second, none in a third.
fn roster() -> Arc<Roster> {
    let mut writer = Writer::new();
    let ms = Duration::from_millis;
    let policy = writer.policy(Policy {
        name: "gold".into(),
        interval: ms(500),
        timeout: ms(250),
        confirm_interval: ms(150),
        down_after: 3,
        down_of: 3,
        up_after: 2,
        up_of: 2,
        method: Method::Arp,
        alarm: vec!["oncall".into()],
    });
    for n in 1..=10u8 {
        let host = writer.host(&format!("vm-{n:02}"), "web", "shop", []);
        writer.address(host, "a", [10, 0, 0, n].into(), Some(OWN), policy);
    }
    let host = writer.host("vm-11", "web", "shop", []);
    writer.address(host, "b", [10, 1, 0, 1].into(), Some(OWN), policy);
    let table = Edition::of(Arc::new(writer.finish().unwrap()));
    Keeper::new(["a", "b", "c"]).plan(&Roster::default(), table, &Restored::new(), clock::now()).unwrap().roster
}

impl Half {
    async fn start(receiver: &Receiver, state: &Path) -> Half {
        let program = Program::in_memory(64).unwrap();
        let network = |name: &str| NetworkView::new(name.into(), "none".into(), ("socket", "xdp-generic"));
        let view =
            Arc::new(View::new(rollcall_agent::clock::now(), vec![network("a"), network("b"), network("c")], program.arrays().clone()));
        let recovery = Recovery::read(&routes(receiver), state).unwrap();
        // As the agent does: of the silence of single hosts the engine speaks.
        let of_more = |alarm: &&Arc<rollcall_agent::alarm::Alarm>| alarm.subject.matter.what() != What::Down;
        let resumed = recovery.firing.iter().filter(of_more).cloned().collect();
        let alarms = recovery.start(Vec::<Change>::new());
        let telling = Telling { routes: vec!["oncall".into()], resumed, ..Telling::default() };
        let (notes, told) = mpsc::unbounded_channel();
        let teller = tokio::spawn(Teller::new(view.clone(), alarms.clone(), Arc::new(Events::default()), telling).run(told));
        let roster = roster();
        let half = Half { notes, view, alarms, teller, roster, _program: program };
        half.note(Note::Roster(half.roster.clone(), vec![]));
        half
    }

    fn note(&self, note: Note) {
        assert!(self.notes.send(note).is_ok(), "the teller ended");
    }

    fn slot(&self, host: u8) -> u32 {
        let roster = &self.roster;
        roster.table.find("a", [10, 0, 0, host].into()).and_then(|id| roster.slot(id)).unwrap()
    }

    fn conflict(&self, host: u8, holds: bool) {
        let at_ms = now_ms();
        let note = Conditioned { slot: self.slot(host), condition: Condition::Conflict, holds, macs: Some((OWN, OTHER)), at_ms };
        self.note(Note::Condition(note));
    }

    fn sight(&self, network: Option<u16>, blind: Option<Blind>) {
        self.note(Note::Sight(Sight { network, blind, at_ms: now_ms() }));
    }

    fn down(&self, host: u8) {
        let at_ms = now_ms();
        let (slot, from, to) = (self.slot(host), Verdict::Suspect, Verdict::Down);
        self.note(Note::Turn(Turned { slot, from, to, blind: None, misses: 3, at_ms, since_ms: at_ms - 700, last_reply_ms: None }));
    }

    async fn end(self) {
        drop(self.notes);
        self.teller.await.unwrap();
        self.alarms.shutdown(Duration::from_secs(2)).await;
    }
}

fn now_ms() -> u64 {
    clock::unix_ms(std::time::SystemTime::now())
}

/// All that arrived, of hosts and of the agent, as (kind, status).
fn told(receiver: &Receiver) -> Vec<(String, String)> {
    all(receiver).into_iter().map(|alarm| (alarm.kind, alarm.status)).collect()
}

fn all(receiver: &Receiver) -> Vec<Alarm> {
    let mut all = receiver.arrivals();
    all.extend(receiver.of_agent());
    all.sort_by_key(|arrival| arrival.at);
    all.into_iter().map(|arrival| arrival.alarm).collect()
}

async fn until(receiver: &Receiver, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected.iter().map(|(kind, status)| ((*kind).to_owned(), (*status).to_owned())).collect();
    for _ in 0..2_000 {
        if told(receiver) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {expected:?}: {:?}", told(receiver));
}

#[tokio::test(flavor = "multi_thread")]
async fn conflict_is_an_alarm_of_its_own_beside_the_verdict_and_is_shown() {
    let (receiver, state) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    let half = Half::start(&receiver, state.path()).await;
    half.conflict(3, true);
    half.conflict(3, true);
    until(&receiver, &[("conflict", "firing")]).await;
    let alarm = all(&receiver).remove(0);
    assert_eq!((alarm.host.id.as_str(), alarm.address), ("vm-03", Some([10, 0, 0, 3].into())));
    assert_eq!(alarm.detail, serde_json::json!({"expected_mac": OWN.to_string(), "found_mac": OTHER.to_string()}));
    assert_eq!(half.view.marks.of(half.slot(3)), Conditions::default().with(Condition::Conflict, true));
    // The verdict goes on, and has its own alarm.
    half.down(3);
    until(&receiver, &[("conflict", "firing"), ("down", "firing")]).await;
    half.conflict(3, false);
    until(&receiver, &[("conflict", "firing"), ("down", "firing"), ("conflict", "resolved")]).await;
    assert!(half.view.marks.of(half.slot(3)).is_empty());
    half.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflict_of_before_a_restart_goes_on_and_a_stopped_host_takes_it_along() {
    let (receiver, state) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    let half = Half::start(&receiver, state.path()).await;
    half.conflict(3, true);
    half.conflict(4, true);
    until(&receiver, &[("conflict", "firing"), ("conflict", "firing")]).await;
    half.end().await;
    let half = Half::start(&receiver, state.path()).await;
    half.conflict(3, true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((told(&receiver).len(), half.alarms.firing_count()), (2, 2), "nothing is told twice");
    assert!(half.view.marks.of(half.slot(4)).has(Condition::Conflict));
    let (roster, slot) = (half.roster.clone(), half.slot(4));
    let key = rollcall_agent::alarm::Key::new("a", [10, 0, 0, 4].into());
    half.note(Note::Roster(roster, vec![key]));
    until(&receiver, &[("conflict", "firing"), ("conflict", "firing"), ("conflict", "forgotten")]).await;
    assert!(half.view.marks.of(slot).is_empty());
    half.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_is_blind_says_so_once_tells_of_no_host_meanwhile_and_says_when_it_sees() {
    let (receiver, state) = (Receiver::start().await.unwrap(), tempfile::tempdir().unwrap());
    let half = Half::start(&receiver, state.path()).await;
    half.sight(Some(0), Some(Blind::LinkDown));
    half.sight(Some(0), None);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(told(&receiver).is_empty(), "a flicker wakes nobody");
    half.sight(Some(0), Some(Blind::LinkDown));
    half.sight(Some(1), Some(Blind::LinkDown));
    // Nobody is watched there.
    half.sight(Some(2), Some(Blind::LinkDown));
    // A verdict that was on its way when the link went.
    half.down(3);
    until(&receiver, &[("agent-blind", "firing")]).await;
    let alarm = all(&receiver).remove(0);
    assert_eq!(alarm.detail, serde_json::json!({"reason": "link-down", "networks": ["a", "b"]}));
    assert_eq!((alarm.address, alarm.network.as_str()), (None, ""));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(told(&receiver).len(), 1, "no host alarm for that time");
    half.end().await;
    // Over a restart it is not told again, and ends when the agent sees.
    let half = Half::start(&receiver, state.path()).await;
    half.sight(Some(0), Some(Blind::LinkDown));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(told(&receiver).len(), 1);
    half.sight(Some(0), None);
    until(&receiver, &[("agent-blind", "firing"), ("agent-blind", "resolved")]).await;
    half.down(3);
    until(&receiver, &[("agent-blind", "firing"), ("agent-blind", "resolved"), ("down", "firing")]).await;
    half.end().await;
}
