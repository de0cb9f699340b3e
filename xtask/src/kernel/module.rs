//! A kernel's modules: which others each one needs, in the order in which they are to be loaded.
//!
//! `depmod` writes that down where a kernel is installed. This one is only unpacked, so the modules are asked themselves: each
//! names the others in its section `.modinfo`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// All modules of a kernel by name, with the files that they are in.
pub(crate) struct Modules(BTreeMap<String, PathBuf>);

impl Modules {
    pub(crate) fn in_folder(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if let Some((name, _)) = entry.file_name().to_str().and_then(|name| name.split_once(".ko")) {
                    files.insert(plain(name), entry.path());
                }
            }
        }
        Ok(Self(files))
    }

    /// These modules with all that they need, as name and content, each behind those that it needs.
    pub(crate) fn closure(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut contents = BTreeMap::new();
        let order = closure(wanted, |name| {
            let Some(file) = self.0.get(name) else { bail!("the kernel's package has no module {name}") };
            let content = read(file)?;
            let needed = needed(&content);
            contents.insert(name.to_owned(), content);
            Ok(needed)
        })?;
        Ok(order.into_iter().filter_map(|name| contents.remove_entry(&name)).collect())
    }
}

/// The names that can be reached from those wanted, each behind those that it needs.
fn closure(wanted: &[&str], mut needed: impl FnMut(&str) -> Result<Vec<String>>) -> Result<Vec<String>> {
    enum Step {
        Enter(String),
        Leave(String),
    }
    let (mut order, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    let mut steps: Vec<Step> = wanted.iter().rev().map(|name| Step::Enter(plain(name))).collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Leave(name) => order.push(name),
            Step::Enter(name) if seen.insert(name.clone()) => {
                let needed = needed(&name)?;
                steps.push(Step::Leave(name));
                steps.extend(needed.into_iter().rev().map(Step::Enter));
            }
            Step::Enter(_) => {}
        }
    }
    Ok(order)
}

/// The modules that a module says it needs: `depends=a,b` among the strings of its `.modinfo`.
fn needed(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return vec![] };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).split(',').filter(|name| !name.is_empty()).map(plain).collect()
}

/// Modules are named with `_` where their files may have `-`.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// A module's file, unpacked where it is compressed.
fn read(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    let output = Command::new(program).arg("-dc").arg(file).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} cannot unpack {}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_behind_those_that_they_need_and_once() {
        let needed = |name: &str| -> Result<Vec<String>> {
            Ok(match name {
                "bridge" => vec!["stp".into(), "llc".into()],
                "stp" => vec!["llc".into()],
                "nf_tables" => bail!("no module nf_tables"),
                _ => vec![],
            })
        };
        assert_eq!(closure(&["veth", "bridge", "veth"], needed).unwrap(), ["veth", "llc", "stp", "bridge"]);
        assert!(closure(&["veth", "nf-tables"], needed).is_err());
    }

    #[test]
    fn module_names_what_it_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=stp,nf-conntrack\0retpoline=Y\0name=bridge\0";
        assert_eq!(needed(module), ["stp", "nf_conntrack"]);
        assert!(needed(b"\x7fELF\0license=GPL\0depends=\0name=veth\0").is_empty());
        assert!(needed(b"\x7fELF\0license=GPL\0").is_empty());
    }
}
