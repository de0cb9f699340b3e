//! `[policy.match]`: whom a policy is for.

use globset::{GlobBuilder, GlobMatcher};
use toml::de::DeTable;

use super::reader::Reader;
use crate::mistake::quoted;

/// Every key that is there must fit; of a key's values, one. A condition without keys fits everybody.
#[derive(Debug, Default)]
pub struct Condition {
    /// Names of networks.
    pub network: Vec<String>,
    /// Projects.
    pub project: Vec<String>,
    /// Tags, whole: `web`, `tier=1`.
    pub tags: Vec<String>,
    /// Patterns for names.
    pub name: Vec<NamePattern>,
    /// Ids of hosts.
    pub id: Vec<String>,
}

/// A pattern for names: `*`, `?`, `[a-z]`, `{one,other}`.
#[derive(Debug)]
pub struct NamePattern {
    /// As it stands in the file.
    pub text: String,
    matcher: GlobMatcher,
}

impl NamePattern {
    /// Whether a name fits.
    pub fn fits(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

impl Condition {
    /// Whether it has no key and so fits everybody.
    pub fn is_open(&self) -> bool {
        let Condition { network, project, tags, name, id } = self;
        network.is_empty() && project.is_empty() && tags.is_empty() && name.is_empty() && id.is_empty()
    }

    pub(super) fn read(reader: &mut Reader<'_>, table: &DeTable<'_>, what: &str) -> Condition {
        reader.known_keys(table, what, &["network", "project", "tags", "name", "id"]);
        let mut condition = Condition::default();
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            let field = format!("{what}: {key}");
            let Some(values) = reader.strings(value, &field) else { continue };
            if values.is_empty() {
                let line = reader.at(value);
                reader.mistake(line, &field, "an empty list".into(), "at least one value (without the key, all fit)");
            }
            let texts = || values.iter().map(|(text, _)| text.clone()).collect();
            match key {
                "network" => condition.network = texts(),
                "project" => condition.project = texts(),
                "tags" => condition.tags = texts(),
                "id" => condition.id = texts(),
                "name" => {
                    for (text, line) in values {
                        match GlobBuilder::new(&text).build() {
                            Ok(glob) => condition.name.push(NamePattern { text, matcher: glob.compile_matcher() }),
                            Err(error) => {
                                let found = format!("{} ({})", quoted(&text), error.kind());
                                reader.mistake(line, &field, found, "a pattern of text, *, ?, [a-z] and {one,other}");
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        condition
    }
}
