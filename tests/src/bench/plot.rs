//! Lines over logarithmic axes, as SVG.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// One diagram.
pub(super) struct Panel {
    pub(super) title: String,
    /// Each with its name.
    pub(super) series: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
/// Told apart also by those who see no difference of red and green.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// The panels, one below the other. What is not above zero has no place on a logarithmic axis and is left out.
pub(super) fn svg(panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let _ = writeln!(text, "<g transform=\"translate(0 {})\">", HEIGHT * index as f64);
        draw(panel, &mut text);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

fn draw(panel: &Panel, text: &mut String) {
    let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>", escaped(&panel.title));
    let points = || panel.series.iter().flat_map(|(_, points)| points).filter(|(x, y)| *x > 0.0 && *y > 0.0);
    let (Some(across), Some(up)) = (decades(points().map(|(x, _)| *x)), decades(points().map(|(_, y)| *y))) else {
        let _ = writeln!(text, "<text x=\"{LEFT}\" y=\"{}\">nothing was measured</text>", HEIGHT / 2.0);
        return;
    };
    let span = |decades: &RangeInclusive<i32>| f64::from(decades.end() - decades.start());
    let x = |value: f64| LEFT + (value.log10() - f64::from(*across.start())) / span(&across) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value.log10() - f64::from(*up.start())) / span(&up) * (HEIGHT - TOP - BOTTOM);
    for decade in across.clone() {
        let (at, label) = (x(10f64.powi(decade)), short(10f64.powi(decade)));
        let _ = writeln!(text, "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#dddddd\"/>", HEIGHT - BOTTOM);
        let _ = writeln!(text, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", HEIGHT - BOTTOM + 18.0);
    }
    for decade in up.clone() {
        let (at, label) = (y(10f64.powi(decade)), short(10f64.powi(decade)));
        let _ = writeln!(text, "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>", WIDTH - RIGHT);
        let _ = writeln!(text, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 8.0, at + 4.0);
    }
    let _ = writeln!(text, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">hosts</text>", WIDTH - RIGHT, HEIGHT - 4.0);
    for (index, (name, points)) in panel.series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let places: Vec<(f64, f64)> = points.iter().filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| (x(*a), y(*b))).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(text, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", line.join(" "));
        for (x, y) in places {
            let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
        let at = TOP + 16.0 * (index as f64 + 1.0);
        let _ = writeln!(text, "<circle cx=\"{}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>", LEFT + 14.0, at - 4.0);
        let _ = writeln!(text, "<text x=\"{}\" y=\"{at:.1}\">{}</text>", LEFT + 24.0, escaped(name));
    }
}

/// The powers of ten that hold all values; at least one decade. `None` of no value.
fn decades(values: impl Iterator<Item = f64>) -> Option<RangeInclusive<i32>> {
    let (low, high) = values.map(f64::log10).fold(None, |range: Option<(f64, f64)>, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })?;
    // A value that is a power of ten may be a hair beside it.
    let (low, high) = ((low + 1e-9).floor() as i32, (high - 1e-9).ceil() as i32);
    Some(low..=high.max(low + 1))
}

/// `100`, `10 k`, `1 M`, `0.001`.
fn short(value: f64) -> String {
    let scales = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let scale = scales.into_iter().find(|(scale, _)| value >= *scale * 0.999);
    let (value, unit) = scale.map_or((value, ""), |(scale, unit)| (value / scale, unit));
    let digits = if value >= 0.999 { 0 } else { -value.log10().floor() as usize };
    format!("{value:.digits$}{unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_every_value_and_have_at_least_one_decade() {
        assert_eq!(decades([1000.0, 1e6].into_iter()), Some(3..=6));
        assert_eq!(decades([0.02, 0.7].into_iter()), Some(-2..=0));
        assert_eq!(decades([100.0].into_iter()), Some(2..=3));
        assert_eq!(decades([].into_iter()), None);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.001, 0.1, 1.0, 10.0, 1000.0, 1e5, 1e6, 1e9].map(short), ["0.001", "0.1", "1", "10", "1 k", "100 k", "1 M", "1 G"]);
    }

    #[test]
    fn every_point_is_inside_and_zero_is_left_out() {
        let panel = Panel { title: "a < b".into(), series: vec![("s".into(), vec![(1000.0, 0.0), (1000.0, 0.5), (1e6, 20.0)])] };
        let text = svg(&[panel]);
        assert!(text.contains("a &lt; b"));
        let points = text.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let points: Vec<(f64, f64)> =
            points.split(' ').map(|point| point.split_once(',').unwrap()).map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).collect();
        assert_eq!(points.len(), 2);
        assert!(points.iter().all(|(x, y)| (LEFT..=WIDTH - RIGHT).contains(x) && (TOP..=HEIGHT - BOTTOM).contains(y)), "{points:?}");
        assert!(svg(&[Panel { title: String::new(), series: vec![] }]).contains("nothing was measured"));
    }
}
