//! What else happens in a storm: hosts that are stopped, agents that go blind or start again, hosts that flap.

use super::*;

#[test]
fn a_host_stopped_in_a_storm_is_told_by_nobody() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..25);
    cloud.run_s(2);
    assert!(cloud.downs().len() < 10, "they wait: {:?}", cloud.downs());
    let waiting: Vec<u32> = (0..25).filter(|who| !cloud.downs().contains(who)).collect();
    waiting.iter().for_each(|who| cloud.filter.forget(*who));
    cloud.run_s(20);
    assert!(waiting.iter().all(|who| !cloud.downs().contains(who)));
    // And one that an outage tells of.
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..100);
    cloud.run_s(10);
    (0..3).for_each(|who| cloud.filter.forget(who));
    cloud.revive(3..100);
    cloud.run_s(5);
    assert_eq!((cloud.over(), cloud.firing().len()), (1, 0));
}

#[test]
fn hosts_that_come_back_while_their_alarm_waits_are_nobodys_business() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..28);
    cloud.run_s(3);
    let told = cloud.downs().len();
    assert!(told < 10, "{told}");
    cloud.revive(0..28);
    cloud.run_s(10);
    // The last few of them are few enough to be alone again, for a moment.
    assert!(cloud.downs().len() <= told + 7 && cloud.firing().is_empty(), "{:?}", cloud.downs());
}

#[test]
fn an_agent_that_goes_blind_drops_what_waits_and_tells_it_when_it_sees_it_again() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..28);
    cloud.run_s(3);
    let told = cloud.downs().len();
    cloud.blind(0..100);
    cloud.run_s(30);
    assert_eq!(cloud.downs().len(), told, "no host alarm while it is blind");
    // It sees: 28 are down as before, long since; that is no storm of now, and each is told.
    let since = cloud.ms - 32_000;
    (0..28).for_each(|who| cloud.turn_since(who, Verdict::Down, since));
    (28..100).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.run_s(8);
    assert_eq!((cloud.firing().len(), cloud.outages().len()), (28, 0));
    cloud.revive(0..28);
    cloud.run_s(5);
    assert!(cloud.firing().is_empty());
}

#[test]
fn what_waits_in_a_network_that_the_agent_cannot_see_waits_until_it_can() {
    for network in ["net-a", ""] {
        let mut cloud = Cloud::new(100, SECOND);
        let now = |cloud: &Cloud| Mono::from_nanos(cloud.ms * 1_000_000);
        cloud.kill(0..28);
        cloud.run_s(3);
        let told = cloud.downs().len();
        let at = now(&cloud);
        cloud.filter.sight(network, false, at);
        // Verdicts of before the blindness that come late, too, and enough of them for an outage.
        cloud.kill(28..60);
        cloud.run_s(60);
        assert_eq!((cloud.downs().len(), cloud.outages().len()), (told, 0));
        cloud.revive(28..60);
        cloud.run_s(5);
        let at = now(&cloud);
        cloud.filter.sight(network, true, at);
        cloud.run_s(10);
        assert_eq!((cloud.firing(), cloud.outages().len()), ((0..28).collect(), 0));
        cloud.revive(0..28);
        cloud.run_s(1_300);
        assert!(cloud.firing().is_empty() && cloud.filter.is_idle());
    }
}

#[test]
fn what_was_told_before_blindness_ends_also_when_an_outage_takes_it_in_after_it() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill([0]);
    cloud.run_s(3);
    assert_eq!(cloud.firing(), [0].into());
    cloud.blind(0..100);
    cloud.run_s(5);
    let since = cloud.ms - 8_000;
    cloud.turn_since(0, Verdict::Down, since);
    (1..100).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.kill(1..100);
    cloud.run_s(10);
    assert_eq!(cloud.outages().len(), 1);
    cloud.revive(0..100);
    cloud.run_s(5);
    assert!(cloud.firing().is_empty());
}

#[test]
fn hosts_that_were_down_long_before_a_blip_of_the_link_make_no_outage() {
    let mut cloud = Cloud::new(60, SECOND);
    for who in 0..30 {
        cloud.kill([who]);
        cloud.run_s(30);
    }
    assert_eq!((cloud.downs().len(), cloud.outages().len()), (30, 0));
    cloud.run_s(200);
    cloud.blind(0..60);
    cloud.run_s(10);
    let since = cloud.ms - 300_000;
    (0..30).for_each(|who| cloud.turn_since(who, Verdict::Down, since));
    (30..60).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.run_s(10);
    assert_eq!(cloud.outages().len(), 0);
}

#[test]
fn a_new_death_in_a_network_whose_old_outage_still_lasts_is_told() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..40);
    cloud.run_s(300);
    assert_eq!((cloud.outages().len(), cloud.over()), (1, 0));
    cloud.kill([90]);
    cloud.run_s(3);
    assert!(cloud.firing().contains(&90), "the storm is over, though its hosts are not back");
    // And when the others fall as well that is another outage.
    cloud.kill(40..90);
    cloud.run_s(10);
    assert_eq!(cloud.outages().iter().map(|outage| outage.wave).collect::<Vec<_>>(), [1, 2]);
    cloud.revive(0..100);
    cloud.run_s(10);
    assert_eq!((cloud.over(), cloud.firing().len()), (2, 0));
}

#[test]
fn whoever_would_not_hear_of_the_outage_is_told_of_the_host() {
    let mut hosts = Cloud::new(100, SECOND).hosts;
    let other = Arc::new(Policy { alarm: vec!["customer".into()], ..policy(SECOND) });
    hosts[99].policy = other;
    let mut cloud = Cloud::of(hosts);
    cloud.kill(0..99);
    cloud.run_s(5);
    assert_eq!(cloud.outages()[0].routes, ["pager"]);
    cloud.kill([99]);
    cloud.run_s(8);
    assert!(cloud.downs().contains(&99));
}

#[test]
fn an_outage_pages_nobody_whose_hosts_answer_and_where_many_of_another_route_follow_they_are_its_next_wave() {
    let mut hosts = Cloud::new(400, SECOND).hosts;
    let other = Arc::new(Policy { alarm: vec!["customer".into()], ..policy(SECOND) });
    hosts[200..].iter_mut().for_each(|host| host.policy = other.clone());
    let mut cloud = Cloud::of(hosts);
    cloud.kill(0..180);
    cloud.run_s(5);
    assert_eq!(cloud.outages().iter().map(|outage| &outage.routes[..]).collect::<Vec<_>>(), [["pager"]]);
    let before = cloud.downs().len();
    cloud.kill(200..400);
    cloud.kill(180..200);
    cloud.run_s(10);
    let outages: Vec<(u32, &[String])> = cloud.outages().iter().map(|outage| (outage.wave, &outage.routes[..])).collect();
    assert_eq!(outages, [(1, &["pager".to_owned()][..]), (2, &["customer".to_owned()][..])]);
    assert_eq!(cloud.downs().len(), before, "nobody singly");
    assert_eq!(cloud.outages()[1].silent, 200);
    cloud.revive(0..400);
    cloud.run_s(10);
    assert_eq!((cloud.over(), cloud.firing().len()), (2, 0));
}

#[test]
fn an_outage_is_not_over_because_the_table_grew() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..50);
    cloud.run_s(10);
    let more = Cloud::new(1_000, SECOND).hosts.split_off(100);
    cloud.hosts.extend(more);
    cloud.count();
    cloud.census.tables += 1;
    cloud.run_s(60);
    assert_eq!((cloud.outages().len(), cloud.over()), (1, 0), "fifty are silent as before");
    cloud.revive(0..40);
    cloud.run_s(8);
    assert_eq!((cloud.over(), cloud.firing()), (1, (40..50).collect()));
}

#[test]
fn an_outage_ends_with_the_hosts_that_it_is_about_when_they_are_stopped() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..100);
    cloud.run_s(10);
    (0..80).for_each(|who| cloud.filter.forget(who));
    cloud.run_s(10);
    assert_eq!(cloud.over(), 0);
    (80..90).for_each(|who| cloud.filter.forget(who));
    cloud.run_s(8);
    assert_eq!((cloud.over(), cloud.firing()), (1, (90..100).collect()));
}

#[test]
fn an_outage_of_before_a_restart_goes_on_until_its_members_answer() {
    let until = |cloud: &Cloud, seconds: u64| Mono::from_nanos((cloud.ms + seconds * 1_000) * 1_000_000);
    let group = || Group::Network("net-a".into());
    // They are still silent: no second alarm, and none of their own.
    let mut cloud = Cloud::new(100, SECOND);
    let end = until(&cloud, 62);
    cloud.filter.resume_outage(group(), 1, 100, vec!["pager".into()], end);
    cloud.hosts.iter_mut().for_each(|host| host.verdict = Verdict::Pending);
    cloud.kill(0..100);
    cloud.run_s(200);
    assert_eq!(cloud.told, []);
    cloud.revive(5..100);
    cloud.run_s(9);
    assert_eq!((cloud.over(), cloud.firing()), (1, (0..5).collect()));
    // They came back meanwhile: it ends when that is sure.
    let mut cloud = Cloud::new(100, SECOND);
    let end = until(&cloud, 62);
    cloud.filter.resume_outage(group(), 1, 100, vec!["pager".into()], end);
    cloud.run_s(61);
    assert_eq!(cloud.over(), 0);
    cloud.run_s(2);
    assert!(matches!(&cloud.told[..], [(_, Told::Over { wave: 1, .. })]), "{:?}", cloud.told);
    assert!(cloud.filter.is_idle());
    // The agent is blind: it cannot say that it is over.
    let mut cloud = Cloud::new(100, SECOND);
    let end = until(&cloud, 62);
    cloud.filter.resume_outage(group(), 1, 100, vec!["pager".into()], end);
    cloud.blind(0..100);
    cloud.run_s(200);
    assert_eq!(cloud.over(), 0);
    (0..100).for_each(|who| cloud.turn(who, Verdict::Up));
    cloud.run_s(1);
    assert_eq!(cloud.over(), 1);
}

#[test]
fn one_that_flaps_is_told_once_and_when_it_is_stable_again() {
    let mut cloud = Cloud::new(100, SECOND);
    for _ in 0..20 {
        cloud.turn(0, Verdict::Suspect);
        cloud.run_s(1);
        cloud.turn(0, Verdict::Down);
        cloud.run_s(20);
        cloud.turn(0, Verdict::Up);
        cloud.run_s(20);
    }
    let kinds = |cloud: &Cloud| -> Vec<&str> {
        cloud
            .told
            .iter()
            .filter_map(|(_, told)| match told {
                Told::Down { .. } => Some("down"),
                Told::Up { .. } => None,
                Told::Flapping { .. } => Some("flapping"),
                Told::Stable { .. } => Some("stable"),
                Told::Outage { .. } | Told::Over { .. } => Some("outage"),
            })
            .collect()
    };
    assert_eq!(kinds(&cloud), ["down", "down", "down", "flapping"], "the sixth turn is its third return");
    cloud.run_s(620);
    assert_eq!(kinds(&cloud)[4..], ["stable"]);
    // Again, and this time it stays down.
    for _ in 0..6 {
        cloud.turn(0, Verdict::Down);
        cloud.run_s(10);
        cloud.turn(0, Verdict::Up);
        cloud.run_s(10);
    }
    cloud.turn(0, Verdict::Down);
    cloud.run_s(620);
    assert_eq!(kinds(&cloud)[5..], ["down", "down", "down", "flapping", "stable", "down"]);
    assert_eq!(cloud.firing(), [0].into());
    cloud.turn(0, Verdict::Up);
    assert!(cloud.firing().is_empty());
}

#[test]
fn a_network_that_goes_and_comes_again_and_again_makes_no_flapping_hosts() {
    let mut cloud = Cloud::new(200, SECOND);
    for _ in 0..8 {
        cloud.kill(0..200);
        cloud.run_s(20);
        cloud.revive(0..200);
        cloud.run_s(20);
    }
    let flapping = cloud.told.iter().filter(|(_, told)| matches!(told, Told::Flapping { .. })).count();
    assert!(flapping <= 5, "{flapping} of 200");
    assert_eq!((cloud.outages().len(), cloud.over()), (8, 8));
}

#[test]
fn a_tag_whose_size_is_not_known_yet_makes_its_hosts_wait_no_longer_than_the_hold() {
    let mut hosts = Cloud::new(10_000, SECOND).hosts;
    (0..6).for_each(|n| hosts[n * 300].tag = Some("hypervisor=slow".into()));
    let mut cloud = Cloud::of(hosts);
    cloud.census.silent = true;
    cloud.kill((0..6).map(|n| n * 300));
    cloud.run_s(8);
    assert_eq!(cloud.downs().len(), 6);
}
