//! Progress of what takes longer than a second, on standard error, if that is a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that says what is going on; it goes away with this value.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    shown: bool,
}

impl Progress {
    /// Begins silently.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::default_spinner());
        Progress { bar, started: Instant::now(), shown: false }
    }

    /// Says what comes now. Shows itself from the first second on.
    pub fn step(&mut self, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.bar.set_message(text);
        self.bar.tick();
        if !self.shown && self.started.elapsed() > Duration::from_secs(1) {
            self.show();
        }
    }

    /// Says what comes now, which may take long without a further step.
    pub fn wait(&mut self, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.bar.set_message(text);
        self.show();
    }

    fn show(&mut self) {
        self.shown = true;
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
