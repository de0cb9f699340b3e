//! Golden files of `rollcall-agent`: its help, and what `check` says of broken configurations. `UPDATE_GOLDEN=1` writes them anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn agent(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall-agent"));
    command.args(arguments).current_dir(folder("bad")).env_remove("NO_SUCH_TOKEN").output().unwrap()
}

/// Exit status, standard output and standard error, as a person sees them.
fn seen(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("exit {}\n{}{}", output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn compare(file: &Path, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, found).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_else(|_| panic!("{} is missing: UPDATE_GOLDEN=1 writes it", file.display()));
    assert_eq!(found, expected, "{} differs: UPDATE_GOLDEN=1 writes it anew", file.display());
}

#[test]
fn help_of_every_verb() {
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("run", &["run", "--help"]),
        ("check", &["check", "--help"]),
        ("config", &["config"]),
        ("bad-network", &["run", "--network", "tenant"]),
        ("bad-pps", &["run", "--pps", "0"]),
        ("no-network", &["check"]),
    ] {
        compare(&folder("golden").join(format!("{name}.txt")), &seen(&agent(arguments)));
    }
}

#[test]
fn every_broken_configuration_is_refused_with_a_clear_error() {
    let mut files: Vec<_> = fs::read_dir(folder("bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 15, "only {} cases", files.len());
    for (name, mode) in [("token-open", 0o644), ("token-short", 0o600), ("table-cut", 0o644)] {
        fs::set_permissions(folder("bad").join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for file in files {
        let output = agent(&["check", "--config", file.file_name().unwrap().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{}: {}", file.display(), seen(&output));
        compare(&file.with_extension("expected"), &seen(&output));
    }
}
