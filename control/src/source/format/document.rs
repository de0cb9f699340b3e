//! JSON documents: one, or several behind each other as saved pages are. Records are kept as text until each is read, so that one
//! broken record is a warning and not the end of the list.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::SourceError;
use crate::mistake::quoted;

/// A record larger than this is none: a port has a kilobyte or two.
const LARGEST: usize = 1 << 20;

/// What a list looks like.
pub(super) struct Shape {
    /// The key of the records' array.
    pub list: &'static str,
    /// The key of a record that stands alone; empty where there is no such thing.
    pub single: &'static str,
    /// For people.
    pub expected: &'static str,
}

/// A document.
pub(super) struct Document<'a> {
    records: Vec<&'a RawValue>,
    /// Whether the list is there, be it empty.
    listed: bool,
    /// What stands beside the records.
    others: Vec<(String, &'a RawValue)>,
}

/// A record and where it stands.
pub(super) struct Record<'a> {
    text: &'a str,
    line: usize,
    at: usize,
    list: &'static str,
}

/// A file as text: UTF-8, and not empty.
pub(super) fn text<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, SourceError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = 1 + memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count();
        broken(format!("{what}:{line}"), "bytes that are not UTF-8", "UTF-8")
    })?;
    match text.trim().is_empty() {
        true => Err(broken(what, "nothing (did the command that wrote it fail?)", "a list")),
        false => Ok(text),
    }
}

/// A [`SourceError::Broken`].
pub(super) fn broken(what: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> SourceError {
    SourceError::Broken { what: what.into(), found: found.into(), expected: expected.into() }
}

/// All documents of a text.
pub(super) fn documents<'a>(what: &str, text: &'a str, shape: &Shape) -> Result<Vec<Document<'a>>, SourceError> {
    let mut found = Vec::new();
    let mut start = 0;
    while !text[start..].trim_start().is_empty() {
        let mut reader = serde_json::Deserializer::from_str(&text[start..]);
        let document: Document<'_> = shape.deserialize(&mut reader).map_err(|error| not_json(what, text, start, &error, shape))?;
        start += reader.into_iter::<serde::de::IgnoredAny>().byte_offset();
        if !document.listed {
            return Err(broken(what, keys(document.others.iter().map(|(key, _)| key.as_str())), shape.expected));
        }
        found.push(document);
    }
    Ok(found)
}

/// An object by its keys.
pub(super) fn keys<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    match &keys.take(8).collect::<Vec<_>>()[..] {
        [] => "an empty object".to_owned(),
        keys => format!("an object with {}", quoted(&keys.join(", "))),
    }
}

fn not_json(what: &str, text: &str, start: usize, error: &serde_json::Error, shape: &Shape) -> SourceError {
    let line = error.line() + memchr::memchr_iter(b'\n', &text.as_bytes()[..start]).count();
    let place = format!("{what}:{line}");
    match error.classify() {
        serde_json::error::Category::Eof => broken(
            place,
            format!("the end of the text in the middle of the list ({})", reason(error)),
            format!("{}, whole", shape.expected),
        ),
        _ => broken(place, format!("{} (column {})", reason(error), error.column()), shape.expected),
    }
}

/// An error's text without its position, and without anything that would write on a terminal.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    text.chars().take(200).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl<'a> Document<'a> {
    /// The records, with their places in `text`, of which the document is a part.
    pub(super) fn records(&self, text: &'a str, shape: &Shape) -> impl Iterator<Item = Record<'a>> {
        let (mut line, mut counted) = (1, 0);
        let list = shape.list;
        self.records.iter().enumerate().map(move |(at, raw)| {
            // A record borrows from the text: its place in memory is its place in the file.
            let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
            line += memchr::memchr_iter(b'\n', &text.as_bytes()[counted..start]).count();
            counted = start;
            Record { text: raw.get(), line, at, list }
        })
    }

    /// A value that stands beside the records.
    pub(super) fn beside<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let (_, raw) = self.others.iter().find(|(name, _)| name == key)?;
        serde_json::from_str(raw.get()).ok()
    }
}

impl Record<'_> {
    /// What the record says, or why it says nothing.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.text.len() > LARGEST {
            return Err(format!("a record of {} bytes, expected at most {LARGEST}", self.text.len()));
        }
        serde_json::from_str(self.text).map_err(|_| {
            // Only now, for it takes longer: which field it is.
            let mut reader = serde_json::Deserializer::from_str(self.text);
            match serde_path_to_error::deserialize::<_, T>(&mut reader) {
                Ok(_) => "what is no record".to_owned(),
                Err(error) => match error.path().to_string().as_str() {
                    "." => reason(error.inner()),
                    path => format!("{}: {}", quoted(path).trim_matches('"'), reason(error.inner())),
                },
            }
        })
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, {}[{}]", self.line, self.list, self.at)
    }
}

impl<'de> DeserializeSeed<'de> for &Shape {
    type Value = Document<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Document<'de>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Shape {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while let Some(record) = list.next_element()? {
            records.push(record);
        }
        Ok(Document { records, listed: true, others: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut document = Document { records: Vec::new(), listed: false, others: Vec::new() };
        while let Some(key) = map.next_key::<String>()? {
            if key == self.list {
                document.records.extend(map.next_value::<Vec<&RawValue>>()?);
                document.listed = true;
            } else if !self.single.is_empty() && key == self.single {
                document.records.push(map.next_value()?);
                document.listed = true;
            } else {
                document.others.push((key, map.next_value()?));
            }
        }
        Ok(document)
    }
}
