//! Alarm: what changed is told to those whom the policy names, once each, also over a restart and a `kill -9`.
//!
//! [`Filter`] decides which of all silent addresses are told by themselves, and which as one outage or as one that flaps; [`Sights`], when
//! the agent's own blindness is told. What is left is a [`Change`]: an alarm begins or ends, or an address is forgotten. [`Alarms`] decides what
//! is new, the journal makes it last, one queue for each route keeps what is still to be told, and a route tells it.
//!
//! # What is promised
//! - **Once.** A second `Down` of an address whose alarm fires says nothing, before and after a restart.
//! - **None lost.** A change is on the disk before it is told, and is told until the receiver acknowledges it (2xx).
//! - **At least once, with an id.** Only when the answer was lost (a timeout, a crash between the receiver's 2xx and
//!   our note of it) a notice goes out a second time, with the same `id`. Receivers that care drop ids they have seen.
//! - **In order** for each address and route: firing, then its end, then the next firing.
//! - **Nothing about a stopped host.** `Forgotten` takes back what waits. Only a receiver that has, or may have, a
//!   firing alarm of that address is sent one more notice, `forgotten`, so that it can close what it opened.
//! - **Bounded.** While a receiver is away, an outage that began after a recovery it has not been told of is folded
//!   into the one before (`folded` counts them): each address and route holds at most one forgotten, one firing and
//!   one resolved notice, besides those whose delivery is in doubt.
//! - **Nothing dropped unseen.** A receiver that is away, or refuses whoever asks (401, 404, 5xx, ...) is tried until it
//!   takes the notices. One that refuses the *content* (400, 409, 413, 415, 422) gets the batch in halves until the one
//!   notice is found; that one is tried 5 times, apart from the others, then given up with an ERROR and counted.
//!
//! # The webhook's JSON, version 1
//! One POST carries one object, `Content-Type: application/json`; any 2xx acknowledges all of it.
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `version` | number | 1. It changes when a field's meaning changes; new fields may come without |
//! | `agent` | string | name and version of the sender |
//! | `route` | string | the route's name |
//! | `sent` | time | when this POST was made |
//! | `alarms` | array | 1 to `max_batch` notices, oldest first |
//!
//! Each of `alarms`:
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `id` | string | this notice: `ALARM.STATUS`. Stable over retries and restarts: drop an id that you have seen |
//! | `alarm` | string | the outage, 32 hexadecimal digits: the same in its `firing` and its end |
//! | `kind` | string | what is the matter: `down`, `conflict`, `flapping`, `outage`, `agent-blind` |
//! | `status` | string | `firing`: the address is down (or the other matter began). `resolved`: it answers again (or that is over). `forgotten`: the host was stopped or left the table while its alarm was open; close it, nothing more will come |
//! | `summary` | string | one sentence for people |
//! | `host` | object or null | `id`, `name`, `project`, `tags` (array), as when it went down; null where it is about no single host (`outage`, `agent-blind`) |
//! | `network` | string or null | with `address` the identity of what is down; null where it is about several, or none |
//! | `address` | string or null | null where `host` is |
//! | `mac` | string or null | where the probes went |
//! | `policy` | string or null | the policy's name; null where `host` is |
//! | `at` | time | when the agent came to the verdict |
//! | `since` | time | when the first missed probe was sent (`outage`: by the first of them); since when, of other kinds |
//! | `last_reply` | time or null | when the address answered last |
//! | `ended` | time or null | when the alarm ended; null while `firing` |
//! | `misses` | number | misses that made the verdict; 0 of other kinds than `down` |
//! | `interval_seconds`, `timeout_seconds` | number | how it was probed; 0 where `host` is null |
//! | `folded` | number | further outages of this address between `at` and now that were not told apart, because the receiver was away |
//! | `detail` | object or null | what there is to be said of other kinds than `down`, as below |
//!
//! | kind | `detail` |
//! |---|---|
//! | `conflict` | `expected_mac`, `found_mac` (string or null): the MAC of the list, or the one that was learned, and the one that answered |
//! | `flapping` | `changes`: so often it turned between up and down, within `window_seconds` |
//! | `outage` | `scope`: `network`, `subnet` or `tag`; `name` of it; `wave`: 1, or more where an earlier outage of the same still lasts; `silent` of `watched` addresses when it began; `hosts`: the first hundred of them, each `id`, `name`, `network`, `address` |
//! | `agent-blind` | `reason`: `link-down`, `send-error`, `overload`, `silent`, ...; `networks` (array of strings; empty: the agent as a whole) |
//!
//! Times are RFC 3339 in UTC with milliseconds.

mod alarms;
mod backoff;
mod change;
mod config;
mod courier;
mod filter;
mod inbox;
mod journal;
mod lane;
mod matter;
mod notice;
mod queue;
mod record;
mod recovery;
mod resend;
mod route;
#[cfg(test)]
mod sample;
mod service;
mod state;
mod stats;
mod summary;
#[cfg(test)]
mod tests;

pub use alarms::{Alarms, Effect};
pub use change::{Change, Down, Key, Subject};
pub use config::{AlertmanagerConfig, LogConfig, RouteConfig, RouteMistake, Secret, WebhookConfig};
pub use filter::{
    AgentAlarmConfig, Blindness, Census, Fall, Filter, FlapConfig, Group, Outbreak, Place, Seen, Sights, Size, StormConfig, Told, Turn,
};
pub use journal::JournalError;
pub use matter::{Matter, NAMED, NO_ADDRESS, Outage, OutageHost, Scope, What, group_of};
pub use notice::{Alarm, AlarmId, AlarmIdError, Kind, Notice, NoticeRef};
pub use recovery::{Recovery, StartError, check_routes};
pub use service::Service;
pub use stats::RouteReport;
