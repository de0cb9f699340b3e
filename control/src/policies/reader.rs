//! TOML values with the lines where they stand.

use rollcall_agent::table::text_rule;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistake::{Mistake, Mistakes, quoted};

/// Turns values into what they mean, and notes a mistake where they mean nothing.
pub(super) struct Reader<'a> {
    file: &'a str,
    /// Where each line ends.
    ends: Vec<usize>,
    mistakes: &'a mut Mistakes,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, mistakes: &'a mut Mistakes) -> Self {
        Reader { file, ends: Vec::new(), mistakes }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.ends = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at).collect();
    }

    pub(super) fn line(&self, offset: usize) -> u32 {
        self.ends.partition_point(|&end| end < offset) as u32 + 1
    }

    pub(super) fn mistake(&mut self, line: u32, field: &str, found: String, allowed: impl Into<String>) {
        let mistake = Mistake { file: self.file.to_owned(), line, field: field.to_owned(), found, allowed: allowed.into() };
        self.mistakes.push(mistake);
    }

    pub(super) fn known_keys(&mut self, table: &DeTable<'_>, what: &str, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let line = self.line(key.span().start);
            let field = if what.is_empty() { "key".to_owned() } else { format!("{what}: key") };
            self.mistake(line, &field, quoted(key.get_ref()), known.join(", "));
        }
    }

    pub(super) fn at(&self, value: &Spanned<DeValue<'_>>) -> u32 {
        self.line(value.span().start)
    }

    /// A text that a table can hold.
    pub(super) fn string(&mut self, value: &Spanned<DeValue<'_>>, field: &str) -> Option<String> {
        let line = self.at(value);
        let Some(text) = value.get_ref().as_str() else {
            self.mistake(line, field, shown(value.get_ref()), "a text between quotes");
            return None;
        };
        match text_rule(text, false) {
            None => Some(text.to_owned()),
            Some(allowed) => {
                self.mistake(line, field, quoted(text), allowed);
                None
            }
        }
    }

    /// One text or several, with their lines.
    pub(super) fn strings(&mut self, value: &Spanned<DeValue<'_>>, field: &str) -> Option<Vec<(String, u32)>> {
        let list: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::String(_) => vec![value],
            DeValue::Array(list) => list.iter().collect(),
            other => {
                let line = self.at(value);
                self.mistake(line, field, shown(other), "a text between quotes, or a list of them between brackets");
                return None;
            }
        };
        let mut texts = Vec::with_capacity(list.len());
        for value in list {
            let line = self.at(value);
            texts.push((self.string(value, field)?, line));
        }
        Some(texts)
    }
}

/// A value and its kind, for people.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => format!("{} (a number)", number.as_str()),
        DeValue::Float(number) => format!("{} (a number)", number.as_str()),
        DeValue::Boolean(value) => format!("{value} (a boolean)"),
        DeValue::Datetime(value) => format!("{value} (a date)"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
