//! A header with a secret, from a file that nobody else may read.

use std::path::Path;

use reqwest::header::{HeaderName, HeaderValue};

use super::SourceError;

/// A header that is shown nowhere.
#[derive(Clone)]
pub struct SecretHeader {
    name: HeaderName,
    value: HeaderValue,
}

impl std::fmt::Debug for SecretHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: (secret)", self.name)
    }
}

/// A header is one line.
const LONGEST: u64 = 64 << 10;

/// Refuses a file with a secret that others may read.
pub fn only_ours(path: &Path) -> Result<(), SourceError> {
    let wrong = |why: String| SourceError::Configuration(format!("{}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    is_ours(&file, path).map_err(wrong)
}

/// Looks at the open file: the one at its path may be another by now.
fn is_ours(file: &std::fs::File, path: &Path) -> Result<(), String> {
    #[cfg(unix)]
    if let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().map_err(|error| error.to_string())?)
        && mode & 0o077 != 0
    {
        let mode = mode & 0o7777;
        return Err(format!("others may read or change it (mode {mode:04o}), and it holds a secret: chmod 600 {}", path.display()));
    }
    Ok(())
}

impl SecretHeader {
    /// From a file of one line: `Authorization: Token 0123`, `X-Auth-Token: ...`. What is wrong is said without what stands there.
    pub fn read(path: &Path) -> Result<SecretHeader, SourceError> {
        let shown = path.display();
        let wrong = |why: String| SourceError::Configuration(format!("header file {shown}: {why}"));
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        is_ours(&file, path).map_err(wrong)?;
        let bytes = super::file::bounded(file, &format!("header file {shown}"), LONGEST)?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong("found bytes that are not UTF-8, allowed: one line".to_owned()))?;
        let allowed = "allowed: one line such as \"Authorization: Bearer SECRET\"";
        let (name, value) = text.trim().split_once(':').ok_or_else(|| wrong(format!("found no colon, {allowed}")))?;
        let name = name.trim().parse().map_err(|_| wrong(format!("found a name that no header can have, {allowed}")))?;
        let mut value =
            HeaderValue::from_str(value.trim()).map_err(|_| wrong(format!("found a value that no header can have, {allowed}")))?;
        value.set_sensitive(true);
        if value.is_empty() {
            return Err(wrong(format!("found no value, {allowed}")));
        }
        Ok(SecretHeader { name, value })
    }

    /// Puts it into a request.
    pub(super) fn on(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.header(self.name.clone(), self.value.clone())
    }

    /// A text of others without it: some servers answer what they were sent.
    pub(super) fn hide(&self, text: String) -> String {
        let secret = self.value.to_str().unwrap_or_default();
        let parts = std::iter::once(secret).chain(secret.split_whitespace()).filter(|part| part.len() >= 4);
        parts.fold(text, |text, part| text.replace(part, "(secret)"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, mode: u32) -> Result<SecretHeader, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        SecretHeader::read(file.path()).map_err(|error| error.to_string().replace(file.path().to_str().unwrap(), "FILE"))
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_command_to_mend_it() {
        for mode in [0o644, 0o640, 0o604, 0o620] {
            let error = read("Authorization: Token hunter2", mode).unwrap_err();
            assert!(error.ends_with("and it holds a secret: chmod 600 FILE") && !error.contains("hunter2"), "{error}");
        }
        assert!(read("Authorization: Token hunter2\n", 0o600).is_ok());
        assert!(read("Authorization: Token hunter2\n", 0o400).is_ok());
    }

    #[test]
    fn neither_errors_nor_debug_output_hold_the_secret() {
        let shown = format!("{:?}", read("X-Auth-Token: hunter2", 0o600).unwrap());
        assert_eq!(shown, "x-auth-token: (secret)");
        for bad in ["hunter2", "bad name: hunter2", "X-Auth-Token: hunter2\u{1}", "X-Auth-Token:", "X-Auth-Token: hunter2\nmore"] {
            let error = read(bad, 0o600).unwrap_err();
            assert!(error.contains("allowed: one line such as") && !error.contains("hunter2"), "{error}");
        }
        let header = read("Authorization: Token hunter2", 0o600).unwrap();
        assert_eq!(header.hide("no Token hunter2, and no hunter2".to_owned()), "no (secret), and no (secret)");
    }
}
