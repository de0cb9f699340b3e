//! Groups as the engine needs them, found by number without a search.

use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::policy::Method;
use crate::schedule::Timing;
use crate::verdict::Thresholds;
use crate::view::Series;

/// A group as the engine needs it, with what it counted since the last refresh.
pub(super) struct Class {
    pub(super) network: Option<u16>,
    pub(super) timing: Timing,
    pub(super) thresholds: Thresholds,
    pub(super) method: Method,
    pub(super) series: Arc<Series>,
    pub(super) rtt: Histogram<u64>,
}

impl Class {
    /// The dial of an address; of two layers each is probed once in an interval.
    pub(super) fn dial(&self, both: bool) -> Timing {
        if both { self.timing.twice_as_often() } else { self.timing }
    }
}

/// All groups in use, by their number.
#[derive(Default)]
pub(super) struct Classes(Vec<Option<Box<Class>>>);

impl Classes {
    pub(super) fn get(&self, group: u16) -> Option<&Class> {
        self.0.get(usize::from(group))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, group: u16) -> Option<&mut Class> {
        self.0.get_mut(usize::from(group))?.as_deref_mut()
    }

    pub(super) fn insert(&mut self, group: u16, class: Class) {
        let at = usize::from(group);
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(Box::new(class));
    }

    /// Forgets the groups that the question denies.
    pub(super) fn retain(&mut self, keep: impl Fn(u16) -> bool) {
        for (number, class) in self.0.iter_mut().enumerate() {
            if !keep(number as u16) {
                *class = None;
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Class)> {
        self.0.iter().enumerate().filter_map(|(number, class)| Some((number as u16, class.as_deref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Class> {
        self.0.iter_mut().filter_map(Option::as_deref_mut)
    }
}
