//! `rollcall import`, word for word, of every list in `samples` and of broken ones. `UPDATE_GOLDEN=1 cargo test -p rollcall-control`
//! writes the files anew.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

mod cloud;
mod transcript;

use transcript::{directory, golden, rollcall, transcript};

/// Each sample with the words that import it, and what tells two golden files of one sample apart.
const SAMPLES: [(&str, &str, &[&str]); 30] = [
    ("openstack-cli-10.5.0-port-list-long.json", "", &["openstack-ports", "--network", "tenant"]),
    ("openstack-cli-10.5.0-port-list-long.json", "-nameless", &["openstack-ports"]),
    (
        "openstack-cli-10.5.0-port-list-long.json",
        "-one-subnet",
        &["openstack-ports", "--network", "7f8c9f9b-656f-4c52-b669-8c6757e2927e=tenant-v4"],
    ),
    ("openstack-cli-10.5.0-server-list-long.json", "", &["openstack-servers"]),
    ("openstack-cli-4-port-list.json", "", &["openstack-ports", "--network", "tenant"]),
    ("openstack-cli-4-server-list-long.json", "", &["openstack-servers"]),
    ("neutron-ports-page20.json", "", &["neutron"]),
    ("neutron-ports-page20.json", "-servers", &["neutron", "--servers", "samples/nova-servers-detail-page3.json"]),
    ("neutron-21-zed-ports-page2.json", "", &["neutron", "--network", "65535832-b466-4952-8a34-641d0a7f6001=tenant"]),
    ("neutron-21-zed-ports-page2.json", "-other-name", &["neutron", "--network", "tenant"]),
    ("neutron-port-multi-fixed-ips-v6.json", "", &["neutron"]),
    ("neutron-port-router-interface.json", "", &["neutron"]),
    ("neutron-port-router-interface.json", "-all-owners", &["neutron", "--device-owner", "*"]),
    ("neutron-ports-fields.json", "", &["neutron"]),
    ("nova-servers-detail-page3.json", "", &["nova"]),
    ("aws-network-interfaces.json", "", &["aws", "--network", "vpc-0000000000000000a=prod"]),
    ("libvirt-net-dhcp-leases.txt", "", &["libvirt-leases", "--network", "default"]),
    ("libvirt-domifaddr.txt", "", &["libvirt-domain", "--host", "web-1", "--network", "default", "--network", "vnet1=storage"]),
    ("libvirt-domifaddr.txt", "-nobody", &["libvirt-domain", "--network", "default"]),
    ("libvirt-domifaddr-agent-full.txt", "", &["libvirt-domain", "--host", "web-1", "--name", "web", "--network", "default"]),
    ("proxmox-api.json", "", &["proxmox", "--host", "100", "--name", "web-1", "--network", "vmbr0"]),
    ("proxmox-qm-guest-cmd.json", "", &["proxmox", "--host", "101", "--network", "vmbr0"]),
    ("netbox-ip-addresses.json", "", &["netbox"]),
    ("file-sd.json", "", &["file_sd"]),
    ("file-sd.yml", "", &["prometheus"]),
    ("http-sd.json", "", &["http_sd", "--network", "snmp"]),
    ("hosts-rows.csv", "", &["hosts"]),
    // Of these no hosts can be made, which is said.
    ("neutron-routers.json", "", &["neutron"]),
    ("neutron-subnets.json", "", &["neutron"]),
    ("neutron-extensions.json", "", &["neutron"]),
];

fn words<'a>(format: &[&'a str], list: &'a str) -> Vec<&'a str> {
    [&["import", format[0], list], &format[1..]].concat()
}

#[test]
fn every_sample_is_imported_as_it_was_read() {
    let listed: BTreeSet<String> =
        fs::read_dir(directory().join("samples")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let tried: BTreeSet<String> = SAMPLES.iter().map(|(file, ..)| *file).chain(cloud::READ).map(str::to_owned).collect();
    assert_eq!(listed, tried, "a sample that nobody reads, or none of that name");
    for (file, variant, format) in SAMPLES {
        let stem = file.rsplit_once('.').unwrap().0;
        let text = transcript(&words(format, &format!("samples/{file}")));
        golden(&format!("golden/import-{stem}{variant}{}.txt", if file.ends_with(".yml") { "-yaml" } else { "" }), &text);
    }
}

#[test]
fn what_is_imported_compiles() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("hosts.jsonl");
    let path = path.to_str().unwrap();
    let mut compiled = 0;
    for (file, _, format) in SAMPLES {
        let output = rollcall(&words(format, &format!("samples/{file}")));
        if output.status.success() {
            fs::write(path, output.stdout).unwrap();
            let text = transcript(&["check", "-f", path, "-p", "good/policies.toml"]);
            assert!(text.ends_with("= 0\n"), "{file}: {text}");
            compiled += 1;
        }
    }
    assert!(compiled >= 20, "{compiled}");
}

#[test]
fn a_list_comes_by_standard_input_too() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rollcall"))
        .args(["import", "nova", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let list = fs::read(directory().join("samples/nova-servers-detail-page3.json")).unwrap();
    child.stdin.take().unwrap().write_all(&list).unwrap();
    let output = child.wait_with_output().unwrap();
    let file = rollcall(&["import", "nova", "samples/nova-servers-detail-page3.json"]);
    assert_eq!(output.stdout, file.stdout);
    assert!(String::from_utf8(output.stderr).unwrap().contains("<stdin>: this is one page of several"));
}

/// Lists that are none, with their formats.
fn broken() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let sample = |name: &str| fs::read(directory().join("samples").join(name)).unwrap();
    let ports = sample("neutron-21-zed-ports-page2.json");
    let port = |name: &str, address: &str, mac: &str| {
        format!(
            r#"{{"ports":[{{"id":"p","name":{name},"network_id":"n","mac_address":"{mac}","device_owner":"compute:nova","device_id":"vm",
"fixed_ips":[{{"subnet_id":"s","ip_address":"{address}"}}]}}]}}"#
        )
        .into_bytes()
    };
    let mac = "fa:16:3e:00:00:01";
    let deep = |count: usize| [b"[".repeat(count), b"]".repeat(count)].concat();
    vec![
        ("empty", "neutron", Vec::new()),
        ("blanks", "netbox", b" \n\n".to_vec()),
        ("no-list", "neutron", b"{}".to_vec()),
        ("empty-list", "neutron", b"{\"ports\": []}".to_vec()),
        ("empty-array", "openstack-servers", b"[]".to_vec()),
        ("cut", "neutron", ports[..ports.len() / 2].to_vec()),
        ("cut-csv", "hosts", b"id,network,addr".to_vec()),
        ("an-error-of-neutron", "neutron", br#"{"NeutronError": {"type": "PortNotFound", "message": "gone", "detail": ""}}"#.to_vec()),
        ("an-error-page", "netbox", b"<html><title>502 Bad Gateway</title></html>".to_vec()),
        ("null-list", "neutron", b"{\"ports\": null}".to_vec()),
        ("list-is-text", "nova", b"{\"servers\": \"none\"}".to_vec()),
        ("records-are-numbers", "aws", b"{\"NetworkInterfaces\": [1, 2]}".to_vec()),
        ("wrong-type", "openstack-servers", br#"[{"ID": "vm", "Networks": 7}]"#.to_vec()),
        ("missing-field", "openstack-ports", br#"[{"ID": "p", "Name": "x", "MAC Address": "fa:16:3e:00:00:01"}]"#.to_vec()),
        ("deep", "neutron", deep(1_000_000)),
        ("deep-beside", "neutron", [b"{\"x\":".to_vec(), deep(1_000_000), b",\"ports\":[]}".to_vec()].concat()),
        ("deep-proxmox", "proxmox", deep(1_000_000)),
        ("deep-yaml", "prometheus", [b"- targets: ".to_vec(), deep(100_000)].concat()),
        ("not-utf8", "neutron", b"{\"ports\": [\n\"\xff\"]}".to_vec()),
        ("long-string", "neutron", port(&format!("\"{}\"", "x".repeat(100 << 20)), "10.0.0.1", mac)),
        ("control-characters", "neutron", port(r#""a\u001b[31m\nb\u0000\u202e""#, "10.0.0.1", mac)),
        ("long-name", "neutron", port(&format!("\"{}\"", "ü".repeat(2000)), "10.0.0.1", mac)),
        ("address-of-many", "neutron", port("\"\"", "224.0.0.1", mac)),
        ("address-with-escape", "neutron", port("\"\"", r"10.0.0.1\u001b[2J", mac)),
        ("mac-of-many", "neutron", port("\"\"", "10.0.0.1", "ff:ff:ff:ff:ff:ff")),
        ("key-with-escape", "neutron", br#"{"\u001b[2Jports": []}"#.to_vec()),
        ("agent-not-running", "proxmox", br#"{"data": null, "message": "QEMU guest agent is not running\n"}"#.to_vec()),
        (
            "agent-cannot",
            "proxmox",
            br#"{"result": {"error": {"class": "Unsupported", "desc": "this command is not supported"}}}"#.to_vec(),
        ),
        ("virsh-error", "libvirt-leases", b"error: Network not found: no network with matching name 'x'\n".to_vec()),
        ("no-lease", "libvirt-leases", b" Expiry Time   MAC address\n-----------------------------\n".to_vec()),
        ("row-of-two", "libvirt-leases", b" Expiry Time   MAC address\n-----------------------------\n a b\n".to_vec()),
        ("names-only", "prometheus", br#"[{"targets": ["db-8.example.net:9100"], "labels": {"network": "red"}}]"#.to_vec()),
        ("yaml-tab", "prometheus", b"- targets:\n\t- 10.0.0.1\n".to_vec()),
        ("yaml-map", "prometheus", b"targets: [10.0.0.1]\n".to_vec()),
        ("yaml-wrong-type", "prometheus", b"- targets: 10.0.0.1\n".to_vec()),
    ]
}

#[test]
fn every_broken_list_is_answered_in_clear_words() {
    let target = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for (name, format, bytes) in broken() {
        let path = target.path().join(name);
        fs::write(&path, bytes).unwrap();
        let path = path.to_str().unwrap();
        let text = transcript(&["import", format, path, "--network", "n", "--host", "h"]).replace(path, name);
        assert!(text.len() < 5000 && !text.contains('\u{1b}'), "{name}: {} bytes", text.len());
        all.push_str(&text);
    }
    golden("golden/import-broken.txt", &all);
}

#[test]
fn a_list_of_too_many_bytes_is_refused_whatever_it_is() {
    let list = "samples/neutron-ports-page20.json";
    golden("golden/import-too-large.txt", &transcript(&["import", "neutron", list, "--max-bytes", "10000"]));
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let list = "samples/nova-servers-detail-page3.json";
    let mut all = String::new();
    for words in [
        &["import", "nova", list, "--servers", list][..],
        &["import", "nova", list, "--header-file", "none"],
        &["import", "nova", list, "--network", "=x"],
        &["import", "nova", list, "--network", "a", "--network", "b"],
        &["import", "neutron", list, "--device-owner", "[a"],
        &["import", "nova", "samples/none.json"],
        &["import", "nova", "http://me:secret@127.0.0.1/"],
        &["import", "vmware", list],
    ] {
        all.push_str(&transcript(words));
    }
    golden("golden/import-options.txt", &all);
}

#[test]
fn nobody_at_a_url_has_its_own_exit_status() {
    // A port that was free a moment ago answers nobody.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = rollcall(&["import", "netbox", &format!("http://127.0.0.1:{port}/api/ipam/ip-addresses/")]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("cannot be reached") && error.contains("refused"), "{error}");
}
