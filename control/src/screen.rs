//! What people see: frames and colours on a terminal, plain columns in a pipe.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table as Frame, presets};
use rollcall_agent::legible::legible;
use rollcall_agent::unit::Verdict;

/// Standard output.
pub struct Screen {
    out: BufWriter<StdoutLock<'static>>,
    terminal: bool,
    colour: bool,
}

impl Screen {
    /// Standard output as it is: a terminal or not; colours unless `NO_COLOR` is set (no-color.org).
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen { out: BufWriter::new(io::stdout().lock()), terminal, colour: terminal && !no_colour }
    }

    /// Writes a sheet.
    pub fn sheet(&mut self, sheet: &Sheet) -> io::Result<()> {
        match self.terminal {
            true => writeln!(self.out, "{}", sheet.framed(self.colour)),
            false => sheet.plain(&mut self.out),
        }
    }

    /// Writes a value as JSON, on lines of its own.
    pub fn json(&mut self, value: &impl serde::Serialize) -> Result<(), crate::failure::Failure> {
        serde_json::to_writer_pretty(&mut self.out, value)?;
        Ok(writeln!(self.out)?)
    }

    /// A verdict in its colour.
    pub fn verdict(&self, verdict: Verdict) -> String {
        let code = match verdict {
            Verdict::Up => 32,
            Verdict::Down => 31,
            Verdict::Suspect => 33,
            Verdict::Unknown => 35,
            Verdict::Pending => 36,
        };
        match self.colour {
            true => format!("\u{1b}[{code}m{verdict}\u{1b}[0m"),
            false => verdict.to_string(),
        }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Rows under headings.
pub struct Sheet {
    headings: Vec<&'static str>,
    /// Which columns hold numbers.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    /// A sheet with these headings; a '>' before a heading aligns its column to the right.
    pub fn new(headings: &[&'static str]) -> Self {
        Sheet {
            right: headings.iter().map(|heading| heading.starts_with('>')).collect(),
            headings: headings.iter().map(|heading| heading.trim_start_matches('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Nothing in it can write on the terminal but as text.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    fn framed(&self, colour: bool) -> Frame {
        let mut frame = Frame::new();
        frame.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
        frame.set_header(self.headings.clone());
        for row in &self.rows {
            frame.add_row(row.iter().map(|cell| match (colour, cell.parse::<Verdict>()) {
                (true, Ok(verdict)) => Cell::new(cell).fg(paint(verdict)),
                _ => Cell::new(cell),
            }));
        }
        for (at, _) in self.right.iter().enumerate().filter(|&(_, &right)| right) {
            if let Some(column) = frame.column_mut(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        frame
    }

    fn plain(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| width(heading)).collect();
        for row in &self.rows {
            for (cell, widest) in row.iter().zip(&mut widths) {
                *widest = width(cell).max(*widest);
            }
        }
        let headings: Vec<String> = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        for row in [&headings].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &widest), &right) in row.iter().zip(&widths).zip(&self.right) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let space = " ".repeat(widest - width(cell).min(widest));
                match right {
                    true => line.extend([space.as_str(), cell]),
                    false => line.extend([cell.as_str(), &space]),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn paint(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Up => Color::Green,
        Verdict::Down => Color::Red,
        Verdict::Suspect => Color::Yellow,
        Verdict::Unknown => Color::Magenta,
        Verdict::Pending => Color::Cyan,
    }
}

/// A text from outside without what would write on the terminal; `-` for nothing.
pub fn printable(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => legible(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_aligned_columns_without_trailing_blanks() {
        let mut sheet = Sheet::new(&["NAME", ">N", "LAST"]);
        sheet.row(["größe".into(), "7".into(), "".into()]);
        sheet.row(["a\u{1b}[31m".into(), "1000".into(), "x".into()]);
        let mut out = Vec::new();
        sheet.plain(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME       N  LAST\ngröße      7  -\na\u{fffd}[31m  1000  x\n");
    }
}
