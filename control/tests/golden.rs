//! What the command says, word for word. `UPDATE_GOLDEN=1 cargo test -p rollcall-control` writes the files anew.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use rollcall_agent::table::Table;

mod transcript;

use transcript::{directory, golden, rollcall, transcript};

const VERBS: [&str; 12] =
    ["import", "sync", "check", "compile", "inspect", "push", "stop", "status", "hosts", "host", "watch", "completions"];

#[test]
fn help_of_every_verb_is_as_it_was_read() {
    let root = String::from_utf8(rollcall(&["--help"]).stdout).unwrap();
    for verb in VERBS {
        assert!(root.contains(&format!("\n  {verb} ")), "{verb} is not in --help");
        golden(&format!("golden/help-{verb}.txt"), &transcript(&[verb, "--help"]));
    }
    golden("golden/help.txt", &transcript(&["--help"]));
    assert_eq!(root.matches("\n  ").count(), VERBS.len() + 1 + 2 + 5, "a verb without a golden file: {root}");
}

#[test]
fn check_shows_who_gets_which_policy_and_why() {
    let files = ["-f", "good/hosts.csv", "good/hosts.jsonl", "-p", "good/policies.toml"];
    golden("golden/check.txt", &transcript(&[&["check"], &files[..]].concat()));
    golden("golden/check-limit.txt", &transcript(&[&["check", "--limit", "2"], &files[..]].concat()));
    golden("golden/check-host.txt", &transcript(&[&["check", "--host", "6f1c0d2e-0001"], &files[..]].concat()));
    golden("golden/check-json.txt", &transcript(&[&["check", "--json"], &files[..]].concat()));
}

#[test]
fn a_compiled_table_is_shown_as_it_was_given() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("t.rct");
    let path = path.to_str().unwrap();
    let files = ["-f", "good/hosts.csv", "good/hosts.jsonl", "-p", "good/policies.toml", "-o", path];
    let shown = |arguments: &[&str]| transcript(arguments).replace(path, "t.rct");
    golden("golden/compile.txt", &shown(&[&["compile"], &files[..]].concat()));
    golden("golden/compile-json.txt", &shown(&[&["compile", "--generation", "7", "--json"], &files[..]].concat()));
    golden("golden/inspect.txt", &shown(&["inspect", path]));
    golden("golden/inspect-json.txt", &shown(&["inspect", "--json", path]));
    golden("golden/inspect-csv.txt", &shown(&["inspect", "--csv", path]));
}

#[test]
fn what_inspect_writes_as_csv_compiles_to_the_same_table() {
    let target = tempfile::tempdir().unwrap();
    let file = |name: &str| target.path().join(name).to_str().unwrap().to_owned();
    let (one, list, two) = (file("one"), file("list.csv"), file("two"));
    let good = ["-f", "good/hosts.csv", "good/hosts.jsonl", "-p", "good/policies.toml", "-o", &one];
    assert!(rollcall(&[&["compile"], &good[..]].concat()).status.success());
    fs::write(&list, rollcall(&["inspect", "--csv", &one]).stdout).unwrap();
    assert!(rollcall(&["compile", "-f", &list, "-p", "good/policies.toml", "-o", &two]).status.success());
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
}

#[test]
fn every_broken_list_and_policy_file_is_refused_in_clear_words() {
    let mut cases = BTreeMap::new();
    let mut answers = Vec::new();
    for entry in fs::read_dir(directory().join("bad")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.rsplit_once('.').unwrap() {
            (stem, "expected") => answers.push(stem.to_owned()),
            (stem, _) => assert!(cases.insert(stem.to_owned(), name.clone()).is_none(), "two cases named {stem}"),
        }
    }
    assert!(cases.len() >= 50, "only {} cases are left", cases.len());
    for (stem, name) in &cases {
        let bad = format!("bad/{name}");
        let (hosts, policies) = match name.ends_with(".toml") {
            true => ("good/hosts.csv", bad.as_str()),
            false => (bad.as_str(), "good/policies.toml"),
        };
        let text = transcript(&["check", "-f", hosts, "-p", policies]);
        assert!(text.ends_with("= 1\n"), "{text}");
        golden(&format!("bad/{stem}.expected"), &text);
    }
    for answer in answers {
        assert!(cases.contains_key(&answer), "bad/{answer}.expected has no input beside it");
    }
}

/// A small table, and ways to break it.
fn broken_tables() -> Vec<(&'static str, Vec<u8>)> {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("t.rct");
    let good = ["-f", "good/hosts.csv", "-p", "good/policies.toml", "-o", path.to_str().unwrap()];
    assert!(rollcall(&[&["compile"], &good[..]].concat()).status.success());
    let bytes = fs::read(&path).unwrap();
    let table = Table::from_bytes(&bytes[..]).unwrap();
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        bytes
    };
    let delta = rollcall_agent::table::Delta::between(&Table::empty(), &table);
    vec![
        ("nothing", Vec::new()),
        ("a-host-list", fs::read(directory().join("good/hosts.csv")).unwrap()),
        ("cut-in-the-magic", bytes[..5].to_vec()),
        ("cut-in-the-header", bytes[..100].to_vec()),
        ("cut-in-the-content", bytes[..bytes.len() - 1].to_vec()),
        ("too-long", [&bytes[..], b"more"].concat()),
        ("older", changed(8, 0)),
        ("newer", changed(8, 7)),
        ("generation-changed", changed(24, 9)),
        ("content-changed", changed(200, bytes[200] ^ 1)),
        ("text-mode", String::from_utf8_lossy(&bytes).replace("\r\n", "\n").into_bytes()),
        ("delta-cut", delta.bytes()[..delta.bytes().len() - 1].to_vec()),
        ("delta-changed", [&delta.bytes()[..60], &[0xff], &delta.bytes()[61..]].concat()),
    ]
}

#[test]
fn every_broken_table_is_refused_in_clear_words() {
    let target = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for (name, bytes) in broken_tables() {
        let path = target.path().join(name);
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let text = transcript(&["inspect", path]).replace(path, name);
        assert!(text.ends_with("= 1\n"), "{text}");
        all.push_str(&text);
    }
    golden("golden/broken-tables.txt", &all);
}

#[test]
fn usage_and_unreachable_agents_have_their_own_exit_status() {
    assert_eq!(rollcall(&["check"]).status.code(), Some(2));
    assert_eq!(rollcall(&["push"]).status.code(), Some(2));
    assert_eq!(rollcall(&["status", "--agent", "ftp://127.0.0.1"]).status.code(), Some(2));
    assert_eq!(rollcall(&["check", "-f", "-", "-p", "-"]).status.code(), Some(2));
    assert_eq!(rollcall(&["check", "-f", "none.csv", "-p", "good/policies.toml"]).status.code(), Some(1));
    // A port that was free a moment ago answers nobody.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let agent = format!("http://127.0.0.1:{port}");
    for verb in [&["status"][..], &["hosts"], &["host", "vm-1"], &["stop", "vm-1"], &["watch"]] {
        let output = rollcall(&[verb, &["--agent", &agent]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{verb:?}: {error}");
        assert!(error.contains("no answer from the agent") && error.contains("refused"), "{error}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rollcall"))
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn a_failed_compile_leaves_the_old_table_alone() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("t.rct");
    fs::write(&path, "old").unwrap();
    let out = path.to_str().unwrap();
    let output = rollcall(&["compile", "-f", "bad/address-twice.csv", "-p", "good/policies.toml", "-o", out]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn completions_know_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let script = String::from_utf8(rollcall(&["completions", shell]).stdout).unwrap();
        for verb in VERBS {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
}
