//! Host lists as CSV (RFC 4180) with a header line.

use super::{Draft, FileReader, HostList, field};
use crate::mistake::{Mistakes, quoted};

/// Where each field stands, by position in [`field::FIELDS`].
type Columns = [Option<usize>; field::FIELDS.len()];

/// Below so many bytes a second thread costs more than it saves.
const SPLIT: usize = 1 << 20;

pub(super) fn read(reader: &mut FileReader<'_>, text: &str) {
    let mut csv = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = match csv.headers() {
        Ok(header) => header.clone(),
        Err(error) => return reader.mistake(1, "header", quoted(&error.to_string()), "CSV"),
    };
    let line = line_of(text, header.position());
    let Some(columns) = columns(reader, line, &header) else { return };
    let position = csv.position();
    let body = text.get(position.byte() as usize..).unwrap_or_default();
    let layout = Layout { columns, width: header.len() };
    if layout.read_all(reader, position.line() as u32, body) == 0 {
        reader.mistake(line, "host list", "a header and no row".into(), field::NOBODY);
    }
}

/// What the header says.
struct Layout {
    columns: Columns,
    width: usize,
}

impl Layout {
    /// Reads all rows, a piece for each CPU. How many there are.
    fn read_all(&self, reader: &mut FileReader<'_>, line: u32, body: &str) -> u64 {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(body.len() / SPLIT).max(1);
        // Between quotes a line feed ends no row: then only one who reads from the start knows where rows end.
        let pieces = if memchr::memchr(b'"', body.as_bytes()).is_some() { vec![body] } else { pieces(body, threads) };
        let Some((first, others)) = pieces.split_first() else { return 0 };
        let (file, line_of_first) = (reader.file, line);
        let files = reader.list.files.clone();
        std::thread::scope(|scope| {
            let mut start = first;
            let mut line = line;
            let others: Vec<_> = others
                .iter()
                .map(|piece| {
                    line += memchr::memchr_iter(b'\n', start.as_bytes()).count() as u32;
                    start = piece;
                    let (line, files) = (line, files.clone());
                    scope.spawn(move || {
                        let (mut list, mut mistakes) = (HostList { files, ..HostList::default() }, Mistakes::default());
                        let rows = self.read(&mut FileReader { list: &mut list, file, mistakes: &mut mistakes }, line, piece);
                        (list, mistakes, rows)
                    })
                })
                .collect();
            let mut rows = self.read(reader, line_of_first, first);
            for other in others {
                let (list, mistakes, more) = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                reader.list.absorb(list);
                reader.mistakes.0.extend(mistakes.0);
                rows += more;
            }
            rows
        })
    }

    /// Reads the rows of a text that begins on `first`. How many there are.
    fn read(&self, reader: &mut FileReader<'_>, first: u32, text: &str) -> u64 {
        let mut csv = csv::ReaderBuilder::new().flexible(true).has_headers(false).buffer_capacity(1 << 16).from_reader(text.as_bytes());
        let mut record = csv::ByteRecord::new();
        let mut rows = 0;
        loop {
            match csv.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return rows,
                Err(error) => {
                    let line = first - 1 + line_of(text, error.position());
                    reader.mistake(line, "row", quoted(&error.to_string()), "CSV");
                    return rows + 1;
                }
            }
            rows += 1;
            self.row(reader, first - 1 + line_of(text, record.position()), &record);
        }
    }

    fn row(&self, reader: &mut FileReader<'_>, line: u32, record: &csv::ByteRecord) {
        let width = self.width;
        if record.len() != width {
            let allowed = format!("{width} as in the header (a field with commas needs quotes round it; quotes must be closed)");
            return reader.mistake(line, "row", format!("{} columns", record.len()), allowed);
        }
        // The whole text is UTF-8, and a field ends between characters.
        let cell = |field: usize| {
            let bytes = self.columns[field].and_then(|at| record.get(at)).unwrap_or_default();
            str::from_utf8(bytes).unwrap_or_default().trim()
        };
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
}

/// Cuts a text behind line feeds into about so many pieces of one size.
fn pieces(text: &str, count: usize) -> Vec<&str> {
    let mut pieces = Vec::with_capacity(count);
    let mut rest = text;
    for left in (2..=count).rev() {
        let Some(end) = memchr::memchr(b'\n', &rest.as_bytes()[rest.len() / left..]) else { break };
        let (piece, after) = rest.split_at(rest.len() / left + end + 1);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
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

/// Tags are separated by semicolons.
fn tag_set(reader: &mut FileReader<'_>, line: u32, cell: &str) -> Option<u32> {
    if let Some(&known) = reader.list.tag_sets.cells.get(cell) {
        return Some(known);
    }
    let tags = || cell.split(';').map(str::trim).filter(|tag| !tag.is_empty());
    for tag in tags() {
        reader.check(line, "tags", tag, field::tag(tag))?;
    }
    let sets = &mut reader.list.tag_sets;
    let set = sets.intern(tags());
    sets.cells.insert(cell.to_owned(), set);
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_with_lines_and_lose_nothing() {
        for text in ["", "a", "a\n", "a\nb\nc\nd\ne", "\n\n\n\n", "long line without an end and one more"] {
            for count in 1..6 {
                let pieces = pieces(text, count);
                assert_eq!(pieces.concat(), text);
                assert!(pieces.len() <= count && pieces[..pieces.len() - 1].iter().all(|piece| piece.ends_with('\n')), "{pieces:?}");
            }
        }
    }

    #[test]
    fn a_list_in_pieces_is_read_as_one_with_the_same_lines_and_mistakes() {
        let mut text = "id,network,address,tags\r\n".to_owned();
        for at in 0..60_000 {
            match at % 1000 {
                // Two lines without a row, a row that is too short, an address that is none.
                7 => text.push_str("\r\n \n"),
                8 => text.push_str(&format!("vm-{at},net\n")),
                9 => text.push_str(&format!("vm-{at},net,10.0.0.{at},\n")),
                _ => text.push_str(&format!("vm-{at},net-{},10.{}.{}.1,tag-{};other\r\n", at % 70, at / 250, at % 250, at % 30)),
            }
        }
        let read = |text: &str| {
            let (mut list, mut mistakes) = (HostList::default(), Mistakes::default());
            list.read("f", text.as_bytes(), &mut mistakes);
            mistakes.sort();
            let rows: Vec<_> = list
                .rows
                .iter()
                .map(|row| {
                    let tags: Vec<&str> = list.tags(row.tags).collect();
                    format!("{} {} {} {} {tags:?}", row.place.line, list.id(row), list.strings.text(row.network), row.address)
                })
                .collect();
            (rows, mistakes.to_string())
        };
        assert!(text.len() > 2 * SPLIT, "large enough for two pieces");
        let in_pieces = read(&text);
        // A quote makes it one piece, and says nothing else here.
        let in_one = read(&text.replacen("vm-0,", "\"vm-0\",", 1));
        assert!(in_pieces.0.len() > 59_000 && in_pieces.1.contains("f:"), "{}", in_pieces.1);
        assert_eq!(in_pieces, in_one);
    }
}
