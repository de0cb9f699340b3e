//! Recent: what became of the last probes of an address, newest first, in one word. Pure.

/// The outcomes of up to 31 probes: the newest in the lowest bit, one for a reply; the highest bit that is set only says how many
/// there are. Voids leave no trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recent(u32);

/// Outcomes that are remembered.
pub const RECENT: u8 = 31;

impl Recent {
    /// From a word; 0: none yet.
    pub const fn of(word: u32) -> Self {
        Recent(word)
    }

    /// As a word.
    pub const fn word(self) -> u32 {
        self.0
    }

    /// With one more outcome before the others.
    pub const fn and(self, reply: bool) -> Self {
        let (bits, full) = (if self.0 == 0 { 1 } else { self.0 }, 1 << RECENT);
        Recent((bits << 1) | reply as u32 | bits & full)
    }

    /// How many there are.
    pub const fn len(self) -> u8 {
        if self.0 == 0 { 0 } else { RECENT - self.0.leading_zeros() as u8 }
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Only the newest so many of them.
    pub const fn last(self, among: u8) -> Self {
        if among >= self.len() { self } else { Recent(self.0 & ((1 << among) - 1) | 1 << among) }
    }

    /// How many of the newest so many were replies.
    pub const fn replies(self, among: u8) -> u8 {
        let among = if among > self.len() { self.len() } else { among };
        (self.0 & ((1 << among) - 1)).count_ones() as u8
    }

    /// How many of the newest so many were misses.
    pub const fn misses(self, among: u8) -> u8 {
        let among = if among > self.len() { self.len() } else { among };
        among - self.replies(among)
    }

    /// How many replies came since the last miss, or misses since the last reply.
    pub const fn run(self) -> u8 {
        let same = if self.0 & 1 == 1 { self.0.trailing_ones() } else { self.0.trailing_zeros() } as u8;
        if same > self.len() { self.len() } else { same }
    }

    /// Whether the newest was a reply.
    pub const fn is_reply(self) -> bool {
        self.0 & 1 == 1 && !self.is_empty()
    }

    /// Oldest first: `!` for a reply, `.` for a miss.
    pub fn marks(self) -> String {
        (0..self.len()).rev().map(|bit| if self.0 >> bit & 1 == 1 { '!' } else { '.' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From marks, oldest first.
    fn recent(marks: &str) -> Recent {
        marks.chars().fold(Recent::default(), |recent, mark| recent.and(mark == '!'))
    }

    #[test]
    fn outcomes_are_remembered_in_order_and_the_oldest_goes_first() {
        assert_eq!(Recent::default().marks(), "");
        assert_eq!(recent(".!.").marks(), ".!.");
        let many = (0..100).fold(recent(".!."), |recent, probe| recent.and(probe != 98));
        assert_eq!(many.marks(), format!("{}.!", "!".repeat(29)));
        assert_eq!(many.len(), RECENT);
    }

    #[test]
    fn replies_and_misses_are_counted_among_the_newest_and_never_beyond_what_there_is() {
        let few = recent("!!..!");
        assert_eq!((few.replies(2), few.misses(2), few.misses(3), few.replies(31), few.misses(31)), (1, 1, 2, 3, 2));
        assert_eq!((Recent::default().replies(31), Recent::default().misses(31)), (0, 0));
        let full = (0..40).fold(Recent::default(), |recent, _| recent.and(true));
        assert_eq!((full.replies(31), full.misses(31)), (31, 0));
    }

    #[test]
    fn a_run_is_what_is_alike_at_the_end() {
        assert_eq!([recent("..!!!").run(), recent("!..").run(), recent("!").run(), recent("...").run(), recent("").run()], [3, 2, 1, 3, 0]);
        assert!(recent(".!").is_reply() && !recent("!.").is_reply() && !recent("").is_reply());
        let full = (0..40).fold(Recent::default(), |recent, _| recent.and(true));
        assert_eq!(full.run(), 31);
    }
}
