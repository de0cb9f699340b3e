//! A bearer token from a file or the environment. It is never printed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reqwest::header::HeaderValue;

/// No token is longer; a file that is, is not a token.
const LONGEST: u64 = 64 * 1024;

/// Where the token is.
pub(super) enum Token {
    /// In a file, read for each use: it may be replaced at any time.
    File(PathBuf),
    /// Held in memory.
    Value(String),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::File(path) => write!(f, "token in {}", path.display()),
            Token::Value(_) => f.write_str("token ***"),
        }
    }
}

/// Why there is no token: field, what was found, what is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenMistake {
    pub(super) field: &'static str,
    pub(super) found: String,
    pub(super) allowed: String,
}

impl Token {
    /// Checks where the token is said to be, and that it can be had now.
    pub(super) fn open(file: Option<&Path>, variable: Option<&str>) -> Result<Option<Token>, TokenMistake> {
        let token = match (file, variable) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(TokenMistake {
                    field: "token_env",
                    found: "token_file as well".into(),
                    allowed: "one of token_file and token_env".into(),
                });
            }
            (Some(path), None) => Token::File(path.to_owned()),
            (None, Some(variable)) => {
                let value = std::env::var(variable).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
                Token::Value(value.ok_or_else(|| TokenMistake {
                    field: "token_env",
                    found: format!("the environment variable {variable:?} is not set, or empty"),
                    allowed: "the name of a variable that holds the token".into(),
                })?)
            }
        };
        token.header()?;
        Ok(Some(token))
    }

    /// The token as text and as the value of `Authorization`.
    pub(super) fn header(&self) -> Result<(String, HeaderValue), TokenMistake> {
        let (field, value) = match self {
            Token::File(path) => ("token_file", read(path)?),
            Token::Value(value) => ("token_env", value.clone()),
        };
        let mut header = HeaderValue::from_str(&format!("Bearer {value}")).map_err(|_| TokenMistake {
            field,
            found: "characters that no HTTP header can hold".into(),
            allowed: "one line of visible ASCII".into(),
        })?;
        header.set_sensitive(true);
        Ok((value, header))
    }
}

fn read(path: &Path) -> Result<String, TokenMistake> {
    let shown = path.display();
    let mistake = |found: String, allowed: String| TokenMistake { field: "token_file", found, allowed };
    let readable = || "a file with the token alone, readable by the agent".to_owned();
    let file = File::open(path).map_err(|error| mistake(format!("{shown}: {error}"), readable()))?;
    // Asked of the open file, so that what is checked is what is read.
    let metadata = file.metadata().map_err(|error| mistake(format!("{shown}: {error}"), readable()))?;
    if !metadata.is_file() {
        return Err(mistake(format!("{shown}: not a regular file"), readable()));
    }
    if metadata.mode() & 0o007 != 0 {
        return Err(mistake(
            format!("{shown} is open to every user of this machine (mode {:04o})", metadata.mode() & 0o7777),
            format!("mode 0600 or 0640; this mends it: chmod o= {shown}"),
        ));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| mistake(format!("{shown}: {error}"), readable()))?;
    match text.trim() {
        "" => Err(mistake(format!("{shown} is empty"), readable())),
        _ if text.len() as u64 > LONGEST => Err(mistake(format!("{shown} is longer than 64 KiB"), readable())),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_world_readable_token_file_is_refused_with_the_chmod_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "s3cret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mistake = Token::open(Some(&path), None).unwrap_err();
        assert!(mistake.allowed.contains(&format!("chmod o= {}", path.display())), "{mistake:?}");
        assert!(mistake.found.contains("0644") && !format!("{mistake:?}").contains("s3cret"), "{mistake:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let token = Token::open(Some(&path), None).unwrap().unwrap();
        assert_eq!(token.header().unwrap().1, "Bearer s3cret");
    }

    #[test]
    fn missing_empty_and_unprintable_tokens_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert!(Token::open(Some(&path), None).unwrap_err().found.contains("No such file"));
        for (content, found) in [(" \n", "is empty"), ("a\nb", "no HTTP header")] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(Token::open(Some(&path), None).unwrap_err().found.contains(found), "{content:?}");
        }
        assert!(Token::open(None, Some("ROLLCALL_TEST_NO_SUCH_VARIABLE")).unwrap_err().found.contains("not set"));
        assert_eq!(Token::open(Some(&path), Some("X")).unwrap_err().field, "token_env");
        assert!(Token::open(Some(directory.path()), None).unwrap_err().found.contains("regular file"));
    }
}
