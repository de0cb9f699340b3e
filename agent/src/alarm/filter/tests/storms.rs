//! When many are one alarm, and when each is told.

use super::*;

#[test]
fn one_that_dies_alone_is_told_the_moment_it_is_down() {
    for hosts in [1, 20, 100, 10_000] {
        let mut cloud = Cloud::new(hosts, SECOND);
        cloud.kill([0]);
        let down = cloud.ms + cloud.phase(0) + 700;
        cloud.run_s(5);
        assert_eq!(
            cloud.told,
            [(down, Told::Down { who: 0, fall: Fall { at_ms: down, since_ms: down - 700, last_reply_ms: None, misses: 3 } })]
        );
        cloud.revive([0]);
        cloud.run_s(2);
        assert!(matches!(cloud.told[1], (_, Told::Up { who: 0, .. })), "{:?}", cloud.told);
        cloud.run_s(700);
        assert!(cloud.filter.is_idle() && cloud.filter.is_empty(), "nothing is left of it");
    }
}

#[test]
fn several_that_die_alone_within_a_large_network_wait_for_nobody() {
    let mut cloud = Cloud::new(10_000, SECOND);
    let dead: Vec<u32> = (0..37).map(|n| n * 270 + 5).collect();
    cloud.kill(dead.clone());
    cloud.run_s(3);
    assert_eq!(cloud.told.len(), 37);
    for (at, told) in &cloud.told {
        assert!(matches!(told, Told::Down { fall, .. } if fall.at_ms == *at), "{told:?} at {at}");
    }
}

#[test]
fn a_network_that_falls_silent_is_one_alarm_whatever_its_size_and_interval() {
    for (hosts, interval) in [(20, 1), (21, 5), (100, 1), (1000, 1), (1000, 10), (5000, 60), (2000, 300)] {
        let mut cloud = Cloud::new(hosts, Duration::from_secs(interval));
        cloud.kill(0..hosts);
        cloud.run_s(2 * interval + 10);
        let outages = cloud.outages();
        assert_eq!(outages.len(), 1, "{hosts} hosts every {interval} s: {outages:?}");
        let Outbreak { group, silent, watched, hosts: named, wave, routes, .. } = outages[0];
        assert_eq!((group, *watched, *wave, &routes[..]), (&Group::Network("net-a".into()), hosts, 1, &["pager".to_owned()][..]));
        assert!(*silent >= 20 && *silent > hosts * 3 / 10, "{silent} of {hosts}");
        if interval <= 5 {
            assert_eq!(*silent, hosts, "nobody counts them while they still fall");
        }
        assert_eq!(named.len(), (*silent).min(100) as usize);
        // Before so many are silent that it cannot be chance those that fell are alone.
        let singly = cloud.downs().len();
        let few = if interval <= 60 { 7 } else { hosts as usize / 8 };
        assert!(singly <= few, "{hosts} hosts every {interval} s: {singly} told singly");
        cloud.revive(0..hosts);
        cloud.run_s(2 * interval + 5);
        assert_eq!((cloud.over(), cloud.firing().len()), (1, 0), "{hosts} hosts every {interval} s");
        cloud.run_s(1200);
        assert!(cloud.filter.is_idle(), "nothing is left of it");
    }
}

#[test]
fn nineteen_of_twenty_in_a_tiny_network_are_told_one_by_one_soon() {
    let mut cloud = Cloud::new(20, SECOND);
    cloud.kill(0..19);
    cloud.run_s(8);
    assert_eq!((cloud.downs().len(), cloud.outages().len()), (19, 0));
    let latest =
        cloud.told.iter().filter_map(|(at, told)| if let Told::Down { fall, .. } = told { Some(at - fall.at_ms) } else { None }).max();
    assert!(latest.unwrap() <= 5_000 + TICK, "{latest:?}");
}

#[test]
fn fewer_than_the_share_are_told_one_by_one_and_no_later_than_the_hold() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..30);
    cloud.run_s(8);
    assert_eq!((cloud.downs().len(), cloud.outages().len()), (30, 0), "30 of 100 are not more than 30 %");
    cloud.kill(30..31);
    cloud.run_s(3);
    assert_eq!(cloud.outages().len(), 1);
    assert_eq!(cloud.outages()[0].silent, 31, "those that were told before count too");
}

#[test]
fn a_hypervisor_that_dies_is_one_alarm_of_its_tag() {
    let mut hosts = Cloud::new(1000, SECOND).hosts;
    // Forty guests, over all subnets.
    for n in (0..1000).step_by(25) {
        hosts[n].tag = Some("hypervisor=big".into());
    }
    let mut cloud = Cloud::of(hosts);
    cloud.kill((0..1000).step_by(25));
    cloud.run_s(4);
    let outages = cloud.outages();
    assert_eq!(outages.len(), 1, "{outages:?}");
    assert_eq!((&outages[0].group, outages[0].watched), (&Group::Tag("hypervisor=big".into()), 40));
    assert!(cloud.downs().len() <= 5, "{:?}", cloud.downs());
}

#[test]
fn a_subnet_that_dies_in_a_large_network_is_one_alarm_of_the_subnet() {
    let mut cloud = Cloud::new(10_000, SECOND);
    cloud.kill(512..768);
    cloud.run_s(7);
    let outages = cloud.outages();
    assert_eq!(outages.len(), 1, "{outages:?}");
    assert_eq!(outages[0].group.name(), "10.0.2.0/24");
    assert!(cloud.downs().len() <= 5, "{:?}", cloud.downs());
    // Its neighbours are told as ever meanwhile.
    cloud.kill([9_000]);
    cloud.run_s(3);
    assert!(cloud.firing().contains(&9_000));
}

#[test]
fn a_network_of_many_subnets_that_dies_is_one_alarm_and_not_one_for_each_subnet() {
    let mut cloud = Cloud::new(20_000, Duration::from_secs(2));
    cloud.kill(0..20_000);
    cloud.run_s(10);
    let outages = cloud.outages();
    assert_eq!(outages.len(), 1, "{:?}", outages.iter().map(|outage| &outage.group).collect::<Vec<_>>());
    assert_eq!(outages[0].group, Group::Network("net-a".into()));
    assert!(cloud.downs().is_empty(), "{} told singly", cloud.downs().len());
}

#[test]
fn those_still_silent_when_an_outage_is_over_are_told_one_by_one() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..100);
    cloud.run_s(10);
    let before = cloud.downs().len();
    cloud.revive(8..100);
    cloud.run_s(3);
    assert_eq!(cloud.over(), 0, "those that come back do so one after the other");
    cloud.run_s(5);
    assert_eq!(cloud.over(), 1);
    assert_eq!(cloud.firing(), (0..8).collect(), "each of them once");
    assert_eq!(cloud.downs().len(), cloud.downs().iter().collect::<BTreeSet<_>>().len());
    assert!(before <= 5);
    cloud.revive(0..8);
    cloud.run_s(3);
    assert!(cloud.firing().is_empty());
}

#[test]
fn an_outage_lasts_until_fewer_than_half_the_share_are_silent() {
    let mut cloud = Cloud::new(100, SECOND);
    cloud.kill(0..100);
    cloud.run_s(10);
    cloud.revive(15..100);
    cloud.run_s(30);
    assert_eq!(cloud.over(), 0, "15 of 100 are half the share");
    cloud.revive(14..15);
    cloud.run_s(8);
    assert_eq!(cloud.over(), 1);
}
