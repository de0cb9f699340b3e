//! Conditions of addresses: few addresses have any, so they are kept apart from what every slot has.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::unit::Condition;

/// The conditions that hold of one address. As JSON a text, `"conflict,flapping"`, or null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions(u8);

impl Conditions {
    /// Whether none holds.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one holds.
    pub fn has(self, condition: Condition) -> bool {
        self.0 & bit(condition) != 0
    }

    /// The same with one that holds, or does not.
    pub fn with(self, condition: Condition, holds: bool) -> Self {
        if holds { Conditions(self.0 | bit(condition)) } else { Conditions(self.0 & !bit(condition)) }
    }

    /// Those that hold.
    pub fn iter(self) -> impl Iterator<Item = Condition> {
        Condition::ALL.into_iter().filter(move |condition| self.has(*condition))
    }
}

fn bit(condition: Condition) -> u8 {
    match condition {
        Condition::Conflict => 1,
        Condition::Flapping => 2,
        Condition::IcmpFiltered => 4,
        Condition::Asymmetric => 8,
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, condition) in self.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}", condition.name())?;
        }
        Ok(())
    }
}

impl Serialize for Conditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_empty() { serializer.serialize_none() } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for Conditions {
    /// What a newer agent says beyond what is known here is left out.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let known = text.split(',').filter_map(|name| Condition::ALL.into_iter().find(|condition| condition.name() == name));
        Ok(known.fold(Conditions::default(), |all, condition| all.with(condition, true)))
    }
}

/// The conditions of all slots that have any. One writes, any may read.
#[derive(Debug, Default)]
pub struct Marks {
    /// So that a walk over a million slots need not look where there is nothing.
    count: AtomicUsize,
    slots: RwLock<HashMap<u32, Conditions>>,
}

impl Marks {
    /// The conditions of a slot.
    pub fn of(&self, slot: u32) -> Conditions {
        if self.count.load(Ordering::Acquire) == 0 {
            return Conditions::default();
        }
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&slot).copied().unwrap_or_default()
    }

    /// All slots that have any.
    pub fn all(&self) -> Vec<(u32, Conditions)> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).iter().map(|(slot, conditions)| (*slot, *conditions)).collect()
    }

    /// Sets one; whether that was news. Only the teller does.
    pub fn set(&self, slot: u32, condition: Condition, holds: bool) -> bool {
        let before = self.of(slot);
        let after = before.with(condition, holds);
        if before != after {
            self.put(slot, after);
        }
        before != after
    }

    /// The slot is free. Only the teller calls it.
    pub fn clear(&self, slot: u32) {
        if !self.of(slot).is_empty() {
            self.put(slot, Conditions::default());
        }
    }

    fn put(&self, slot: u32, conditions: Conditions) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if conditions.is_empty() {
            slots.remove(&slot);
        } else {
            slots.insert(slot, conditions);
        }
        self.count.store(slots.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_a_text_or_null_and_unknown_ones_are_left_out() {
        let none = Conditions::default();
        assert_eq!(serde_json::to_string(&none).unwrap(), "null");
        let all = Condition::ALL.into_iter().fold(none, |all, condition| all.with(condition, true));
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#""conflict,flapping,icmp-filtered,asymmetric""#);
        assert_eq!(serde_json::from_str::<Conditions>(&text).unwrap(), all);
        let newer: Conditions = serde_json::from_str(r#""flapping,haunted""#).unwrap();
        assert_eq!(newer, none.with(Condition::Flapping, true));
        assert_eq!(serde_json::from_str::<Conditions>("null").unwrap(), none);
    }

    #[test]
    fn a_slot_without_any_takes_no_room() {
        let marks = Marks::default();
        assert!(marks.set(7, Condition::Conflict, true) && !marks.set(7, Condition::Conflict, true));
        assert!(marks.set(7, Condition::Flapping, true) && marks.set(9, Condition::Flapping, true));
        assert!(marks.of(7).has(Condition::Conflict) && marks.of(8).is_empty());
        assert!(marks.set(7, Condition::Conflict, false));
        marks.clear(7);
        marks.clear(8);
        assert_eq!(marks.all(), [(9, Conditions::default().with(Condition::Flapping, true))]);
        marks.set(9, Condition::Flapping, false);
        assert_eq!(marks.count.load(Ordering::Acquire), 0);
    }
}
