//! `rollcall sync` as a process: what systemd, Prometheus and cron see of it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "stand/agent.rs"]
mod agent;

use agent::Agent;

const PATIENCE: Duration = Duration::from_secs(20);

/// Files of a controller, and an agent.
struct Desk {
    folder: tempfile::TempDir,
    agent: Agent,
    listen: SocketAddr,
}

impl Desk {
    async fn new() -> Desk {
        let (folder, agent) = (tempfile::tempdir().unwrap(), Agent::start().await);
        let listen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let desk = Desk { folder, agent, listen };
        std::fs::write(desk.path("policies.toml"), "[defaults]\n").unwrap();
        std::fs::write(desk.path("token"), "hunter2\n").unwrap();
        std::fs::set_permissions(desk.path("token"), PermissionsExt::from_mode(0o600)).unwrap();
        let text = format!(
            "policy = \"policies.toml\"\ninterval = \"1s\"\nlisten = \"{listen}\"\n\
             [[source]]\ntype = \"file\"\nname = \"list\"\npath = \"hosts.jsonl\"\nformat = \"hosts\"\n\
             [[agent]]\nname = \"proxy-1\"\nurl = \"http://{}\"\ntoken_file = \"token\"\nnetworks = [\"*\"]\n",
            desk.agent.address()
        );
        std::fs::write(desk.path("sync.toml"), text).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The list as it is from now on: replaced, never half written.
    fn list(&self, hosts: u32) {
        let host = |n: u32| json!({"id": format!("vm-{n}"), "addresses": [{"network": "red", "address": format!("10.0.0.{n}")}]});
        let text: String = (1..=hosts).map(|n| host(n).to_string() + "\n").collect();
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path("hosts.jsonl")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command.args(["sync", "--config"]).arg(self.path("sync.toml")).args(arguments).stdin(Stdio::null()).env_remove("NOTIFY_SOCKET");
        command
    }

    /// Runs it to its end, while the agent answers.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// Status and body of what it serves.
    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(format!("http://{}{path}", self.listen)).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.unwrap()))
    }

    async fn until(&self, path: &str, is: impl Fn(u16, &str) -> bool) {
        let (began, mut last) = (Instant::now(), None);
        while !last.as_ref().is_some_and(|(status, text): &(u16, String)| is(*status, text)) {
            assert!(began.elapsed() < PATIENCE, "{path}: {last:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            last = self.ask(path).await;
        }
    }
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn systemd_is_told_health_and_metrics_say_how_it_stands_and_a_signal_ends_it() {
    let desk = Desk::new().await;
    let systemd = UnixDatagram::bind(desk.path("notify")).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = desk.command(&[]);
    let mut running = Running(command.env("NOTIFY_SOCKET", desk.path("notify")).stderr(Stdio::piped()).spawn().unwrap());
    let mut told = [0; 100];
    let (length, told) = tokio::task::spawn_blocking(move || (systemd.recv(&mut told).unwrap(), told)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&told[..length]).trim(), "READY=1");
    // There is no list yet.
    assert_eq!(desk.ask("/-/healthy").await, Some((200, "ok\n".to_owned())));
    desk.until("/-/ready", |status, text| status == 503 && text.contains("source list: ") && text.contains("nothing is pushed before"))
        .await;
    desk.until("/metrics", |_, text| {
        text.contains("rollcall_sync_plan_up 0\n") && text.contains("rollcall_sync_source_up{source=\"list\"} 0\n")
    })
    .await;
    desk.list(20);
    desk.until("/-/ready", |status, text| (status, text) == (200, "ok\n")).await;
    assert_eq!(desk.agent.table().len(), 20);
    let (_, metrics) = desk.ask("/metrics").await.unwrap();
    for line in [
        "rollcall_sync_plan_up 1",
        "rollcall_sync_source_up{source=\"list\"} 1",
        "rollcall_sync_agent_in_step{agent=\"proxy-1\"} 1",
        "# TYPE rollcall_sync_agent_pushes counter",
        "rollcall_sync_agent_pushes_total{agent=\"proxy-1\"} 1",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line}: {metrics}");
    }
    std::fs::write(desk.path("policies.toml"), "[defaults]\ninterval = \"soon\"\n").unwrap();
    desk.until("/-/ready", |status, text| status == 503 && text.contains("nothing is pushed: ") && text.contains("policies.toml")).await;
    desk.until("/metrics", |_, text| text.contains("rollcall_sync_plan_up 0\n")).await;
    assert_eq!(desk.ask("/-/healthy").await, Some((200, "ok\n".to_owned())));
    let ended = Command::new("kill").arg(running.0.id().to_string()).status().unwrap();
    assert!(ended.success() && running.0.wait().unwrap().success());
    let mut log = String::new();
    std::io::Read::read_to_string(&mut running.0.stderr.take().unwrap(), &mut log).unwrap();
    assert!(log.contains("ended; the agents go on with the tables that they have") && !log.contains("hunter2"), "{log}");
    // The list failed twice or more, and the plan too: each is said once.
    for once in ["cannot read", "nothing is pushed: ", "is well again"] {
        assert_eq!(log.matches(once).count(), 1, "{once}: {log}");
    }
}

#[tokio::test]
async fn it_goes_on_when_nobody_reads_its_log_any_more() {
    let desk = Desk::new().await;
    desk.list(20);
    let mut running = Running(desk.command(&[]).stderr(Stdio::piped()).spawn().unwrap());
    drop(running.0.stderr.take());
    desk.agent.until(20).await;
    desk.list(19);
    desk.agent.until(19).await;
    assert!(running.0.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn dry_run_shows_the_difference_and_just_so_where_it_would_be_refused() {
    let desk = Desk::new().await;
    desk.list(20);
    let output = desk.run(&["--dry-run", "--json"]).await;
    let (shown, log) = said(&output);
    assert!(output.status.success(), "{log}");
    let object: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(object["proxy-1"]["added"].as_array().unwrap().len(), 20);
    assert_eq!(
        object["proxy-1"]["added"][0],
        json!({"network": "red", "address": "10.0.0.1", "id": "vm-1", "policy": "default", "mac": null})
    );
    assert_eq!((&object["proxy-1"]["removed"], &object["proxy-1"]["unchanged"]), (&json!([]), &json!(0)));
    assert!(desk.agent.table().is_empty(), "a dry run changes nothing");
    assert!(desk.run(&["--once"]).await.status.success());
    assert_eq!((desk.agent.table().len(), desk.agent.listed()), (20, 1), "who watched nothing need not say what");
    desk.list(3);
    let held = desk.agent.table();
    for (arguments, code) in [(&["--dry-run"][..], 1), (&["--dry-run", "--allow-shrink"], 0)] {
        let output = desk.run(arguments).await;
        let (shown, log) = said(&output);
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(
            shown.contains("proxy-1: 0 added, 17 removed, 0 changed, 3 unchanged\n") && shown.contains("  - red 10.0.0.4 vm-4 default\n")
        );
        assert_eq!(log.contains("17 of 20 addresses would be watched no more"), code == 1, "{log}");
    }
    let output = desk.run(&["--dry-run", "--json"]).await;
    let object: Value = serde_json::from_str(&said(&output).0).unwrap();
    assert_eq!((output.status.code(), object["proxy-1"]["removed"].as_array().unwrap().len()), (Some(1), 17));
    let output = desk.run(&["--once"]).await;
    assert!(output.status.code() == Some(1) && said(&output).1.contains("17 of 20 addresses"), "{output:?}");
    assert_eq!(desk.agent.table().digest(), held.digest());
    assert!(desk.run(&["--once", "--allow-shrink"]).await.status.success());
    assert_eq!(desk.agent.table().len(), 3);
}

#[tokio::test]
async fn second_one_by_the_same_file_is_refused_also_when_the_file_was_replaced() {
    let desk = Desk::new().await;
    desk.list(20);
    let _running = Running(desk.command(&[]).spawn().unwrap());
    desk.agent.until(20).await;
    for _ in 0..2 {
        let output = desk.run(&["--once"]).await;
        assert!(output.status.code() == Some(1) && said(&output).1.contains("another rollcall sync runs with"), "{output:?}");
        std::fs::copy(desk.path("sync.toml"), desk.path("edited")).unwrap();
        std::fs::rename(desk.path("edited"), desk.path("sync.toml")).unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
}
