//! Host lists as CSV (RFC 4180) with a header line.

use super::{Draft, FileReader, field};
use crate::mistake::quoted;

/// Where each field stands, by position in [`field::FIELDS`].
type Columns = [Option<usize>; field::FIELDS.len()];

pub(super) fn read(reader: &mut FileReader<'_>, text: &str) {
    let mut csv = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = match csv.headers() {
        Ok(header) => header.clone(),
        Err(error) => return reader.mistake(1, "header", quoted(&error.to_string()), "CSV"),
    };
    let line = line_of(text, header.position());
    let Some(columns) = columns(reader, line, &header) else { return };
    let mut record = csv::StringRecord::new();
    let mut rows = 0;
    loop {
        match csv.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) if rows == 0 => {
                return reader.mistake(line, "host list", "a header and no row".into(), field::NOBODY);
            }
            Ok(false) => return,
            Err(error) => {
                return reader.mistake(line_of(text, error.position()), "row", quoted(&error.to_string()), "CSV");
            }
        }
        let line = line_of(text, record.position());
        rows += 1;
        row(reader, line, &columns, header.len(), &record);
    }
}

/// Where a record begins: its position is that of the empty lines before it.
fn line_of(text: &str, position: Option<&csv::Position>) -> u32 {
    let Some(position) = position else { return 0 };
    let rest = text.as_bytes().get(position.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|&&b| b == b'\r' || b == b'\n').filter(|&&b| b == b'\n').count();
    position.line() as u32 + empty as u32
}

fn columns(reader: &mut FileReader<'_>, line: u32, header: &csv::StringRecord) -> Option<Columns> {
    let mut columns = Columns::default();
    let mut good = true;
    for (at, name) in header.iter().enumerate() {
        match field::FIELDS.iter().position(|field| field.eq_ignore_ascii_case(name)) {
            Some(field) if columns[field].is_some() => {
                reader.mistake(line, "header", format!("column {} twice", quoted(name)), "each column once");
                good = false;
            }
            Some(field) => columns[field] = Some(at),
            None => reader.warn(line, &format!("column {} is not known and ignored (known: {})", quoted(name), field::FIELDS.join(", "))),
        }
    }
    let missing: Vec<String> = ["id", "network", "address"]
        .into_iter()
        .filter(|required| !field::FIELDS.iter().zip(&columns).any(|(field, at)| field == required && at.is_some()))
        .map(|required| format!("{required:?}"))
        .collect();
    if !missing.is_empty() {
        let found = format!("the columns {}", quoted(&header.iter().collect::<Vec<_>>().join(",")));
        let allowed = format!("a header line with {} too, columns separated by commas", missing.join(", "));
        reader.mistake(line, "header", found, allowed);
        good = false;
    }
    good.then_some(columns)
}

fn row(reader: &mut FileReader<'_>, line: u32, columns: &Columns, width: usize, record: &csv::StringRecord) {
    if record.len() != width {
        let allowed = format!("{width} as in the header (a field with commas needs quotes round it; quotes must be closed)");
        return reader.mistake(line, "row", format!("{} columns", record.len()), allowed);
    }
    let cell = |field: usize| columns[field].and_then(|at| record.get(at)).unwrap_or_default();
    let [id, name, project, network, address, mac, tags, monitor] = std::array::from_fn(cell);
    let checked = (
        reader.check(line, "id", id, field::required(id)),
        reader.check(line, "name", name, field::optional(name)),
        reader.check(line, "project", project, field::optional(project)),
        reader.check(line, "network", network, field::required(network)),
        reader.check(line, "address", address, field::address(address)),
        reader.check(line, "mac", mac, field::mac(mac)),
        tag_set(reader, line, tags),
        reader.check(line, "monitor", monitor, field::monitor(monitor)),
    );
    if let (Some(id), Some(name), Some(project), Some(network), Some(address), Some(mac), Some(tags), Some(monitor)) = checked {
        reader.add(line, &Draft { id, name, project, network, address, mac, tags, monitor });
    }
}

/// Tags are separated by semicolons.
fn tag_set(reader: &mut FileReader<'_>, line: u32, cell: &str) -> Option<u32> {
    if let Some(&known) = reader.list.tag_sets.cells.get(cell) {
        return Some(known);
    }
    let tags = || cell.split(';').map(str::trim).filter(|tag| !tag.is_empty());
    for tag in tags() {
        reader.check(line, "tags", tag, field::required(tag))?;
    }
    let sets = &mut reader.list.tag_sets;
    let set = sets.intern(tags());
    sets.cells.insert(cell.to_owned(), set);
    Some(set)
}
