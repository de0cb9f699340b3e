//! Bad calls: each gets a clear error, and the agent goes on with what it has.

use reqwest::{Method, StatusCode};
use rollcall_agent::api::Problem;
use rollcall_agent::table::Delta;
use rollcall_agent::unit::Verdict;
use rollcall_agent_ebpf::fleet::Behaviour;
use rollcall_tests::fleet::Mode;

use crate::stage::{Stage, cloud, transmit};

#[test]
fn bad_calls_are_refused_and_the_running_table_stays() {
    let Some(stage) = Stage::new("bad", cloud(20, 0), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        let table = stage.table(10, 0);
        stage.push(&agent, &table.with_generation(7)).await?;
        stage.until(&mut agent, Verdict::Up, 10).await?;
        let before = agent.status().await?;

        let good = stage.table(20, 0);
        let flip = |at: usize| {
            let mut bytes = good.bytes().to_vec();
            bytes[at] ^= 0x40;
            bytes
        };
        let delta = Delta::between(&stage.table(5, 0), &good);
        let tables: Vec<(&str, Vec<u8>, StatusCode)> = vec![
            ("nothing", vec![], StatusCode::BAD_REQUEST),
            ("text", b"id,network,address\n".to_vec(), StatusCode::BAD_REQUEST),
            ("half a table", good.bytes()[..good.bytes().len() / 2].to_vec(), StatusCode::BAD_REQUEST),
            ("a table without its last byte", good.bytes()[..good.bytes().len() - 1].to_vec(), StatusCode::BAD_REQUEST),
            ("a table and more", [good.bytes(), b"x"].concat(), StatusCode::BAD_REQUEST),
            ("another magic", flip(0), StatusCode::BAD_REQUEST),
            ("another version", flip(8), StatusCode::BAD_REQUEST),
            ("a flipped bit in the middle", flip(good.bytes().len() / 2), StatusCode::BAD_REQUEST),
            ("an older generation", good.with_generation(6).bytes().to_vec(), StatusCode::CONFLICT),
            ("the same generation with another content", good.with_generation(7).bytes().to_vec(), StatusCode::CONFLICT),
            ("a delta against another table", delta.bytes().to_vec(), StatusCode::CONFLICT),
            ("half a delta", delta.bytes()[..delta.bytes().len() / 2].to_vec(), StatusCode::BAD_REQUEST),
        ];
        for (what, bytes, expected) in tables {
            let (status, body) = stage.put(&agent, &bytes).await?;
            assert_eq!(status, expected, "{what}: {body}");
            let problem: Problem = serde_json::from_str(&body)?;
            assert!(problem.error.len() > 20, "{what}: {problem:?}");
            println!("{what}: {}", problem.error);
        }

        let json = "application/json";
        let calls: Vec<(&str, Method, &str, &str, &str, u16)> = vec![
            ("stop of nobody", Method::POST, "/v1/stop", json, r#"{"hosts": []}"#, 400),
            ("stop without hosts", Method::POST, "/v1/stop", json, "{}", 400),
            ("stop with a typing error", Method::POST, "/v1/stop", json, r#"{"host": ["a"]}"#, 400),
            ("stop that is no JSON", Method::POST, "/v1/stop", json, "vm-1", 400),
            ("stop of numbers", Method::POST, "/v1/stop", json, r#"{"hosts": [1]}"#, 400),
            ("stop without a content type", Method::POST, "/v1/stop", "text/plain", r#"{"hosts": ["a"]}"#, 400),
            ("a verdict that is none", Method::GET, "/v1/hosts?verdict=dead", "", "", 400),
            ("a filter that is none", Method::GET, "/v1/hosts?tenant=a", "", "", 400),
            ("a limit that is none", Method::GET, "/v1/hosts?limit=-1", "", "", 400),
            ("a format that is none", Method::GET, "/v1/hosts?format=xml", "", "", 400),
            ("a host that is none", Method::GET, "/v1/hosts/nobody", "", "", 404),
            ("a call that is none", Method::GET, "/v2/hosts", "", "", 404),
            ("DELETE of a host", Method::DELETE, "/v1/hosts/vm-000001", "", "", 405),
            ("POST of a table", Method::POST, "/v1/table", "", "", 405),
        ];
        for (what, method, path, kind, body, expected) in calls {
            let call = stage.client.request(method, format!("{}{path}", agent.url()));
            let call = if kind.is_empty() { call } else { call.header("content-type", kind) };
            let response = call.body(body).send().await?;
            let (status, text) = (response.status(), response.text().await?);
            assert_eq!(status.as_u16(), expected, "{what}: {text}");
            let problem: Problem = serde_json::from_str(&text).map_err(|error| anyhow::anyhow!("{what}: {error}: {text}"))?;
            println!("{what}: {}", problem.error);
        }

        let after = agent.status().await?;
        assert_eq!((after.generation, &after.digest, after.addresses), (7, &before.digest, 10));
        stage.until(&mut agent, Verdict::Up, 10).await?;
        assert_eq!(stage.push(&agent, &good).await?.generation, 8, "a good one is taken as ever");
        Ok(())
    });
}

#[test]
fn host_in_plain_words_names_who_said_what() {
    let Some(stage) = Stage::new("evidence", cloud(5, 5), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "").await?;
        stage.push(&agent, &stage.table(5, 5)).await?;
        stage.until(&mut agent, Verdict::Up, 10).await?;
        let fleet = stage.lab.fleet();
        // rt-000001: the gateway says that it is unreachable. vm-000002 is silent, and 3 answers from another MAC.
        fleet.change(6, |behaviour| behaviour.with(Behaviour::UNREACHABLE, true));
        fleet.kill(2);
        fleet.change(3, |behaviour| behaviour.with(Behaviour::WRONG_MAC, true));
        stage.until(&mut agent, Verdict::Down, 3).await?;
        let address = stage.until_host(&agent, "rt-000001", Verdict::Down).await?.addresses.remove(0);
        let evidence = address.evidence.clone().unwrap_or_else(|| panic!("{address:?}"));
        assert_eq!((evidence.from.to_string().as_str(), evidence.kind, evidence.code), ("10.128.0.2", 3, 1));
        let said = |address: &rollcall_agent::api::AddressDetail, part: &str| address.explanation.iter().any(|line| line.contains(part));
        assert!(said(&address, "10.128.0.2 said at") && said(&address, "host unreachable (type 3, code 1)"), "{address:?}");
        assert!(address.last_reply.is_some() && said(&address, "the last probe that it answered was sent at"), "{address:?}");
        let silent = stage.until_host(&agent, "vm-000002", Verdict::Down).await?.addresses.remove(0);
        assert!(silent.evidence.is_none() && said(&silent, "2 answers in a row would make it up"), "{silent:?}");
        let taken = stage.until_host(&agent, "vm-000003", Verdict::Down).await?.addresses.remove(0);
        assert!(said(&taken, "another MAC, 02:57:0a:80:01:03, answered"), "{taken:?}");
        // Once it answers again the word of the gateway is history.
        fleet.change(6, |behaviour| behaviour.with(Behaviour::UNREACHABLE, false));
        let address = stage.until_host(&agent, "rt-000001", Verdict::Up).await?.addresses.remove(0);
        assert_eq!(address.evidence, None);
        Ok(())
    });
}

#[test]
fn changing_calls_need_the_token_where_one_is_set() {
    let Some(stage) = Stage::new("token", cloud(5, 0), Mode::Native) else { return };
    let file = stage.path("token");
    std::fs::write(&file, "0123456789abcdef0123\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    stage.play(async {
        let agent = stage.agent(None, &format!("token_file = {file:?}")).await?;
        let table = stage.table(5, 0);
        let put = |token: Option<&str>| {
            let call = stage.client.put(format!("{}/v1/table", agent.url())).body(table.bytes().to_vec());
            match token {
                Some(token) => call.bearer_auth(token),
                None => call,
            }
        };
        assert_eq!(put(None).send().await?.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(put(Some("0123456789abcdef0124")).send().await?.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(stage.stop(&agent, &["vm-000001"]).await?.0, StatusCode::UNAUTHORIZED);
        assert_eq!(agent.status().await?.generation, 0);
        assert_eq!(put(Some("0123456789abcdef0123")).send().await?.status(), StatusCode::OK);
        assert_eq!(agent.get("/v1/hosts").await?.0, StatusCode::OK, "reading needs none");
        Ok(())
    });
}

#[test]
fn lists_filters_csv_events_and_metrics_say_the_same() {
    let Some(stage) = Stage::new("lists", cloud(40, 5), Mode::Native) else { return };
    stage.play(async {
        let mut agent = stage.agent(None, "metrics_max_abnormal = 2").await?;
        let events = stage.client.get(format!("{}/v1/events", agent.url())).send().await?;
        stage.push(&agent, &stage.table(40, 5)).await?;
        stage.until(&mut agent, Verdict::Up, 45).await?;
        (1..=5).for_each(|station| stage.lab.fleet().kill(station));
        stage.until(&mut agent, Verdict::Down, 5).await?;

        let list: Vec<rollcall_agent::api::AddressReport> = serde_json::from_str(&agent.get("/v1/hosts").await?.1)?;
        assert_eq!(list.len(), 45);
        let down: Vec<rollcall_agent::api::AddressReport> = serde_json::from_str(&agent.get("/v1/hosts?verdict=down").await?.1)?;
        assert_eq!(
            down.iter().map(|report| report.id.as_str()).collect::<Vec<_>>(),
            ["vm-000001", "vm-000002", "vm-000003", "vm-000004", "vm-000005"]
        );
        let csv = agent.get("/v1/hosts?verdict=down&format=csv&limit=3").await?.1;
        assert_eq!(csv.lines().count(), 4, "{csv}");
        assert!(csv.lines().nth(1).unwrap().starts_with("vm-000001,web-1,shop,lab,10.128.1.1,02:52:0a:80:01:01,near,arp,down,,"), "{csv}");
        let none: Vec<rollcall_agent::api::AddressReport> = serde_json::from_str(&agent.get("/v1/hosts?network=other").await?.1)?;
        assert!(none.is_empty());
        assert_eq!(agent.host("10.128.1.7").await?.unwrap().id, "vm-000007", "an address will do");

        let metrics = agent.get("/metrics").await?.1;
        assert!(metrics.trim_end().ends_with("# EOF"), "OpenMetrics ends so");
        let value = |series: &str| metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok());
        for family in ["rollcall_probes_late_total{over=\"10ms\"}", "rollcall_engine_pause_seconds_bucket{le=\"0.005\"}"] {
            assert!(value(family).is_some(), "{family}: {metrics}");
        }
        assert!(metrics.contains("\nrollcall_engine_pause_max_seconds "), "{metrics}");
        for histogram in ["rollcall_probe_lateness_seconds", "rollcall_rtt_seconds"] {
            let labels = if histogram.contains("rtt") { r#"network="lab",policy="near""# } else { "" };
            let (open, comma) = if labels.is_empty() { (String::new(), "") } else { (format!("{{{labels}}}"), ",") };
            let count = value(&format!("{histogram}_count{open}"));
            let all = value(&format!("{histogram}_bucket{{le=\"+Inf\"{comma}{labels}}}"));
            assert!(count.is_some_and(|count| count > 0) && count == all, "{histogram}: {count:?}, in buckets {all:?}");
        }
        assert_eq!(metrics.lines().filter(|line| line.starts_with("rollcall_address_verdict{")).count(), 2);
        assert!(metrics.contains("rollcall_abnormal_addresses_suppressed 3"), "the cap is visible");
        assert!(metrics.contains(r#"rollcall_addresses{network="lab",policy="near",verdict="down"} 5"#), "{metrics}");
        let (network, transmit) = (r#"network="lab",interface="rc-agent""#, transmit());
        let datapath = format!(r#"rollcall_datapath_info{{{network},transmit="{transmit}",receive="xdp-native"}} 1"#);
        assert!(metrics.contains(&datapath), "{metrics}");

        agent.terminate().await?;
        let text = events.text().await.unwrap_or_default();
        let down = text.lines().filter(|line| line.contains(r#""to":"down""#)).count();
        assert_eq!(down, 5, "the stream told of each, and ended with the agent: {text}");
        Ok(())
    });
}
