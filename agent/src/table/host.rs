//! One host of a table.

use super::{Table, number};

/// A host, read in place.
#[derive(Clone, Copy)]
pub struct HostView<'a> {
    table: &'a Table,
    id: &'a str,
    name: &'a str,
    label: u32,
}

impl<'a> HostView<'a> {
    pub(super) fn read(table: &'a Table, index: u32) -> Self {
        let (label, id, name) = split(table.host_bytes(index)).expect("host texts are checked when a table is opened");
        let text = |bytes| str::from_utf8(bytes).expect("strings are checked when a table is opened");
        HostView { table, id: text(id), name: text(name), label }
    }

    /// The platform's id.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// The name; empty where the platform gave none.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The project (tenant); empty where the platform gave none.
    pub fn project(&self) -> &'a str {
        self.table.text(self.table.label(self.label).project)
    }

    /// Number of what it shares with other hosts: project and tags.
    pub(super) fn label(&self) -> u32 {
        self.label
    }

    /// The tags, sorted.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        let table = self.table;
        let label = table.label(self.label);
        let first = label.first_tag.get() as usize;
        (first..first + label.tags.get() as usize).map(move |at| table.text(table.span(at)))
    }
}

/// Label, id and name of a host's text.
pub(super) fn split(text: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (label, rest) = number::read(text)?;
    let (id_length, rest) = number::read(rest)?;
    let (id, name) = rest.split_at_checked(id_length as usize)?;
    Some((label, id, name))
}
