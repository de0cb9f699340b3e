//! A policy in a sheet: its settings, and what follows from them.

use humantime::format_duration;
use rollcall_agent::policy::Policy;

use crate::screen::Sheet;

/// Headings before and behind those of the caller's own columns.
const SETTINGS: [&str; 8] = ["POLICY", "METHOD", ">INTERVAL", ">TIMEOUT", ">CONFIRM", ">DOWN AFTER", ">UP AFTER", "ALARM"];
const CONSEQUENCES: [&str; 2] = [">DOWN WITHIN", ">FALSE DOWN"];

/// A sheet of policies, with more columns of the caller's own.
pub fn sheet(more: &[&'static str]) -> Sheet {
    Sheet::new(&[&SETTINGS[..], more, &CONSEQUENCES[..]].concat())
}

/// A row of it.
pub fn row(sheet: &mut Sheet, policy: &Policy, more: impl IntoIterator<Item = String>) {
    let settings = [
        policy.name.clone(),
        policy.method.to_string(),
        format_duration(policy.interval).to_string(),
        format_duration(policy.timeout).to_string(),
        format_duration(policy.confirm_interval).to_string(),
        policy.down().to_string(),
        policy.up().to_string(),
        policy.alarm.join(","),
    ];
    let consequences = [format_duration(policy.detection_bound()).to_string(), words(policy.false_down_rate(LOSS))];
    sheet.row(settings.into_iter().chain(more).chain(consequences));
}

/// The loss of round trips that false alarms are stated for.
pub const LOSS: f64 = 0.01;
/// What the column says.
pub const FALSE_DOWN: &str =
    "FALSE DOWN: the odds that the turn of a living address, one each interval, ends in down where 1 % of round trips are lost";

/// The odds that a round of a living address ends in a false `down`. Two digits are enough to compare policies by.
fn words(rate: f64) -> String {
    let one_in = rate.recip();
    if one_in >= 1e9 {
        return format!("1 in {one_in:.0e}");
    }
    let unit = 10f64.powf((one_in.log10().floor() - 1.0).max(0.0));
    let rounded = ((one_in / unit).round() * unit) as u64;
    let digits = rounded.to_string();
    let commas = digits.char_indices().map(|(at, digit)| match (digits.len() - at) % 3 {
        0 if at > 0 => format!(",{digit}"),
        _ => digit.to_string(),
    });
    format!("1 in {}", commas.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_have_two_digits_and_commas_between_thousands() {
        let texts = [1.0, 0.01, 1e-6, 6.1e-6, 0.027, 1.02e-10, 0.0].map(words);
        assert_eq!(texts, ["1 in 1", "1 in 100", "1 in 1,000,000", "1 in 160,000", "1 in 37", "1 in 1e10", "1 in inf"]);
    }
}
