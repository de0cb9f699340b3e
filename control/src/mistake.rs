//! What is wrong with a file, and where.

use std::fmt;

/// One mistake of one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mistake {
    /// The file as the user named it; `<stdin>` for standard input.
    pub file: String,
    /// Line, counted from 1; 0 where no line is to blame.
    pub line: u32,
    /// The field, or the kind of thing that is wrong.
    pub field: String,
    /// What stands there.
    pub found: String,
    /// What could stand there.
    pub allowed: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { file, line, field, found, allowed } = self;
        match line {
            0 => write!(f, "{file}: {field}: found {found}, allowed: {allowed}"),
            _ => write!(f, "{file}:{line}: {field}: found {found}, allowed: {allowed}"),
        }
    }
}

/// All mistakes of all files.
#[derive(Clone, Debug, Default)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// How many are written out; the rest is counted.
    pub const SHOWN: usize = 1000;

    /// Notes a mistake.
    pub fn push(&mut self, mistake: Mistake) {
        self.0.push(mistake);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Orders them by line within each file, files as they came.
    pub fn sort(&mut self) {
        let mut files: Vec<&str> = Vec::new();
        for mistake in &self.0 {
            if !files.contains(&mistake.file.as_str()) {
                files.push(&mistake.file);
            }
        }
        let files: Vec<String> = files.into_iter().map(str::to_owned).collect();
        self.0.sort_by_key(|mistake| (files.iter().position(|file| *file == mistake.file), mistake.line));
    }

    /// `value` if there is no mistake, else the mistakes.
    pub fn none_or<T>(self, value: T) -> Result<T, Mistakes> {
        match self.is_empty() {
            true => Ok(value),
            false => Err(self),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in self.0.iter().take(Self::SHOWN) {
            writeln!(f, "{mistake}")?;
        }
        match self.0.len() {
            n if n > Self::SHOWN => write!(f, "... and {} more: {n} mistakes in all", n - Self::SHOWN),
            1 => write!(f, "1 mistake"),
            n => write!(f, "{n} mistakes"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// A text from outside between quotes, without what would write on a terminal, shortened to what fits a line.
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().count() > LONGEST {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_write_on_the_terminal() {
        assert_eq!(quoted("a\u{1b}[31m\n"), r#""a\u{1b}[31m\n""#);
        assert_eq!(quoted("größe"), "\"größe\"");
        assert_eq!(quoted(&"x".repeat(100)), format!("\"{}...\"", "x".repeat(80)));
    }

    #[test]
    fn a_flood_of_mistakes_is_cut_and_counted() {
        let one = Mistake { file: "f".into(), line: 1, field: "id".into(), found: "\"\"".into(), allowed: "an id".into() };
        let text = Mistakes(vec![one; 1003]).to_string();
        assert_eq!(text.lines().count(), 1001);
        assert!(text.ends_with("... and 3 more: 1003 mistakes in all"));
    }
}
