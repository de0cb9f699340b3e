//! Monotonic time as the kernel programs see it: `CLOCK_MONOTONIC`, in nanoseconds.
//!
//! Stages take [`Mono`] as an argument. Only the engine asks its [`Clock`], and who reads replies the machine's.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// A moment of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(u64);

impl Mono {
    /// From nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Mono(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time since an earlier moment; zero when that moment is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The last multiple of `step` since boot that is not later.
    pub fn floor(self, step: Duration) -> Mono {
        Mono(self.0 - self.0 % nanos(step).max(1))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, duration: Duration) -> Mono {
        Mono(self.0 + nanos(duration))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;

    fn sub(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_sub(nanos(duration)))
    }
}

/// Nanoseconds of a duration; the longest ones of a policy are far below 2^64.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clocks by which an engine goes: those of the machine, or in a simulation one that is set by hand.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// Those of the machine.
    #[default]
    Machine,
    /// Nanoseconds since the beginning of a simulation, which is also taken for the Unix epoch of its wall clock.
    Simulated(Arc<AtomicU64>),
}

impl Clock {
    /// The monotonic clock now.
    pub fn now(&self) -> Mono {
        match self {
            Clock::Machine => now(),
            Clock::Simulated(nanos) => Mono(nanos.load(Ordering::Relaxed)),
        }
    }

    /// The clock that goes on while the machine is suspended.
    pub fn boot_time(&self) -> Mono {
        match self {
            Clock::Machine => boot_time(),
            Clock::Simulated(_) => self.now(),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(&self) -> u64 {
        match self {
            Clock::Machine => unix_ms(SystemTime::now()),
            Clock::Simulated(_) => self.now().0 / 1_000_000,
        }
    }
}

/// The monotonic clock now.
pub fn now() -> Mono {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The clock that goes on while the machine is suspended, which the monotonic one does not.
pub fn boot_time() -> Mono {
    read(ClockId::CLOCK_BOOTTIME)
}

fn read(clock: ClockId) -> Mono {
    // Both clocks exist on every Linux that this builds for.
    let time = clock_gettime(clock).unwrap_or_else(|_| nix::sys::time::TimeSpec::new(0, 0));
    Mono(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Milliseconds since the Unix epoch, as states and events are stamped.
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The inverse of [`unix_ms`].
pub fn from_unix_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// The last millisecond of the last year that RFC 3339 can write.
pub const LAST_MS: u64 = 253_402_300_799_999;

/// RFC 3339 in UTC with milliseconds, as the API and the alarms write times.
pub fn rfc3339(ms: u64) -> String {
    // A clock that is far out must not stop an alarm.
    humantime::format_rfc3339_millis(from_unix_ms(ms.min(LAST_MS))).to_string()
}
