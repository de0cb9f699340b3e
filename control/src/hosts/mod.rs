//! Host lists: CSV, JSON lines or a JSON array, told apart by their first character.

use std::collections::HashMap;
use std::net::IpAddr;

use rollcall_agent::table::Strings;
use rollcall_agent::unit::Mac;

use crate::mistake::{Mistake, Mistakes, quoted};
use crate::source::Entry;

mod comma;
mod field;
mod json;

pub(crate) use self::field::{address, mac, tag};

/// Host lists, read.
#[derive(Debug, Default)]
pub struct HostList {
    /// The files' names, as the user gave them.
    pub files: Vec<String>,
    /// One row for each address, in the order of the files.
    pub rows: Vec<Row>,
    /// Networks' and projects' names.
    pub strings: Strings,
    /// What is odd, yet not wrong.
    pub warnings: Vec<String>,
    tag_sets: TagSets,
    /// Ids and names, end to end.
    text: String,
}

/// One address of one host, as a list has it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    start: usize,
    id: u16,
    name: u16,
    /// In [`HostList::strings`].
    pub project: u32,
    /// In [`HostList::strings`].
    pub network: u32,
    /// For [`HostList::tags`].
    pub tags: u32,
    /// The address.
    pub address: IpAddr,
    /// The MAC, where the list has one.
    pub mac: Option<Mac>,
    /// Whether it is watched.
    pub monitor: Monitor,
    /// Where it stands.
    pub place: Place,
}

/// Whether a host is watched: what the user wants, and what the platform knows of its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Monitor {
    /// Not at all.
    Off,
    /// As its policy says.
    #[default]
    On,
    /// It is expected to be silent (stopped, paused, being moved): as `expected_silent` of its policy says, and no alarm.
    Silent,
}

impl Monitor {
    /// As host lists write it.
    pub fn name(self) -> &'static str {
        match self {
            Monitor::Off => "false",
            Monitor::On => "true",
            Monitor::Silent => "silent",
        }
    }
}

/// A line of a host list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In [`HostList::files`].
    pub file: u16,
    /// Counted from 1.
    pub line: u32,
}

/// What a row says, before it is stored.
struct Draft<'a> {
    id: &'a str,
    name: &'a str,
    project: &'a str,
    network: &'a str,
    address: IpAddr,
    mac: Option<Mac>,
    tags: u32,
    monitor: Monitor,
}

impl HostList {
    /// Reads one more file, and notes every mistake of it. Rows without a mistake are kept all the same, so that
    /// what is wrong between rows is found too.
    pub fn read(&mut self, name: &str, bytes: &[u8], mistakes: &mut Mistakes) {
        let mut reader = self.file(name, mistakes);
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count() as u32;
                let found = format!("bytes that are not UTF-8, after {} good ones", error.valid_up_to());
                return reader.mistake(line, "encoding", found, "UTF-8");
            }
        };
        match text.trim_start().as_bytes().first() {
            None => reader.mistake(0, "host list", "nothing".into(), "CSV with a header line, JSON lines, or a JSON array of objects"),
            Some(b'{') => json::lines(&mut reader, text),
            Some(b'[') => json::array(&mut reader, text),
            Some(_) => comma::read(&mut reader, text),
        }
    }

    /// Begins one more file.
    pub(crate) fn file<'a>(&'a mut self, name: &str, mistakes: &'a mut Mistakes) -> FileReader<'a> {
        let file = self.files.len() as u16;
        self.files.push(name.to_owned());
        FileReader { list: self, file, mistakes }
    }

    /// Adds what was read of the same files by somebody else.
    fn absorb(&mut self, other: HostList) {
        let strings: Vec<u32> = other.strings.iter().map(|text| self.strings.intern(text)).collect();
        let sets: Vec<u32> = other.tag_sets.sets.iter().map(|text| self.tag_sets.sets.intern(text)).collect();
        let start = self.text.len();
        self.text.push_str(&other.text);
        self.rows.extend(other.rows.iter().map(|row| Row {
            start: start + row.start,
            project: strings[row.project as usize],
            network: strings[row.network as usize],
            tags: sets[row.tags as usize],
            ..*row
        }));
        self.warnings.extend(other.warnings);
    }

    /// Id of a row's host.
    pub fn id(&self, row: &Row) -> &str {
        &self.text[row.start..row.start + usize::from(row.id)]
    }

    /// Name of a row's host; empty where the list has none.
    pub fn name(&self, row: &Row) -> &str {
        let start = row.start + usize::from(row.id);
        &self.text[start..start + usize::from(row.name)]
    }

    /// The tags of a set, sorted, each once.
    pub fn tags(&self, set: u32) -> impl Iterator<Item = &str> + Clone {
        self.tag_sets.sets.text(set).split(SEPARATOR).filter(|tag| !tag.is_empty())
    }

    /// How many sets of tags there are.
    pub fn tag_sets(&self) -> usize {
        self.tag_sets.sets.len()
    }

    /// The set of what either set has.
    pub fn union(&mut self, a: u32, b: u32) -> u32 {
        match a == b {
            true => a,
            false => {
                let both: Vec<String> = self.tags(a).chain(self.tags(b)).map(str::to_owned).collect();
                self.tag_sets.intern(both.iter().map(String::as_str))
            }
        }
    }

    /// A place as `file:line`.
    pub fn place(&self, place: Place) -> String {
        format!("{}:{}", self.files[usize::from(place.file)], place.line)
    }

    /// A mistake at a place.
    pub fn mistake(&self, place: Place, field: &str, found: String, allowed: impl Into<String>) -> Mistake {
        let file = self.files[usize::from(place.file)].clone();
        Mistake { file, line: place.line, field: field.to_owned(), found, allowed: allowed.into() }
    }
}

/// Between the tags of a set. No tag holds it: control characters are refused.
const SEPARATOR: char = '\n';

/// Sets of tags, each once.
#[derive(Debug, Default)]
struct TagSets {
    sets: Strings,
    /// What CSV cells stand for.
    cells: HashMap<String, u32, foldhash::fast::RandomState>,
}

impl TagSets {
    fn intern<'a>(&mut self, tags: impl Iterator<Item = &'a str>) -> u32 {
        let mut tags: Vec<&str> = tags.collect();
        tags.sort_unstable();
        tags.dedup();
        self.sets.intern(&tags.join("\n"))
    }
}

/// Reads one file.
pub(crate) struct FileReader<'a> {
    list: &'a mut HostList,
    file: u16,
    mistakes: &'a mut Mistakes,
}

impl FileReader<'_> {
    fn mistake(&mut self, line: u32, field: &str, found: String, allowed: impl Into<String>) {
        let mistake = self.list.mistake(Place { file: self.file, line }, field, found, allowed);
        self.mistakes.push(mistake);
    }

    fn warn(&mut self, line: u32, text: &str) {
        let warning = format!("{}: {text}", self.list.place(Place { file: self.file, line }));
        self.list.warnings.push(warning);
    }

    /// The value, or `None` and a mistake.
    fn check<T>(&mut self, line: u32, field: &str, text: &str, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(allowed) => {
                let found = if text.is_empty() { "nothing".to_owned() } else { quoted(text) };
                self.mistake(line, field, found, allowed);
                None
            }
        }
    }

    /// Adds a host that a source told of, checked like any other.
    pub(crate) fn entry(&mut self, line: u32, entry: &Entry) {
        for tag in &entry.tags {
            self.check(line, "tags", tag, field::tag(tag));
        }
        let tags = self.list.tag_sets.intern(entry.tags.iter().map(String::as_str));
        let (id, name, project, monitor) = (&entry.id, &entry.name, &entry.project, entry.monitor);
        for spot in &entry.addresses {
            let (network, address, mac) = (&spot.network, spot.address, spot.mac);
            self.check(line, "id", id, field::required(id));
            self.check(line, "network", network, field::required(network));
            self.add(line, &Draft { id, name, project, network, address, mac, tags, monitor });
        }
    }

    fn add(&mut self, line: u32, draft: &Draft<'_>) {
        let list = &mut *self.list;
        let start = list.text.len();
        list.text.push_str(draft.id);
        list.text.push_str(draft.name);
        list.rows.push(Row {
            start,
            id: draft.id.len() as u16,
            name: draft.name.len() as u16,
            project: list.strings.intern(draft.project),
            network: list.strings.intern(draft.network),
            tags: draft.tags,
            address: draft.address,
            mac: draft.mac,
            monitor: draft.monitor,
            place: Place { file: self.file, line },
        });
    }
}

#[cfg(test)]
mod tests;
