//! What the command says, as a person would see it, compared with what was read before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the test files are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Runs the command among the test files, so that its messages hold no path of this machine.
pub(crate) fn rollcall(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rollcall"))
        .args(arguments)
        .current_dir(directory())
        .env_remove("ROLLCALL_AGENT")
        .env_remove("ROLLCALL_TOKEN_FILE")
        .output()
        .unwrap()
}

/// Exit status and both outputs, as a person would see them.
pub(crate) fn transcript(arguments: &[&str]) -> String {
    let output = rollcall(arguments);
    let mut text = format!("$ rollcall {}\n", arguments.join(" "));
    text.push_str(&String::from_utf8(output.stdout).unwrap());
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        text.push_str(&format!("! {line}\n"));
    }
    text.push_str(&format!("= {}\n", output.status.code().unwrap()));
    text
}

/// Compares with the golden file; says which one differs, and how.
pub(crate) fn golden(path: &str, found: &str) {
    let file = directory().join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{path}: {error}: UPDATE_GOLDEN=1 writes it; read it before you commit it"));
    assert_eq!(found, expected, "{path} differs: UPDATE_GOLDEN=1 writes it anew; read the difference before you commit it");
}
