//! Text from outside, as people may see it: in a log, a message, on a terminal.

/// Whether a character only shows itself: it is no control character, breaks no line, and does not turn the order in which what stands
/// beside it is read (Unicode Standard Annex #9, section 2).
fn is_plain(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// The text with U+FFFD in place of each character that does more than show itself.
pub fn legible(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_line_writes_on_a_terminal_or_turns_the_order_is_shown_as_such() {
        assert_eq!(legible("web-0 Büro 東京 שלום 👩‍💻"), "web-0 Büro 東京 שלום 👩‍💻");
        assert_eq!(legible("a\nb\u{1b}[2Jc\u{85}d"), "a\u{fffd}b\u{fffd}[2Jc\u{fffd}d");
        assert_eq!(legible("db \u{202e}pu si\u{2069} x\u{2028}y"), "db \u{fffd}pu si\u{fffd} x\u{fffd}y");
    }
}
