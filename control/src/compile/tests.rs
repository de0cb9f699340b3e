use super::*;

const POLICIES: &str = r#"
[defaults]
[[policy]]
name = "by-id"
[policy.match]
id = "vm-9"
[[policy]]
name = "web"
method = "icmp"
[policy.match]
tags = ["web", "www"]
network = "red"
[[policy]]
name = "databases"
[policy.match]
name = "db-*"
[[policy]]
name = "late"
[policy.match]
tags = "web"
"#;

fn compile(hosts: &[&str], policies: &str) -> Result<Roll, Vec<String>> {
    let (mut list, mut mistakes) = (HostList::default(), Mistakes::default());
    for (at, hosts) in hosts.iter().enumerate() {
        list.read(&format!("h{at}"), hosts.as_bytes(), &mut mistakes);
    }
    let policies = PolicyFile::read("p", policies.as_bytes(), &mut mistakes);
    Roll::compile(list, policies, mistakes).map_err(|mistakes| mistakes.0.iter().map(ToString::to_string).collect())
}

fn choices(roll: &Roll) -> Vec<String> {
    roll.addresses
        .iter()
        .map(|address| {
            let row = &roll.list.rows[address.row as usize];
            format!("{} {}", row.address, roll.policy(address.policy).unwrap().name)
        })
        .collect()
}

#[test]
fn the_first_match_wins() {
    let roll = compile(
        &["id,name,network,address,tags\n\
           vm-1,x,red,10.0.0.1,web\n\
           vm-1,x,blue,10.0.0.1,\n\
           vm-2,db-1,blue,10.0.0.2,\n\
           vm-3,db-2,red,10.0.0.3,www\n\
           vm-4,,red,10.0.0.4,other\n\
           vm-9,db-9,red,10.0.0.9,web\n"],
        POLICIES,
    )
    .unwrap();
    assert_eq!(
        choices(&roll),
        ["10.0.0.1 web", "10.0.0.1 late", "10.0.0.2 databases", "10.0.0.3 web", "10.0.0.4 default", "10.0.0.9 by-id"]
    );
}

#[test]
fn rows_of_one_host_complete_each_other() {
    let roll = compile(
        &["id,network,address,tags\nvm-1,red,10.0.0.1,a\n", "id,name,project,network,address,tags\nvm-1,one,p,red,10.0.0.2,b\n"],
        "[defaults]",
    )
    .unwrap();
    let table = roll.table(3).unwrap();
    assert_eq!((table.hosts(), table.len(), table.generation()), (1, 2, 3));
    let host = table.host(0);
    assert_eq!((host.name(), host.project(), host.tags().collect::<Vec<_>>()), ("one", "p", vec!["a", "b"]));
}

#[test]
fn hosts_without_monitoring_are_left_out_and_counted() {
    let roll = compile(
        &["id,network,address,monitor\nvm-1,red,10.0.0.1,false\nvm-2,red,10.0.0.1,true\nvm-3,red,10.0.0.3,no\nvm-3,red,10.0.0.4,\n"],
        "[defaults]",
    )
    .unwrap();
    assert_eq!((roll.left_out, roll.rows_left_out), (1, 2));
    assert_eq!(choices(&roll), ["10.0.0.1 default", "10.0.0.4 default"], "the address of a host left out is free");
    assert_eq!(roll.table(0).unwrap().find_host("vm-1"), None);
}

#[test]
fn what_is_wrong_between_rows_is_found_beside_what_is_wrong_in_them() {
    let mistakes = compile(
        &[
            "id,name,project,network,address\nvm-1,one,p,red,10.0.0.1\nvm-2,two,p,red,bad\nvm-1,uno,q,red,10.0.0.2\n",
            "id,network,address\nvm-7,red,10.0.0.1\nvm-8,red,10.0.0.1\nvm-8,blue,10.0.0.1\n",
        ],
        "[defaults]",
    )
    .unwrap_err();
    assert_eq!(
        mistakes,
        [
            "h0:3: address: found \"bad\", allowed: one IPv4 or IPv6 address without a prefix length, such as 10.0.0.7 or 2001:db8::7",
            "h0:4: name: found \"uno\", allowed: the same in all rows of host \"vm-1\" (\"one\" in h0:2)",
            "h0:4: project: found \"q\", allowed: the same in all rows of host \"vm-1\" (\"p\" in h0:2)",
            "h1:2: address: found 10.0.0.1 in network \"red\" again (host \"vm-7\"), allowed: each address once in a network; it is in h0:2 (host \"vm-1\")",
            "h1:3: address: found 10.0.0.1 in network \"red\" again (host \"vm-8\"), allowed: each address once in a network; it is in h0:2 (host \"vm-1\")",
        ]
    );
}

#[test]
fn a_host_that_nothing_matches_needs_defaults() {
    let hosts = "id,network,address\nvm-1,red,10.0.0.1\n";
    let only_blue = "[[policy]]\nname=\"b\"\nmatch = { network = \"blue\" }\n";
    assert_eq!(
        compile(&[hosts], only_blue).unwrap_err(),
        [
            "h0:2: policy: found no policy in p for host \"vm-1\", allowed: a [[policy]] that matches it, or [defaults] for hosts that nothing matches"
        ]
    );
    assert!(compile(&[hosts], &format!("[defaults]\n{only_blue}")).is_ok());
}

#[test]
fn host_that_is_expected_to_be_silent_is_not_probed_where_its_policy_says_stop_and_slowly_elsewhere() {
    let hosts = "id,network,address,monitor\nvm-1,red,10.0.0.1,true\nvm-2,red,10.0.0.2,silent\nvm-3,blue,10.0.0.3,silent\n";
    let policies = |silence: &str| {
        format!("[defaults]\nexpected_silent = \"5m\"\n[[policy]]\nname = \"r\"\n{silence}\nmatch = {{ network = \"red\" }}\n")
    };
    let of = |silence: &str| {
        let table = compile(&[hosts], &policies(silence)).unwrap().table(0).unwrap();
        let probed = |(network, address): (&str, &str)| {
            let record = &table.records()[table.find(network, address.parse().unwrap())? as usize];
            let policy = &table.policies()[usize::from(record.policy())];
            Some(format!("{} {} {}", policy.name, policy.interval.as_secs(), policy.alarm.len()))
        };
        [("red", "10.0.0.1"), ("red", "10.0.0.2"), ("blue", "10.0.0.3")].map(probed).map(Option::unwrap_or_default)
    };
    assert_eq!(of("expected_silent = \"stop\""), ["r 1 1", "", "default+expected-silent 300 0"]);
    assert_eq!(of(""), ["r 1 1", "r+expected-silent 300 0", "default+expected-silent 300 0"]);
    // For all.
    let all = "[defaults]\nexpected_silent = \"stop\"\n";
    assert_eq!(choices(&compile(&[hosts], all).unwrap()), ["10.0.0.1 default"]);
}

#[test]
fn rows_in_any_order_and_any_files_compile_to_the_same_bytes() {
    let rows = ["vm-2,red,10.0.0.2", "vm-1,red,10.0.0.1", "vm-1,blue,10.0.0.1"];
    let text = |rows: &[&str]| format!("id,network,address\n{}\n", rows.join("\n"));
    let one = compile(&[&text(&rows)], "[defaults]").unwrap().table(0).unwrap();
    let two = compile(&[&text(&rows[2..]), &text(&[rows[1], rows[0]])], "[defaults]").unwrap().table(0).unwrap();
    assert_eq!(one.bytes(), two.bytes());
}
