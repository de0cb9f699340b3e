use super::*;

fn read(text: &str) -> (HostList, Vec<String>) {
    let (mut list, mut mistakes) = (HostList::default(), Mistakes::default());
    list.read("f", text.as_bytes(), &mut mistakes);
    (list, mistakes.0.iter().map(ToString::to_string).collect())
}

/// A row as text.
fn rows(list: &HostList) -> Vec<String> {
    list.rows
        .iter()
        .map(|row| {
            format!(
                "{} {}|{}|{}|{}|{}|{}|{}|{}",
                row.place.line,
                list.id(row),
                list.name(row),
                list.strings.text(row.project),
                list.strings.text(row.network),
                row.address,
                row.mac.map_or("-".into(), |mac| mac.to_string()),
                list.tags(row.tags).collect::<Vec<_>>().join("+"),
                row.monitor.name()
            )
        })
        .collect()
}

#[test]
fn csv_columns_come_in_any_order_and_case() {
    let (list, mistakes) = read(
        "\u{feff}Address, network ,ID,name,tags,monitor,extra,mac,project\n\
         10.0.0.1,red,vm-1,\"one, the first\", b; a;;b ,no,x,FA-16-3E-00-00-01,p\n\
         \n\
         2001:DB8::1,red,vm-1,\"two\nlines\",,,,,\n\
         10.0.0.3,red,vm-3,,,,,,\n",
    );
    assert_eq!(rows(&list), ["2 vm-1|one, the first|p|red|10.0.0.1|fa:16:3e:00:00:01|a+b|false", "6 vm-3|||red|10.0.0.3|-||true"]);
    assert_eq!(mistakes, [r#"f:4: name: found "two\nlines", allowed: 0 to 1024 bytes without control characters"#]);
    assert_eq!(
        list.warnings,
        [r#"f:1: column "extra" is not known and ignored (known: id, name, project, network, address, mac, tags, monitor)"#]
    );
}

#[test]
fn all_mistakes_of_a_row_and_of_a_file_are_reported_at_once() {
    let (list, mistakes) = read("id,network,address,mac,monitor\n,,x,y,z\nvm,red,10.0.0.1,,\nvm,red,10.0.0.300,,\n");
    assert_eq!(list.rows.len(), 1);
    let fields: Vec<_> = mistakes.iter().map(|m| m.split(": found").next().unwrap()).collect();
    assert_eq!(fields, ["f:2: id", "f:2: network", "f:2: address", "f:2: mac", "f:2: monitor", "f:4: address"]);
}

#[test]
fn json_lines_and_a_json_array_say_the_same() {
    let first =
        r#"{"id":"vm-1","name":"one","project":"p","network":"red","address":"10.0.0.1","mac":"fa:16:3e:00:00:01","tags":["b","a"]}"#;
    let second = r#"{"id":"vm-2","network":"red","addresses":[{"address":"10.0.0.2"},{"network":"blue","address":"10.0.0.2","mac":null}],"monitor":false}"#;
    let expected = ["vm-1|one|p|red|10.0.0.1|fa:16:3e:00:00:01|a+b|true", "vm-2|||red|10.0.0.2|-||false", "vm-2|||blue|10.0.0.2|-||false"];
    for (text, lines) in [
        (format!("{first}\n\n{second}\n"), ["1", "3", "3"]),
        (format!("[\n{first},\n{second}\n]"), ["2", "3", "3"]),
        (format!("[{first}, {second}]"), ["1", "1", "1"]),
    ] {
        let (list, mistakes) = read(&text);
        assert_eq!(mistakes, [] as [&str; 0]);
        let expected: Vec<String> = lines.iter().zip(expected).map(|(line, row)| format!("{line} {row}")).collect();
        assert_eq!(rows(&list), expected, "{text}");
    }
}

#[test]
fn json_of_the_wrong_kind_is_named() {
    let (_, mistakes) = read(
        "{\"id\":7,\"network\":\"red\",\"address\":\"10.0.0.1\"}\n\
         {\"id\":\"a\",\"network\":\"red\",\"addresses\":[]}\n\
         {\"id\":\"a\",\"network\":\"red\",\"address\":\"10.0.0.1\",\"tags\":\"web\",\"monitor\":\"yes\"}\n\
         {\"id\":\"a\"\n",
    );
    assert_eq!(
        mistakes,
        [
            "f:1: id: found 7 (a number), allowed: a string",
            "f:2: addresses: found an empty array, allowed: an array of at least one {network, address, mac}",
            "f:3: tags: found \"web\" (a string), allowed: an array of strings, such as [\"web\", \"tier=1\"]",
            "f:3: monitor: found \"yes\" (a string), allowed: true, false or \"silent\" (nothing means true)",
            "f:4: JSON: found EOF while parsing an object (column 9), allowed: one JSON object on each line",
        ]
    );
}
