//! What the verbs of `cloud` are told.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// What a cloud is to be like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) dir: PathBuf,
    pub(super) ports: u32,
    /// The most that one page of a list holds.
    pub(super) page: u32,
    pub(super) token_seconds: u32,
    pub(super) foreground: bool,
}

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let (dir, rest) = dir(arguments)?;
        let mut options = Self { dir, ports: 5_000, page: 1_000, token_seconds: 3_600, foreground: false };
        let mut rest = rest.into_iter();
        while let Some(argument) = rest.next() {
            let mut number = |range: std::ops::RangeInclusive<u32>| -> Result<u32> {
                let text = rest.next().with_context(|| format!("{argument} takes a number"))?;
                let number = text.parse().ok().filter(|number| range.contains(number));
                number.with_context(|| format!("{argument} takes a number from {} to {}; found: {text}", range.start(), range.end()))
            };
            match argument.as_str() {
                "--ports" => options.ports = number(1..=60_000)?,
                "--page" => options.page = number(1..=100_000)?,
                "--token-seconds" => options.token_seconds = number(1..=86_400)?,
                "--foreground" => options.foreground = true,
                other => {
                    bail!("cloud up takes --dir DIR, --ports N, --page N, --token-seconds N and --foreground; found: {other}")
                }
            }
        }
        Ok(options)
    }

    /// What two calls must agree on to mean the same cloud.
    pub(super) fn signature(&self) -> String {
        format!("--ports {} --page {} --token-seconds {}", self.ports, self.page, self.token_seconds)
    }
}

/// `--dir DIR`, wherever it is, and the arguments without it.
pub(super) fn dir(arguments: &[String]) -> Result<(PathBuf, Vec<String>)> {
    let mut rest = arguments.to_vec();
    let Some(at) = rest.iter().position(|argument| argument == "--dir") else {
        return Ok((checked(&workspace::target().join("cloud"))?, rest));
    };
    ensure!(at + 1 < rest.len(), "--dir takes the path of a folder");
    let dir = checked(Path::new(&rest[at + 1]))?;
    rest.drain(at..=at + 1);
    Ok((dir, rest))
}

/// `--dir DIR` and nothing else.
pub(super) fn only_dir(arguments: &[String]) -> Result<PathBuf> {
    let (dir, rest) = dir(arguments)?;
    ensure!(rest.is_empty(), "nothing but --dir DIR was expected; found: {}", rest.join(" "));
    Ok(dir)
}

/// The one word that is no option, and the rest.
pub(super) fn word(arguments: &[String], what: &str) -> Result<(String, Vec<String>)> {
    let mut rest = arguments.to_vec();
    let at = (0..rest.len()).find(|&at| !rest[at].starts_with('-') && (at == 0 || rest[at - 1] != "--dir"));
    let at = at.with_context(|| format!("{what} was expected"))?;
    Ok((rest.remove(at), rest))
}

/// An absolute path that means the same in a shell, in an INI file, to uWSGI, in an URL and to Erlang.
fn checked(dir: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(dir).with_context(|| format!("there is no folder {}", dir.display()))?;
    let text = dir.to_str().with_context(|| format!("the path of a cloud must be text: {}", dir.display()))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    ensure!(text.chars().all(plain), "the path of a cloud may have letters, digits and /._-+ in it; found: {text:?}");
    ensure!(!text.split('/').any(|part| part == ".."), "the path of a cloud may not have .. in it; found: {text:?}");
    // `DIR/` and `DIR` are one cloud.
    Ok(dir.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn the_folder_is_found_wherever_it_stands_among_the_options() {
        let options = Options::parse(&words("--ports 7 --dir /tmp/c/ --page 3 --foreground")).unwrap();
        let expected = Options { dir: "/tmp/c".into(), ports: 7, page: 3, token_seconds: 3_600, foreground: true };
        assert_eq!(options, expected);
        assert_eq!(word(&words("--dir /tmp/c nova"), "a name").unwrap(), ("nova".into(), words("--dir /tmp/c")));
        assert_eq!(word(&words("nova --dir /tmp/c"), "a name").unwrap(), ("nova".into(), words("--dir /tmp/c")));
        assert_eq!(dir(&words("stop x --dir /tmp/c 5")).unwrap(), ("/tmp/c".into(), words("stop x 5")));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can_be() {
        for (wrong, said) in [
            ("--ports 0", "from 1 to 60000; found: 0"),
            ("--ports many", "found: many"),
            ("--ports", "takes a number"),
            ("--dir", "takes the path"),
            ("--dir /tmp/a;b", "letters, digits"),
            ("--dir /tmp/../etc", "may not have .."),
            ("--keep", "found: --keep"),
        ] {
            let error = Options::parse(&words(wrong)).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{wrong}: {error:#}");
        }
    }
}
