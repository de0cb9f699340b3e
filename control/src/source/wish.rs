//! What owners say of whether their hosts are watched: one reading, whoever lists them.

/// The tag, metadata, label, by which they say it.
const KEY: &str = "rollcall";

/// What the first one says that says anything: `rollcall=on`, `rollcall=off`, and the usual other words, in any case.
pub fn wish<'a>(mut pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<bool> {
    pairs.find_map(|(key, value)| match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" if key == KEY => Some(true),
        "off" | "false" | "no" if key == KEY => Some(false),
        _ => None,
    })
}

/// The same of tags `key=value`.
pub fn of_tags<'a>(tags: impl IntoIterator<Item = &'a String>) -> Option<bool> {
    wish(tags.into_iter().filter_map(|tag| tag.split_once('=')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wish_is_said_in_several_words_and_what_else_stands_there_is_none() {
        let of = |tag: &str| of_tags(&[tag.to_owned()]);
        for tag in ["rollcall=on", "rollcall=True", "rollcall=YES"] {
            assert_eq!(of(tag), Some(true), "{tag}");
        }
        for tag in ["rollcall=off", "rollcall=OFF", "rollcall=False", "rollcall=no"] {
            assert_eq!(of(tag), Some(false), "{tag}");
        }
        for tag in ["rollcall", "rollcall=", "rollcall=perhaps", "Rollcall=off", "rollcall-policy=off"] {
            assert_eq!(of(tag), None, "{tag}");
        }
    }
}
