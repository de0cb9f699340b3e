//! The benchmark as a person runs it: its last line, and what it leaves behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rollcall_tests::lab::Lab;
use serde_json::Value;

/// Only one benchmark runs at a time on a machine.
static TURN: Mutex<()> = Mutex::new(());

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall-bench"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn can_run(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIPPED: {test}: network namespaces and XDP need root");
    }
    root
}

/// Whether somebody else's benchmark was in the way.
fn is_taken(test: &str, said: &str) -> bool {
    let taken = said.contains("another benchmark is running");
    if taken {
        println!("SKIPPED: {test}: another benchmark is running on this machine");
    }
    taken
}

fn is_left_behind(pid: u32) -> bool {
    [format!("/run/netns/rollcall-bench-{pid}"), format!("/run/netns/rollcall-bench-{pid}-fleet"), format!("/run/rollcall-bench-{pid}")]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[test]
fn steady_ends_with_one_json_object_and_leaves_no_lab() {
    const TEST: &str = "steady_ends_with_one_json_object_and_leaves_no_lab";
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_run(TEST) {
        return;
    }
    let child = bench(&["steady", "--hosts", "500", "--seconds", "3", "--json"]).spawn().unwrap();
    let pid = child.id();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    if is_taken(TEST, &stderr) {
        return;
    }
    assert!(status.success(), "{status}\n{stderr}");
    let json: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(json["hosts"], 500, "{json}");
    for key in ["cpu_cores", "bytes_per_host", "late_ratio", "false_down", "lost"] {
        assert!(json[key].is_number(), "{key}: {json}");
    }
    assert!(json["probes"].as_u64() > Some(0), "{json}");
    assert!(json["machine"]["kernel"].is_string(), "{json}");
    assert!(!is_left_behind(pid));
}

#[test]
fn an_interrupted_benchmark_says_so_and_leaves_no_lab() {
    const TEST: &str = "an_interrupted_benchmark_says_so_and_leaves_no_lab";
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_run(TEST) {
        return;
    }
    let mut child = bench(&["steady", "--hosts", "100", "--seconds", "600", "--json"]).spawn().unwrap();
    let pid = child.id();
    let mut said = String::new();
    // The agent runs once this is said; without it the program has ended, and so have its lines.
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        said += &format!("{line}\n");
        if line.starts_with("up ") {
            kill(Pid::from_raw(pid as i32), Signal::SIGINT).unwrap();
        }
    }
    let Output { status, stdout, .. } = child.wait_with_output().unwrap();
    if is_taken(TEST, &said) {
        return;
    }
    assert_eq!(status.code(), Some(130), "{said}");
    assert_eq!(String::from_utf8_lossy(&stdout), "{\"error\":\"interrupted\"}\n");
    assert!(!is_left_behind(pid));
}

#[test]
fn what_a_killed_benchmark_cannot_remove_is_removed_for_it() {
    const TEST: &str = "what_a_killed_benchmark_cannot_remove_is_removed_for_it";
    const PATIENCE: Duration = Duration::from_secs(30);
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_run(TEST) {
        return;
    }
    // Its files are left to the next benchmark; here, to this test.
    let folder = tempfile::tempdir().unwrap();
    let mut child = bench(&["steady", "--hosts", "100", "--seconds", "600", "--json"]).env("TMPDIR", folder.path()).spawn().unwrap();
    let pid = child.id();
    let (mut said, mut agents) = (String::new(), Vec::new());
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        said += &format!("{line}\n");
        if line.starts_with("up ") {
            agents = Lab::processes(&format!("bench-{pid}")).unwrap();
            agents.retain(|agent| *agent != pid as i32);
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    if is_taken(TEST, &said) {
        return;
    }
    assert!(!agents.is_empty(), "{said}");
    let runs = |agents: &[i32]| agents.iter().any(|agent| Path::new("/proc").join(agent.to_string()).exists());
    let began = Instant::now();
    while is_left_behind(pid) || runs(&agents) {
        assert!(began.elapsed() < PATIENCE, "left behind: lab {}, agents {agents:?}", is_left_behind(pid));
        std::thread::sleep(Duration::from_millis(20));
    }
}
