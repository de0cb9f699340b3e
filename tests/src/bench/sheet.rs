//! One table of figures: for a terminal, and for PERFORMANCE.md.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, presets};

/// A table with its title and what must be known to read it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) notes: Vec<String>,
}

impl Sheet {
    /// An empty one.
    pub(super) fn new(title: impl Into<String>, head: &[&str]) -> Self {
        Self { title: title.into(), head: head.iter().map(|text| (*text).into()).collect(), ..Self::default() }
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// A row of name and value.
    pub(super) fn pair(&mut self, name: &str, value: impl Into<String>) {
        self.rows.push(vec![name.into(), value.into()]);
    }

    /// One more sentence below it.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// For a terminal or a pipe.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(&self.head);
        for row in &self.rows {
            table.add_row(row.iter().enumerate().map(|(column, text)| {
                let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
                Cell::new(text).set_alignment(alignment)
            }));
        }
        let mut text = format!("{}\n{table}\n", self.title);
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text
    }

    /// For a page.
    pub(super) fn markdown(&self) -> String {
        let line =
            |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "));
        let rule = self.head.iter().enumerate().map(|(column, _)| if column == 0 { "---" } else { "---:" }).collect::<Vec<_>>().join(" | ");
        let mut text = format!("### {}\n\n{}| {rule} |\n", self.title, line(&self.head));
        for row in &self.rows {
            text += &line(row);
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}\n");
        }
        text
    }
}

/// A number with so many digits behind the point; `-` where there is none.
pub(super) fn number(value: impl Into<Option<f64>>, digits: usize) -> String {
    match value.into().filter(|value| value.is_finite()) {
        Some(value) => format!("{value:.digits$}"),
        None => "-".into(),
    }
}

/// Rounded for the results: three digits that mean something and one more.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// A failure on one line: what happened, and the last that the program said.
pub(super) fn essence(failure: &str) -> String {
    match failure.trim().split_once('\n') {
        Some((what, said)) => format!("{what} {}", said.lines().last().unwrap_or_default()),
        None => failure.trim().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_reads_the_same_on_a_terminal_and_on_a_page() {
        let mut sheet = Sheet::new("peak", &["way", "kpps"]);
        sheet.row(["a|b".into(), "1".into()]);
        sheet.note("One core.");
        let (text, markdown) = (sheet.text(), sheet.markdown());
        assert!(text.contains("a|b") && text.contains("  One core."), "{text}");
        assert_eq!(markdown, "### peak\n\n| way | kpps |\n| --- | ---: |\n| a\\|b | 1 |\n\nOne core.\n");
    }

    #[test]
    fn results_carry_no_false_precision() {
        assert_eq!([rounded(1234567.0), rounded(0.000123456), rounded(-2.34567), rounded(0.0)], [1235000.0, 0.0001235, -2.346, 0.0]);
        assert_eq!([number(1.25, 1), number(None, 1), number(f64::NAN, 1)], ["1.2", "-", "-"]);
    }
}
