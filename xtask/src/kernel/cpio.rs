//! An archive that the kernel unpacks as its first file system: cpio, "newc" (Documentation/driver-api/early-userspace).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Component, Path};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// An archive that is being written.
pub(crate) struct Archive<W> {
    out: W,
    folders: BTreeSet<String>,
    count: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, folders: BTreeSet::new(), count: 0 }
    }

    /// Adds a folder and those that it is in.
    pub(crate) fn folder(&mut self, path: &Path) -> io::Result<()> {
        let mut name = String::new();
        for part in path.components() {
            if let Component::Normal(part) = part {
                if !name.is_empty() {
                    name.push('/');
                }
                name += &part.to_string_lossy();
                if self.folders.insert(name.clone()) {
                    self.entry(&name, FOLDER, &[])?;
                }
            }
        }
        Ok(())
    }

    /// Adds a file and the folders that it is in.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.leaf(path, FILE, content)
    }

    /// The same, to be run.
    pub(crate) fn program(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.leaf(path, PROGRAM, content)
    }

    /// Ends the archive and gives back what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn leaf(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        let name = path.to_string_lossy();
        self.entry(name.trim_start_matches('/'), mode, content)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too large")))?;
        self.count += 1;
        // inode, mode, uid, gid, links, mtime, size, four numbers of devices, length of the name, checksum.
        let fields = [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        let mut header = String::from("070701");
        fields.iter().for_each(|field| header += &format!("{field:08x}"));
        self.out.write_all(format!("{header}{name}\0").as_bytes())?;
        self.pad(header.len() + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Names and contents each end at a multiple of four.
    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_each_folder_once_before_what_is_in_it() {
        let mut archive = Archive::new(Vec::new());
        archive.program(Path::new("/usr/bin/one"), b"first").unwrap();
        archive.file(Path::new("/usr/bin/two"), b"second!").unwrap();
        archive.folder(Path::new("/proc")).unwrap();
        let bytes = archive.finish().unwrap();
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + index * 8..][..8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = std::str::from_utf8(&bytes[at + 110..at + 109 + name_size]).unwrap();
            let content = at + (110 + name_size).next_multiple_of(4);
            found.push((name.to_owned(), mode, bytes[content..content + size].to_vec()));
            at = content + size.next_multiple_of(4);
        }
        let expected: [(&str, u32, &[u8]); 6] = [
            ("usr", FOLDER, b""),
            ("usr/bin", FOLDER, b""),
            ("usr/bin/one", PROGRAM, b"first"),
            ("usr/bin/two", FILE, b"second!"),
            ("proc", FOLDER, b""),
            ("TRAILER!!!", 0, b""),
        ];
        assert_eq!(found, expected.map(|(name, mode, content)| (name.to_owned(), mode as usize, content.to_vec())));
    }
}
