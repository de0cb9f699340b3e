//! The tables in PERFORMANCE.md. Each part's stand between two markers, and only what is between them is ever replaced:
//! what people wrote around them stays.

use anyhow::{Result, bail};

use super::machine::Machine;
use super::sheet::Sheet;

/// Tables as a page shows them, with what they were measured on.
pub(super) fn block(sheets: &[Sheet], machine: &Machine) -> String {
    let Machine { cpu, cores, memory_gb, kernel, commit, command, date } = machine;
    let tables: Vec<String> = sheets.iter().map(Sheet::markdown).collect();
    format!("{}\n`{command}`, {date}, commit {commit}, on {cpu}, {cores} cores, {memory_gb} GB, Linux {kernel}.\n", tables.join("\n"))
}

/// The page with a part's block replaced, or put at its end where it has none yet.
pub(super) fn put(page: &str, part: &str, block: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- bench {part}: generated, do not edit -->"), format!("<!-- end of bench {part} -->"));
    let block = format!("{begin}\n{}\n{end}", block.trim_end());
    match (page.find(&begin), page.find(&end)) {
        (Some(from), Some(to)) if from < to => Ok(format!("{}{block}{}", &page[..from], &page[to + end.len()..])),
        (None, None) => Ok(format!("{}\n\n{block}\n", page.trim_end())),
        _ => bail!("the markers of {part} do not stand in pairs: {begin} ... {end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let first = put("# Page\n\nBefore.\n", "peak", "old\n").unwrap();
        let first = put(&first, "load", "other\n").unwrap() + "\nWhat bounds it: memory.\n";
        let second = put(&first, "peak", "new\n").unwrap();
        assert_eq!(second, first.replace("\nold\n", "\nnew\n"));
        assert!(second.starts_with("# Page\n\nBefore.\n") && second.ends_with("What bounds it: memory.\n"));
        assert_eq!(put(&second, "peak", "new\n").unwrap(), second);
    }

    #[test]
    fn a_page_with_half_a_pair_of_markers_is_left_alone() {
        let page = put("", "peak", "x").unwrap();
        let broken = page.replace("<!-- end of bench peak -->", "");
        assert!(put(&broken, "peak", "y").unwrap_err().to_string().contains("peak"));
    }
}
