//! How large the groups of the table in force are. Asked only about groups in which some fall silent, so a push of a table costs nothing here.
//!
//! Networks and subnets are counted where they stand in the table. How many hosts have a tag shows only in a look at all of them: that is
//! done beside the work, once for all tags, and again when the table has changed and somebody asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::alarm::{Census, Group, Size};
use crate::roster::Roster;
use crate::table::{Edition, Record};
use crate::unit::mapped;

/// Between two looks at all hosts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses by tag.
type Tags = HashMap<Box<str>, u32>;

/// The sizes of groups.
pub(super) struct Rolls {
    /// How the tags begin that make groups.
    prefix: Arc<str>,
    roster: Arc<Roster>,
    /// Tables that were in force so far.
    tables: u64,
    epoch: u64,
    tags: Option<Arc<Tags>>,
    /// In which of the tables the tags are, or are being, counted, and when that began or was over.
    counted: Option<(u64, Instant)>,
    /// Somebody asked for what is not known.
    wanted: bool,
    walk: Option<JoinHandle<Tags>>,
}

impl Rolls {
    pub(super) fn new(prefix: &str) -> Rolls {
        let (roster, tables, epoch, tags, counted, wanted, walk) = Default::default();
        Rolls { prefix: prefix.into(), roster, tables, epoch, tags, counted, wanted, walk }
    }

    /// Another table is in force.
    pub(super) fn take(&mut self, roster: Arc<Roster>) {
        self.roster = roster;
        self.tables += 1;
        self.epoch += 1;
    }

    /// Begins to count tags when somebody asked, and takes what was counted. Must be called inside a tokio runtime.
    pub(super) fn tick(&mut self) {
        if let Some(counted) = self.walk.as_mut().and_then(FutureExt::now_or_never) {
            self.walk = None;
            match counted {
                Ok(tags) => (self.tags, self.epoch) = (Some(Arc::new(tags)), self.epoch + 1),
                Err(error) => warn!(target: "alarm", %error, "the hosts of each hypervisor could not be counted; please report it"),
            }
            // The table may have changed meanwhile: what was counted is the one that it began with.
            self.counted = self.counted.map(|(table, _)| (table, Instant::now()));
        }
        if self.counted.is_some_and(|(table, _)| table == self.tables) {
            self.wanted = false;
        }
        let due = self.counted.is_none_or(|(_, at)| at.elapsed() >= PATIENCE);
        if self.wanted && due && self.walk.is_none() {
            let (roster, prefix) = (self.roster.clone(), self.prefix.clone());
            self.counted = Some((self.tables, Instant::now()));
            self.wanted = false;
            self.walk = Some(tokio::task::spawn_blocking(move || count(&roster.table, &prefix)));
        }
    }

    /// Whether anybody is watched in a network (without a name: anywhere). Before the first table that is not known.
    pub(super) fn watches(&self, name: &str) -> bool {
        let counts = self.roster.table.counts();
        let network = self.network(name);
        self.tables == 0 || counts.iter().any(|((of, _), count)| *count > 0 && (name.is_empty() || Some(*of) == network))
    }

    fn network(&self, name: &str) -> Option<u16> {
        self.roster.table.networks().position(|known| known == name).map(|at| at as u16)
    }

    /// Addresses of a network, and how many of them are probed in a second.
    fn in_network(&self, network: u16) -> (u32, f64) {
        let table = &self.roster.table;
        let of_policy = table.counts().range((network, 0)..=(network, u16::MAX)).map(|((_, policy), count)| {
            let interval = table.policies()[usize::from(*policy)].interval;
            (*count, f64::from(*count) / interval.as_secs_f64())
        });
        of_policy.fold((0, 0.0), |(all, rate), (count, more)| (all + count, rate + more))
    }
}

impl Census for Rolls {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn size(&mut self, group: &Group) -> Option<Size> {
        let nobody = Size { members: 0, per_second: 0.0 };
        match group {
            Group::Network(name) => {
                let (members, per_second) = self.network(name).map_or((0, 0.0), |network| self.in_network(network));
                Some(Size { members, per_second })
            }
            Group::Subnet(name, first) => {
                let Some(network) = self.network(name) else { return Some(nobody) };
                let members = self.roster.table.count_between(network, mapped(*first), mapped(Group::last_of(*first))) as u32;
                let (all, rate) = self.in_network(network);
                Some(Size { members, per_second: rate * f64::from(members) / f64::from(all.max(1)) })
            }
            Group::Tag(tag) => {
                self.wanted = true;
                // One that came since the last look is not empty: its size is not known.
                let members = self.tags.as_ref()?.get(&**tag).copied()?;
                let sums = (0..self.roster.table.networks().len()).map(|network| self.in_network(network as u16));
                let (all, rate) = sums.fold((0, 0.0), |(all, rate), (count, more)| (all + count, rate + more));
                Some(Size { members, per_second: rate * f64::from(members) / f64::from(all.max(1)) })
            }
        }
    }
}

/// The tag that an address shares with those that fail with it: the first that begins so.
pub(super) fn tag_of<'a>(table: &'a Edition, record: &Record, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return None;
    }
    table.host(record.host()).tags().find(|tag| tag.starts_with(prefix))
}

fn count(table: &Edition, prefix: &str) -> Tags {
    let mut tags = Tags::new();
    for (_, record) in table.iter() {
        let Some(tag) = tag_of(table, &record, prefix) else { continue };
        match tags.get_mut(tag) {
            Some(count) => *count += 1,
            None => drop(tags.insert(tag.into(), 1)),
        }
    }
    // Only this and a listing read all names; their pages need not stay.
    table.cool();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::policy::{Method, Policy};
    use crate::roster::Keeper;
    use crate::state::Restored;
    use crate::table::Writer;

    fn policy(name: &str, interval: u64, route: &str) -> Policy {
        let ms = Duration::from_millis;
        let (interval, timeout, confirm_interval) = (Duration::from_secs(interval), ms(300), ms(200));
        let (name, alarm, method) = (name.into(), vec![route.into()], Method::Arp);
        Policy { name, interval, timeout, confirm_interval, down_after: 3, down_of: 3, up_after: 2, up_of: 2, method, alarm }
    }

    /// So many hosts on four hypervisors, and as many on others as are named.
    fn roster(hosts: u32, more: &[&str]) -> Arc<Roster> {
        let mut writer = Writer::new();
        let (fast, slow) = (writer.policy(policy("fast", 1, "pager")), writer.policy(policy("slow", 10, "mail")));
        for n in 0..hosts + more.len() as u32 {
            let tag = more.get(n.wrapping_sub(hosts) as usize).map_or_else(|| format!("hypervisor=h{}", n % 4), |tag| (*tag).to_owned());
            let host = writer.host(&format!("vm-{n}"), "", "", ["web", tag.as_str()]);
            let policy = if n < 500 { fast } else { slow };
            writer.address(host, "net-b", std::net::IpAddr::from((0x0a00_0000 + n).to_be_bytes()), None, policy);
        }
        let table = Edition::of(Arc::new(writer.finish().unwrap()));
        Keeper::new(["net-b"]).plan(&Roster::default(), table, &Restored::new(), clock::now()).unwrap().roster
    }

    fn rolls() -> Rolls {
        let mut rolls = Rolls::new("hypervisor=");
        rolls.take(roster(600, &[]));
        rolls
    }

    /// Until the walk that is under way was counted.
    async fn walked(rolls: &mut Rolls) {
        for _ in 0..1000 {
            rolls.tick();
            if rolls.walk.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the walk does not end");
    }

    /// As if the last look at all hosts lay so far back.
    fn wait(rolls: &mut Rolls, time: Duration) {
        rolls.counted = rolls.counted.map(|(table, at)| (table, at.checked_sub(time).unwrap()));
    }

    #[tokio::test]
    async fn sizes_and_rates_are_those_of_the_table() {
        let mut rolls = rolls();
        let network = Group::Network("net-b".into());
        assert_eq!(rolls.size(&network), Some(Size { members: 600, per_second: 510.0 }));
        let subnet = Group::subnet("net-b".into(), [10, 0, 2, 9].into());
        assert_eq!(rolls.size(&subnet).map(|size| size.members), Some(88));
        assert_eq!(rolls.size(&Group::Network("net-c".into())).map(|size| size.members), Some(0));
        let tag = Group::Tag("hypervisor=h3".into());
        rolls.tick();
        assert!(rolls.walk.is_none(), "nobody asked for tags");
        assert_eq!(rolls.size(&tag), None, "not known yet");
        let epoch = rolls.epoch();
        rolls.tick();
        walked(&mut rolls).await;
        assert!(rolls.epoch() > epoch);
        assert_eq!(rolls.size(&tag), Some(Size { members: 150, per_second: 127.5 }));
        rolls.tick();
        assert!(rolls.walk.is_none(), "counted once for one table");
        let (_, record) = rolls.roster.table.iter().nth(6).unwrap();
        assert_eq!(tag_of(&rolls.roster.table, &record, "hypervisor="), Some("hypervisor=h2"));
        assert_eq!(tag_of(&rolls.roster.table, &record, ""), None);
    }

    #[tokio::test]
    async fn a_table_that_comes_during_a_look_or_soon_after_one_has_its_tags_counted_in_its_turn() {
        let mut rolls = rolls();
        let (old, new) = (Group::Tag("hypervisor=h3".into()), Group::Tag("hypervisor=new".into()));
        let members = |rolls: &mut Rolls, tag: &Group| rolls.size(tag).map(|size| size.members);
        assert_eq!(members(&mut rolls, &old), None);
        rolls.tick();
        assert!(rolls.walk.is_some());
        // Pushed while the old one is counted.
        rolls.take(roster(400, &["hypervisor=new"; 30]));
        walked(&mut rolls).await;
        assert_eq!(members(&mut rolls, &old), Some(150), "as it was");
        assert_eq!(members(&mut rolls, &new), None, "not known, which is not none at all");
        // Asked for once, and not yet due.
        (0..10).for_each(|_| rolls.tick());
        assert!(rolls.walk.is_none());
        wait(&mut rolls, PATIENCE);
        rolls.tick();
        walked(&mut rolls).await;
        assert_eq!((members(&mut rolls, &old), members(&mut rolls, &new)), (Some(100), Some(30)));
        wait(&mut rolls, PATIENCE);
        rolls.tick();
        assert!(rolls.walk.is_none(), "counted once for one table");
    }
}
