use super::*;

fn read(text: &str) -> (PolicyFile, Vec<String>) {
    let mut mistakes = Mistakes::default();
    let file = PolicyFile::read("p", text.as_bytes(), &mut mistakes);
    (file, mistakes.0.iter().map(ToString::to_string).collect())
}

#[test]
fn a_policy_takes_its_own_settings_then_the_defaults_then_the_built_in_ones() {
    let (file, mistakes) = read(
        r#"
        [defaults]
        interval = "2s"
        alarm = ["log", "pager"]
        [[policy]]
        name = "gold"
        interval = "100ms"
        method = "icmp"
        [policy.match]
        tags = ["gold", "tier=1"]
        name = "db-*"
        [[policy]]
        name = "slow"
        timeout = "1s"
        alarm = []
        "#,
    );
    assert_eq!(mistakes, [] as [&str; 0]);
    let milliseconds = |policy: &Policy| [policy.interval, policy.timeout, policy.confirm_interval].map(|duration| duration.as_millis());
    let [gold, slow] = &file.rules[..] else { panic!("{file:?}") };
    assert_eq!(milliseconds(&gold.policy), [100, 100, 100], "shortened to what the interval leaves");
    assert_eq!((gold.policy.method, &gold.policy.alarm[..]), (Method::Icmp, &["log".into(), "pager".into()][..]));
    assert_eq!((gold.line, gold.condition.tags.len()), (5, 2));
    assert!(gold.condition.name[0].fits("db-1/x") && !gold.condition.name[0].fits("web"));
    assert_eq!(milliseconds(&slow.policy), [2000, 1000, 500], "lengthened to half the timeout");
    assert!(slow.policy.alarm.is_empty() && slow.condition.is_open());
    let fallback = file.fallback.unwrap();
    assert_eq!((fallback.name.as_str(), milliseconds(&fallback)), ("default", [2000, 300, 200]));
    assert_eq!((fallback.down_after, fallback.up_after), (3, 2));
}

#[test]
fn a_window_of_the_defaults_goes_with_the_count_that_it_was_given_for() {
    let (file, mistakes) = read(
        r#"
        [defaults]
        down_after = 3
        down_of = 5
        up_of = 4
        [[policy]]
        name = "same"
        [[policy]]
        name = "quick"
        down_after = 2
        up_after = 3
        [[policy]]
        name = "wide"
        down_of = 8
        "#,
    );
    assert_eq!(mistakes, [] as [&str; 0]);
    let windows: Vec<_> = file.rules.iter().map(|rule| [rule.policy.down(), rule.policy.up()].map(|quorum| quorum.to_string())).collect();
    assert_eq!(windows, [["3 of 5", "2 of 4"], ["2", "3"], ["3 of 8", "2 of 4"]]);
}

#[test]
fn without_defaults_there_is_no_default_policy() {
    let (file, mistakes) = read("[[policy]]\nname = \"all\"\n");
    assert!(mistakes.is_empty() && file.fallback.is_none());
    let (_, mistakes) = read("");
    assert_eq!(mistakes, ["p: policy: found nothing, allowed: at least one [[policy]], or [defaults]"]);
}

#[test]
fn a_bad_default_is_one_mistake_however_many_policies_inherit_it() {
    let (_, mistakes) = read("[defaults]\n\ninterval = \"50ms\"\n[[policy]]\nname = \"a\"\n[[policy]]\nname = \"b\"\n");
    assert_eq!(mistakes, ["p:3: defaults: interval: found 50ms, allowed: 100ms to 1day, whole milliseconds"]);
}

#[test]
fn a_default_that_does_not_fit_one_policy_is_told_at_that_policy() {
    let (_, mistakes) = read("[defaults]\ntimeout = \"800ms\"\n[[policy]]\nname = \"a\"\ninterval = \"500ms\"\n");
    assert_eq!(
        mistakes,
        ["p:3: policy \"a\": timeout: found 800ms, allowed: 1ms to 1m and at most the interval (500ms), whole milliseconds"]
    );
}
