//! What a long run says while it goes on: short lines, in colour where a person watches.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Where the story goes.
pub(crate) struct Voice {
    to_stderr: bool,
    terminal: bool,
}

impl Voice {
    /// Standard output belongs to the JSON object where one was asked for.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = if json { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        Self { to_stderr: json, terminal: terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    /// One step that is done: its name, what came of it, how long it took.
    pub(crate) fn step(&self, name: &str, text: &str, took: Option<Duration>) {
        let took = took.map(|took| self.dim(&format!("  ({})", seconds(took)))).unwrap_or_default();
        self.line(&format!("{} {text}{took}", self.paint("1;36", &format!("{name:<9}"))));
    }

    /// A line of a step.
    pub(crate) fn detail(&self, text: &str) {
        self.line(&format!("{:<9} {text}", ""));
    }

    /// How far a step is: overwritten by the next line. Only where a person watches.
    pub(crate) fn progress(&self, name: &str, text: &str) {
        if self.terminal {
            self.write(&format!("\r\x1b[2K{} {text}", self.paint("1;36", &format!("{name:<9}"))));
        }
    }

    /// A whole line.
    pub(crate) fn line(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    /// Something bad.
    pub(crate) fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something good.
    pub(crate) fn green(&self, text: &str) -> String {
        self.paint("1;32", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    fn write(&self, text: &str) {
        // Nobody to tell when the reader went away; the run still has to clean up.
        let _ = if self.to_stderr {
            io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
    }
}

/// `1.23 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
