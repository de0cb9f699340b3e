//! `sync.toml`: what is refused, and that no secret is shown for it.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const GOOD: &str = r#"policy = "policies.toml"
[[source]]
type = "url"
name = "ports"
url = "https://neutron.example/v2.0/ports"
format = "neutron"
servers = "servers.json"
header_file = "header"
[[source]]
type = "file"
name = "list"
path = "hosts.jsonl"
format = "hosts"
[[agent]]
name = "a"
url = "http://127.0.0.1:9798"
token_file = "token"
networks = ["*"]
"#;

/// What comes of it, in a folder of its own.
fn read(text: &str, mode: u32) -> (Result<Config, String>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("sync.toml"), folder.path().join("token"));
    std::fs::write(&path, text).unwrap();
    std::fs::write(&token, "hunter2").unwrap();
    std::fs::set_permissions(token, std::fs::Permissions::from_mode(mode)).unwrap();
    (Config::read(&path).map_err(|error| format!("{error:#}")), folder)
}

fn refused(text: &str) -> String {
    read(text, 0o600).0.unwrap_err()
}

#[test]
fn paths_are_relative_to_the_file_whatever_they_are_for() {
    let (config, folder) = read(GOOD, 0o600);
    let config = config.unwrap();
    let shown = format!("{config:?}");
    for name in ["policies.toml", "servers.json", "header", "hosts.jsonl", "token"] {
        let path = folder.path().join(name);
        assert!(shown.contains(&format!("{path:?}")), "{name}: {shown}");
    }
    let elsewhere = GOOD.replace("\"policies.toml\"", "\"/etc/policies.toml\"");
    assert_eq!(read(&elsewhere, 0o600).0.unwrap().policy, std::path::Path::new("/etc/policies.toml"));
}

#[test]
fn what_is_unknown_double_or_missing_is_named_with_its_line() {
    for (from, to, said) in [
        ("policy =", "polices =", "line 1: unknown field `polices`"),
        ("token_file =", "token =", "line 17: unknown field `token`"),
        ("name = \"list\"", "name = \"ports\"", "source \"ports\": found twice"),
        ("name = \"a\"", "name = \"\"", "agent: name: found an empty text"),
        ("[\"*\"]", "[]", "agent \"a\": networks: found none"),
        ("[[agent]]", "[[agents]]", "unknown field `agents`"),
        ("policy = \"policies.toml\"\n", "", "missing field `policy`"),
        ("policies.toml\"", "policies.toml", "line 1: "),
        ("policy =", "interval = \"100ms\"\npolicy =", "interval: found 100ms, allowed: 1s to 24h"),
        ("\"http://127.0.0.1:9798\"", "\"nowhere\"", "line 16: url: found what is no URL (relative URL without a base)"),
    ] {
        assert!(GOOD.contains(from));
        let error = refused(&GOOD.replacen(from, to, 1));
        assert!(error.contains("sync.toml") && error.contains(said), "{said}: {error}");
    }
}

#[test]
fn secret_in_the_wrong_place_is_refused_and_not_repeated() {
    let at_top = format!("password = \"hunter2\"\n{GOOD}");
    let in_agent = GOOD.replace("token_file = \"token\"", "token = \"hunter2\"");
    let unquoted = GOOD.replace("token_file = \"token\"", "token_file = hunter2");
    let url = |url: &str| GOOD.replace("http://127.0.0.1:9798", url);
    let urls = [
        "http://u:hunter2@127.0.0.1:9798",
        "http://hunter2@127.0.0.1",
        "http://u:hunter2@127.0.0.1:port",
        "http://127.0.0.1/?token=hunter2",
    ];
    for text in [at_top, in_agent, unquoted].into_iter().chain(urls.map(url)) {
        let error = refused(&text);
        assert!(!error.contains("hunter2") && error.contains("line "), "{error}");
    }
    assert!(refused(&url(urls[0])).contains("line 16: url: found a user, a password or a query in it, allowed: "));
}

#[test]
fn token_that_others_may_read_is_refused_with_the_command_to_mend_it() {
    let error = read(GOOD, 0o644).0.unwrap_err();
    assert!(error.contains("agent \"a\": token_file") && error.contains("chmod 600 ") && !error.contains("hunter2"), "{error}");
}
