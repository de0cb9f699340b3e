//! Host lists as JSON: one object a line, or one array of objects.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Draft, FileReader, Monitor, field};
use crate::mistake::quoted;

/// One object on each line; empty lines are skipped.
pub(super) fn lines(reader: &mut FileReader<'_>, text: &str) {
    let mut unknown = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            object(reader, at as u32 + 1, line, "one JSON object on each line", &mut unknown);
        }
    }
}

/// One array of objects.
pub(super) fn array(reader: &mut FileReader<'_>, text: &str) {
    let elements: Vec<&RawValue> = match serde_json::from_str(text) {
        Ok(elements) => elements,
        Err(error) => {
            return reader.mistake(error.line() as u32, "JSON", quoted(&error.to_string()), "an array of objects");
        }
    };
    if elements.is_empty() {
        reader.mistake(1, "host list", "an empty array".into(), field::NOBODY);
    }
    let mut unknown = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for element in elements {
        // An element borrows from the text: its place in memory is its place in the file.
        let start = element.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text.as_bytes()[counted..start].iter().filter(|&&b| b == b'\n').count() as u32;
        counted = start;
        object(reader, line, element.get(), "an array of objects", &mut unknown);
    }
}

fn object(reader: &mut FileReader<'_>, line: u32, text: &str, allowed: &str, unknown: &mut Vec<String>) {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => host(reader, line, &object, unknown),
        Ok(other) => reader.mistake(line, "JSON", shown(&other), allowed),
        Err(error) => {
            let found = format!("{} (column {})", reason(&error), error.column());
            reader.mistake(line, "JSON", found, allowed);
        }
    }
}

/// An error's text without its position, which is not that of the file.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn host(reader: &mut FileReader<'_>, line: u32, object: &Map<String, Value>, unknown: &mut Vec<String>) {
    for key in object.keys() {
        if key != "addresses" && !field::FIELDS.contains(&key.as_str()) && !unknown.contains(key) {
            let known = field::FIELDS.join(", ");
            reader.warn(line, &format!("key {} is not known and ignored (known: {known}, addresses)", quoted(key)));
            unknown.push(key.clone());
        }
    }
    let id = text(reader, line, object, "id", true);
    let name = text(reader, line, object, "name", false);
    let project = text(reader, line, object, "project", false);
    let tags = tags(reader, line, object);
    let monitor = match object.get("monitor") {
        None | Some(Value::Null | Value::Bool(true)) => Some(Monitor::On),
        Some(Value::Bool(false)) => Some(Monitor::Off),
        Some(Value::String(text)) if text == Monitor::Silent.name() => Some(Monitor::Silent),
        Some(other) => {
            reader.mistake(line, "monitor", shown(other), "true, false or \"silent\" (nothing means true)");
            None
        }
    };
    let places = places(reader, line, object);
    if let (Some(id), Some(name), Some(project), Some(tags), Some(monitor)) = (id, name, project, tags, monitor) {
        for (network, address, mac) in places {
            reader.add(line, &Draft { id, name, project, network, address, mac, tags, monitor });
        }
    }
}

type PlaceDraft<'a> = (&'a str, std::net::IpAddr, Option<rollcall_agent::unit::Mac>);

/// The addresses of a host: its own, those of `addresses`, or both. A network of its own holds for `addresses` too.
fn places<'a>(reader: &mut FileReader<'_>, line: u32, object: &'a Map<String, Value>) -> Vec<PlaceDraft<'a>> {
    let mut found = Vec::new();
    let list = match object.get("addresses") {
        None | Some(Value::Null) => None,
        Some(Value::Array(list)) if !list.is_empty() => Some(list),
        Some(other) => {
            reader.mistake(line, "addresses", shown(other), "an array of at least one {network, address, mac}");
            return found;
        }
    };
    if list.is_none() || object.contains_key("address") {
        found.extend(place(reader, line, object, object));
    }
    for entry in list.into_iter().flatten() {
        match entry {
            Value::Object(entry) => found.extend(place(reader, line, entry, object)),
            other => reader.mistake(line, "addresses", shown(other), "objects {network, address, mac}"),
        }
    }
    found
}

fn place<'a>(
    reader: &mut FileReader<'_>,
    line: u32,
    entry: &'a Map<String, Value>,
    host: &'a Map<String, Value>,
) -> Option<PlaceDraft<'a>> {
    let network_of = if entry.contains_key("network") { entry } else { host };
    let network = text(reader, line, network_of, "network", true);
    let address = string(reader, line, entry, "address").and_then(|text| reader.check(line, "address", text, field::address(text)));
    let mac = string(reader, line, entry, "mac").and_then(|text| reader.check(line, "mac", text, field::mac(text)));
    Some((network?, address?, mac?))
}

fn tags(reader: &mut FileReader<'_>, line: u32, object: &Map<String, Value>) -> Option<u32> {
    let allowed = "an array of strings, such as [\"web\", \"tier=1\"]";
    let list = match object.get("tags") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(list)) => list,
        Some(other) => {
            reader.mistake(line, "tags", shown(other), allowed);
            return None;
        }
    };
    let mut tags = Vec::with_capacity(list.len());
    for tag in list {
        match tag {
            Value::String(tag) => tags.push(reader.check(line, "tags", tag, field::tag(tag))?),
            other => {
                reader.mistake(line, "tags", shown(other), allowed);
                return None;
            }
        }
    }
    Some(reader.list.tag_sets.intern(tags.into_iter()))
}

/// A string that follows the rule for texts. Empty where it is absent and need not be there.
fn text<'a>(reader: &mut FileReader<'_>, line: u32, object: &'a Map<String, Value>, name: &str, required: bool) -> Option<&'a str> {
    let text = string(reader, line, object, name)?;
    let result = if required { field::required(text) } else { field::optional(text) };
    reader.check(line, name, text, result)
}

/// A string; empty where it is absent.
fn string<'a>(reader: &mut FileReader<'_>, line: u32, object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    match object.get(name) {
        None | Some(Value::Null) => Some(""),
        Some(Value::String(text)) => Some(text.trim()),
        Some(other) => {
            reader.mistake(line, name, shown(other), "a string");
            None
        }
    }
}

/// A value and its kind, for people.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("{value} (a boolean)"),
        Value::Number(value) => format!("{value} (a number)"),
        Value::String(value) => format!("{} (a string)", quoted(value)),
        Value::Array(list) if list.is_empty() => "an empty array".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}
