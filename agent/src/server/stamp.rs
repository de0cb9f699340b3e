//! Times of a long list: the day is written once, the time of day by its digits.

use crate::clock::{LAST_MS, rfc3339};

const DAY: u64 = 86_400_000;
/// Where the time of day begins in `2026-05-04T03:02:01.000Z`.
const TIME: usize = 11;

/// Writes one time after the other, as [`rfc3339`] does.
#[derive(Default)]
pub(super) struct Stamp {
    day: Option<u64>,
    text: String,
}

impl Stamp {
    /// A time in milliseconds since the Unix epoch.
    pub(super) fn write(&mut self, ms: u64) -> &str {
        let ms = ms.min(LAST_MS);
        if self.day != Some(ms / DAY) {
            self.text = rfc3339(ms);
            self.day = Some(ms / DAY);
            return &self.text;
        }
        let of_day = ms % DAY;
        let (hours, minutes, seconds) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
        self.text.truncate(TIME);
        for (number, end) in [(hours, ':'), (minutes, ':'), (seconds, '.')] {
            self.digit(number / 10);
            self.digit(number % 10);
            self.text.push(end);
        }
        for digit in [of_day / 100, of_day / 10, of_day] {
            self.digit(digit);
        }
        self.text.push('Z');
        &self.text
    }

    /// The last digit of a number.
    fn digit(&mut self, number: u64) {
        self.text.push(char::from(b'0' + (number % 10) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_written_as_elsewhere() {
        let mut stamp = Stamp::default();
        let day = 1_800_057_600_000 / DAY * DAY;
        for ms in [0, 1, day, day + 1, day + 3_599_999, day + 45_296_789, day + DAY - 1, day + DAY, day - 1, u64::MAX, u64::MAX - 1] {
            assert_eq!(stamp.write(ms), rfc3339(ms), "{ms}");
            assert_eq!(stamp.write(ms), rfc3339(ms), "{ms}, again");
        }
        for ms in (day..day + DAY).step_by(999_983) {
            assert_eq!(stamp.write(ms), rfc3339(ms), "{ms}");
        }
    }
}
