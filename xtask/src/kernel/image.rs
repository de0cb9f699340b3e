//! The virtual machine's only file system: an archive that its kernel unpacks into memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::cpio::Archive;
use super::module::Modules;
use super::package::Kernel;
use crate::{step, workspace};

/// The tests that meet the kernel: the programs and their verifier, the lab, the whole line by both transmitters and both kinds of receiver. All others are as good on
/// any kernel as on this one; `bench` judges time, which an emulated machine has not.
const TESTS: [&str; 7] = ["xdp", "fleet", "lab", "line", "line-socket", "line-generic", "line-packet"];
/// What the lab needs that may not be built in.
const MODULES: [&str; 1] = ["veth"];
/// Certificates that the agent's client of webhooks looks for, used or not.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A test program: its name for cargo, and where it was built.
pub(crate) struct TestProgram {
    name: String,
    path: PathBuf,
}

/// Builds the test programs.
pub(crate) fn test_programs() -> Result<Vec<TestProgram>> {
    let mut command = workspace::cargo();
    command.env(workspace::OPTIMISED.0, workspace::OPTIMISED.1);
    command.args(["test", "--no-run", "--message-format=json-render-diagnostics", "-p", "rollcall-tests"]);
    for test in TESTS {
        command.args(["--test", test]);
    }
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run `{}`", step::text(&command)))?;
    ensure!(output.status.success(), "`{}` failed: {}", step::text(&command), output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let find = |test: &&str| {
        let path = text.lines().find_map(|line| executable(line, test)).with_context(|| format!("cargo built no test program {test}"))?;
        Ok(TestProgram { name: (*test).to_owned(), path })
    };
    TESTS.iter().map(find).collect()
}

/// The path in cargo's message about a test program of this name.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let target = format!(r#""kind":["test"],"crate_types":["bin"],"name":"{name}","#);
    let (_, rest) = message.split_once(&target)?;
    let (_, rest) = rest.split_once(r#""executable":""#)?;
    Some(PathBuf::from(rest.split('"').next()?))
}

/// Builds the image. Its file has no name any more: it is gone when we are, however we end.
pub(crate) fn build(kernel: &Kernel, programs: &[TestProgram], filters: &[String]) -> Result<File> {
    let scratch = Scratch::new()?;
    let path = scratch.0.join("initramfs");
    let file =
        File::options().read(true).write(true).create_new(true).open(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(&file));
    let busybox = found("busybox")?;
    archive.program(Path::new("/init"), include_bytes!("init.sh"))?;
    for name in ["busybox", "sh"] {
        archive.program(&Path::new("/busybox").join(name), &fs::read(&busybox)?)?;
    }
    for (number, (name, content)) in Modules::in_folder(&kernel.modules())?.closure(&MODULES)?.into_iter().enumerate() {
        archive.file(&Path::new("/modules").join(format!("{number:02}-{name}.ko")), &content)?;
    }
    archive.file(Path::new("/tests.sh"), script(programs, filters).as_bytes())?;

    let folder = workspace::target().join("debug");
    let mut own: Vec<PathBuf> = programs.iter().map(|program| program.path.clone()).collect();
    own.extend(["rollcall-agent", "rollcall", "rollcall-lab"].map(|name| folder.join(name)));
    let tools = [found("ip")?, found("ping")?];
    let mut libraries = BTreeSet::new();
    for program in own.iter().chain(&tools) {
        libraries.extend(needed_libraries(program)?);
    }
    for program in &own {
        archive.program(program, &scratch.stripped(program)?)?;
    }
    for program in tools.iter().chain(&libraries) {
        archive.program(program, &fs::read(program).with_context(|| format!("cannot read {}", program.display()))?)?;
    }
    // The lab reads it where it was built.
    let fleet = workspace::root().join("target/ebpf/fleet-xdp");
    archive.file(&fleet, &fs::read(&fleet).with_context(|| format!("cannot read {}", fleet.display()))?)?;
    if let Ok(certificates) = fs::read(CERTIFICATES) {
        archive.file(Path::new(CERTIFICATES), &certificates)?;
    }
    archive.finish()?.flush()?;
    Ok(file)
}

/// What the first process runs.
fn script(programs: &[TestProgram], filters: &[String]) -> String {
    let mut script = String::new();
    for TestProgram { name, path } in programs {
        // Two at a time, as the machine has two processors: mostly they wait.
        script += &format!("test_program {name} {} --test-threads=2 --show-output", quoted(&path.to_string_lossy()));
        filters.iter().for_each(|filter| script += &format!(" {}", quoted(filter)));
        script.push('\n');
    }
    script
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where a program of this name is.
fn found(program: &str) -> Result<PathBuf> {
    step::find(program).with_context(|| format!("there is no {program} in the PATH"))
}

/// The libraries that a program is linked with, where the loader finds them, and the loader.
fn needed_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text =
        step::output(Command::new("ldd").arg(program)).with_context(|| format!("ldd does not say what {} needs", program.display()))?;
    Ok(libraries(&text))
}

fn libraries(ldd: &str) -> Vec<PathBuf> {
    ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).map(PathBuf::from).collect()
}

/// A folder that is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = workspace::target().join("kernels").join(format!(".image.{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// A program without what only debuggers read: that is three quarters of it, and all of it would stand in memory.
    fn stripped(&self, program: &Path) -> Result<Vec<u8>> {
        let copy = self.0.join("stripped");
        let path = if step::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(program)).is_some() {
            &copy
        } else {
            program
        };
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_ldd_found() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f94)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f94)\n";
        assert_eq!(libraries(ldd), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
        assert!(libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn filters_reach_every_test_program_as_they_are() {
        let programs =
            [TestProgram { name: "line".into(), path: "/t/line-1".into() }, TestProgram { name: "xdp".into(), path: "/t/xdp-2".into() }];
        let script = script(&programs, &["silent host".into(), "it's".into()]);
        let runs: Vec<&str> = script.lines().collect();
        assert_eq!(runs[0], r"test_program line '/t/line-1' --test-threads=2 --show-output 'silent host' 'it'\''s'");
        assert!(runs.len() == 2 && runs[1].starts_with("test_program xdp '/t/xdp-2' "));
    }

    #[test]
    fn test_program_is_found_in_cargos_message() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"crate_types":["bin"],"name":"line","src_path":"/w/main.rs"},"executable":"/w/target/debug/deps/line-61","fresh":true}"#;
        assert_eq!(executable(message, "line"), Some("/w/target/debug/deps/line-61".into()));
        assert_eq!(executable(message, "line-socket"), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#, "line"), None);
    }
}
