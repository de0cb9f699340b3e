use super::*;
use crate::hosts::Monitor;

const PORTS: &str = include_str!("../../../tests/samples/neutron-21-zed-ports-page2.json");

fn named(network: &str) -> Options {
    Options { networks: Networks::parse(&[network.to_owned()]).unwrap(), host: "h".to_owned(), ..Options::default() }
}

/// All formats, each with a list of its own.
const SAMPLES: [(Format, &str); 9] = [
    (Format::OpenstackPorts, include_str!("../../../tests/samples/openstack-cli-10.5.0-port-list-long.json")),
    (Format::OpenstackServers, include_str!("../../../tests/samples/openstack-cli-10.5.0-server-list-long.json")),
    (Format::Neutron, PORTS),
    (Format::Nova, include_str!("../../../tests/samples/nova-servers-detail-page3.json")),
    (Format::Prometheus, include_str!("../../../tests/samples/file-sd.json")),
    (Format::Aws, include_str!("../../../tests/samples/aws-network-interfaces.json")),
    (Format::Proxmox, include_str!("../../../tests/samples/proxmox-api.json")),
    (Format::Netbox, include_str!("../../../tests/samples/netbox-ip-addresses.json")),
    (Format::LibvirtDomain, include_str!("../../../tests/samples/libvirt-domifaddr-agent-full.txt")),
];

#[test]
fn a_json_list_that_is_cut_anywhere_is_an_error_and_never_a_smaller_list() {
    let json = SAMPLES.iter().filter(|(format, _)| *format != Format::LibvirtDomain);
    for (format, text) in json {
        let text = text.trim_end();
        assert!(format.read("f", text.as_bytes(), &named("n")).is_ok(), "{format}");
        let step = 1 + text.len() / 1500;
        for end in (0..text.len()).step_by(step) {
            let cut = format.read("f", &text.as_bytes()[..end], &named("n"));
            assert!(cut.is_err(), "{format} cut after {end} bytes is a list: {cut:?}");
        }
    }
}

#[test]
fn any_byte_may_be_any_other_and_nothing_panics() {
    for (format, text) in SAMPLES {
        for at in (0..text.len()).step_by(1 + text.len() / 400) {
            for byte in [0, b'"', b'[', b'{', b':', b'9', b'-', b'\n', 0xff] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                if let Ok(listing) = format.read("f", &bytes, &named("n")) {
                    assert!(!listing.hosts.is_empty(), "{format}: nobody is an error");
                    assert!(listing.hosts.iter().all(|host| !host.addresses.is_empty() && !host.id.is_empty()), "{format}: {at}");
                }
            }
        }
    }
}

#[test]
fn every_format_refuses_the_lists_of_all_others() {
    for (format, _) in SAMPLES {
        for (other, text) in SAMPLES.iter().filter(|(other, _)| *other != format) {
            assert!(format.read("f", text.as_bytes(), &named("n")).is_err(), "{format} takes a list of {other}");
        }
    }
}

#[test]
fn one_bad_record_is_a_warning_with_its_place_and_the_others_count() {
    let port = |id: u32, address: &str| {
        format!(
            r#"{{"id":"p{id}","network_id":"n","mac_address":"fa:16:3e:00:00:{id:02}","device_id":"vm-{id}","device_owner":"compute:nova",
            "fixed_ips":[{{"ip_address":{address}}}]}}"#
        )
    };
    let text = format!("{{\"ports\":[{},\n{},\n{},7]}}", port(1, "\"10.0.0.1\""), port(2, "5"), port(3, "\"10.0.0.3\""));
    let listing = Format::Neutron.read("f", text.as_bytes(), &Options::default()).unwrap();
    let ids: Vec<&str> = listing.hosts.iter().map(|host| host.id.as_str()).collect();
    assert_eq!(ids, ["vm-1", "vm-3"]);
    assert_eq!(
        listing.warnings,
        [
            "f: line 3, ports[1]: fixed_ips[0].ip_address: invalid type: integer `5`, expected a string",
            "f: line 6, ports[3]: invalid type: integer `7`, expected struct Port",
        ]
    );
}

#[test]
fn ports_of_one_server_are_one_host_and_what_nova_says_of_it_holds() {
    let port = |id: u32, up: bool| {
        format!(
            r#"{{"id":"p{id}","network_id":"net-{id}","mac_address":"fa:16:3e:00:00:{id:02}","device_id":"vm","device_owner":"compute:az1",
            "admin_state_up":{up},"project_id":"p","tags":["rollcall-policy=gold"],"fixed_ips":[{{"ip_address":"10.0.0.1"}}]}}"#
        )
    };
    let ports = format!("{{\"ports\":[{},{}]}} {{\"ports\":[{}]}}", port(1, true), port(2, true), port(3, false));
    let servers = r#"{"servers":[{"id":"vm","name":"web","status":"SHUTOFF","tenant_id":"p","metadata":{"tier":"web","note":""}}]}"#;
    let options = Options { servers: Some(("s".to_owned(), servers.as_bytes().to_vec())), ..Options::default() };
    let listing = Format::Neutron.read("f", ports.as_bytes(), &options).unwrap();
    let lines: Vec<String> = listing.hosts.iter().map(|host| serde_json::to_string(host).unwrap()).collect();
    assert_eq!(
        lines,
        [concat!(
            r#"{"id":"vm","name":"web","project":"p","tags":["rollcall-policy=gold","tier=web"],"monitor":"silent","addresses":["#,
            r#"{"network":"net-1","address":"10.0.0.1","mac":"fa:16:3e:00:00:01"},"#,
            r#"{"network":"net-2","address":"10.0.0.1","mac":"fa:16:3e:00:00:02"}]}"#
        )]
    );
    assert_eq!(listing.warnings, ["f: 1 address is left out: not watched as the other addresses of the same host are"]);
}

#[test]
fn owners_say_in_a_list_what_they_say_in_a_live_cloud_and_the_port_goes_before() {
    let monitor = |tag: &str, metadata: &str| {
        let ports = format!(
            r#"{{"ports":[{{"id":"p","network_id":"n","mac_address":"fa:16:3e:00:00:01","device_id":"vm","device_owner":"compute:x",
            "tags":["{tag}"],"fixed_ips":[{{"ip_address":"10.0.0.1"}}]}}]}}"#
        );
        let servers = format!(r#"{{"servers":[{{"id":"vm","status":"ACTIVE","metadata":{{"rollcall":"{metadata}"}}}}]}}"#);
        let options = Options { servers: Some(("s".to_owned(), servers.into_bytes())), ..Options::default() };
        Format::Neutron.read("f", ports.as_bytes(), &options).unwrap().hosts[0].monitor
    };
    for off in ["off", "OFF", "False", "no"] {
        assert_eq!(monitor("web", off), Monitor::Off, "{off}");
        assert_eq!(monitor(&format!("rollcall={off}"), "on"), Monitor::Off, "{off}");
        assert_eq!(monitor("rollcall=on", off), Monitor::On, "{off}");
    }
    assert_eq!(monitor("web", "perhaps"), Monitor::On);
}

#[test]
fn host_of_a_list_has_no_more_tags_than_a_table_holds() {
    let tags: Vec<String> = (0..300).map(|n| format!("\"t{n}\"")).collect();
    let list = format!(
        r#"{{"ports":[{{"id":"p","network_id":"n","mac_address":"fa:16:3e:00:00:01","device_id":" ","device_owner":"compute:x",
        "tags":[{}],"fixed_ips":[{{"ip_address":"10.0.0.1"}}]}}]}}"#,
        tags.join(",")
    );
    let listing = Format::Neutron.read("f", list.as_bytes(), &Options::default()).unwrap();
    assert_eq!((listing.hosts[0].id.as_str(), listing.hosts[0].tags.len()), ("p", 256));
    assert_eq!(listing.warnings, ["f: 1 host has more than 256 tags (first: \"p\" with 300): the others are left out"]);
}

#[test]
fn a_hundred_thousand_bad_records_are_a_few_warnings() {
    let bad = "{},".repeat(100_000);
    let good = r#"{"id":"p","network_id":"n","mac_address":"fa:16:3e:00:00:01","device_owner":"compute:x","fixed_ips":[{"ip_address":"10.0.0.1"}]}"#;
    let listing = Format::Neutron.read("f", format!("[{bad}{good}]").as_bytes(), &Options::default()).unwrap();
    assert_eq!((listing.hosts.len(), listing.warnings.len()), (1, 21));
    assert_eq!(listing.warnings[20], "f: ... and 99980 more warnings of this kind");
}

#[test]
fn a_yaml_bomb_is_refused() {
    let mut text = "- &a0 {targets: [10.0.0.1], labels: {network: n}}\n".to_owned();
    for level in 1..12 {
        let nine = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("- &a{level} {{targets: [10.0.0.1], labels: {{network: n, x: [{nine}]}}}}\n"));
    }
    let error = Format::Prometheus.read("f", text.as_bytes(), &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with("f: ") && error.len() < 500, "{error}");
    let deep = format!("- targets: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Format::Prometheus.read("f", deep.as_bytes(), &Options::default()).is_err());
}

#[test]
fn a_page_of_several_is_a_warning_for_people_and_an_error_for_who_removes_what_is_missing() {
    for (format, text) in [(Format::Neutron, PORTS), (Format::Nova, SAMPLES[3].1)] {
        let warnings = format.read("f", text.as_bytes(), &named("n")).unwrap().warnings;
        assert!(warnings[0].starts_with("f: this is one page of several"), "{warnings:?}");
        let error = format.read("f", text.as_bytes(), &Options { whole: true, ..named("n") }).unwrap_err().to_string();
        assert!(error.starts_with("f: one page of several, expected the whole list"), "{error}");
    }
}

#[test]
fn a_host_with_a_hundred_thousand_addresses_is_read_in_a_moment_and_each_is_taken_once() {
    let targets: Vec<String> = (0..100_000u32).map(|at| format!("\"10.{}.{}.{}:1\"", at >> 16, (at >> 8) & 255, at & 255)).collect();
    let groups: Vec<String> =
        targets.chunks(20_000).map(|some| format!("{{\"targets\":[{}],\"labels\":{{\"id\":\"h\"}}}}", some.join(","))).collect();
    let text = format!("[{},{}]", groups.join(","), groups[0]);
    let start = std::time::Instant::now();
    let listing = Format::Prometheus.read("f", text.as_bytes(), &named("n")).unwrap();
    assert_eq!(listing.hosts.len(), 1);
    assert_eq!(listing.hosts[0].addresses.len(), 100_000);
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn few_bytes_that_grow_to_many_are_refused() {
    let targets: Vec<String> = (0..40_000u32).map(|at| format!("\"10.0.{}.{}\"", at >> 8, at & 255)).collect();
    let labels: Vec<String> = (0..600).map(|at| format!("\"l{at}\":\"{}\"", "x".repeat(60))).collect();
    let text = format!("[{{\"targets\":[{}],\"labels\":{{{}}}}}]", targets.join(","), labels.join(","));
    let error = Format::Prometheus.read("f", text.as_bytes(), &named("n")).unwrap_err().to_string();
    let most = (64 << 20) + 4 * text.len();
    assert!(error.starts_with(&format!("f: hosts with more than {most} bytes of names and tags")), "{error}");
}

#[test]
fn an_address_that_a_record_has_twice_is_taken_once() {
    let text = r#"[{"ID":"p","MAC Address":"fa:16:3e:00:00:01","Device Owner":"compute:x",
        "Fixed IP Addresses":[{"ip_address":"10.0.0.1"},{"ip_address":"10.0.0.1"},{"ip_address":"::ffff:10.0.0.1"}]}]"#;
    let listing = Format::OpenstackPorts.read("f", text.as_bytes(), &named("n")).unwrap();
    assert_eq!(listing.hosts[0].addresses.len(), 1);
}

#[test]
fn a_network_that_was_named_and_is_not_there_is_told() {
    let options = Options { networks: Networks::parse(&["tenamt=blue".to_owned()]).unwrap(), ..Options::default() };
    let warnings = Format::Nova.read("f", SAMPLES[3].1.as_bytes(), &options).unwrap().warnings;
    let expected = "f: network \"blue\" is not used, for the list has no network or subnet \"tenamt\" (it has \"tenant\")";
    assert_eq!(warnings[1], expected);
}
