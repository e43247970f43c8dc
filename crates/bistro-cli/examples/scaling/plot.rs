//! The races as a picture: loss over time.

use std::fmt::Write as _;

use crate::races::Entry;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Room for the axes' labels, and for the names at the right.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 230.0;
const BELOW: f64 = 46.0;

/// Dark for many miners, grey for one trainer, warm for other rules.
const MANY: [&str; 5] = ["#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08306b"];
const OTHERS: [&str; 5] = ["#d1592a", "#e58a3c", "#c2a33a", "#a05195", "#7a5230"];

/// An SVG of the mean curves.
pub(crate) fn svg(entries: &[&Entry]) -> String {
    let curves: Vec<Vec<(f64, f64)>> = entries.iter().copied().map(mean).collect();
    let all = || curves.iter().flatten();
    let time = all().map(|(x, _)| *x).fold(0.0, f64::max);
    let lowest = all().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let highest = all().map(|(_, y)| *y).fold(f64::NEG_INFINITY, f64::max);
    let x = |pages: f64| LEFT + pages / time * (WIDTH - LEFT - RIGHT);
    let y = |loss: f64| 20.0 + (highest - loss) / (highest - lowest) * (HEIGHT - BELOW - 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    // Writing to a text cannot fail.
    let mut put = |line: String| writeln!(svg, "{line}").unwrap_or_default();
    for part in 0..=4 {
        let (at, foot) = (time * f64::from(part) / 4.0, HEIGHT - BELOW);
        put(format!("<path d=\"M{:.1} 20V{foot}\" stroke=\"#eee\"/>", x(at)));
        put(format!("<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{at:.0}</text>", x(at), foot + 18.0));
        let loss = lowest + (highest - lowest) * f64::from(part) / 4.0;
        put(format!("<path d=\"M{LEFT} {:.1}H{}\" stroke=\"#ddd\"/>", y(loss), WIDTH - RIGHT));
        put(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.2}</text>", LEFT - 6.0, y(loss) + 4.0));
    }
    let (middle, label) = ((LEFT + WIDTH - RIGHT) / 2.0, "time, in pages that one trainer trains on");
    put(format!("<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", HEIGHT - 10.0));
    let (mut many, mut others) = (MANY.iter(), OTHERS.iter());
    for (i, (entry, curve)) in entries.iter().zip(&curves).enumerate() {
        let (colour, dashes) = match entry.miners {
            0 => ("#555", if entry.name.ends_with("tuned") { "2 3" } else { "6 3" }),
            _ if entry.name == "recommended" => (*many.next().unwrap_or(&"#08306b"), "none"),
            _ => (*others.next().unwrap_or(&"#888"), "none"),
        };
        let path: Vec<String> = curve.iter().map(|(pages, loss)| format!("{:.1} {:.1}", x(*pages), y(*loss))).collect();
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{dashes}\"");
        put(format!("<path d=\"M{}\" {style}/>", path.join("L")));
        let (at, place) = (WIDTH - RIGHT + 14.0, 34.0 + 20.0 * i as f64);
        put(format!("<path d=\"M{at} {:.1}h24\" {style}/>", place - 4.0));
        let miners = if entry.miners == 0 { String::new() } else { format!(", {}", entry.miners) };
        put(format!("<text x=\"{}\" y=\"{place}\">{}{miners}</text>", at + 30.0, entry.name));
    }
    put("</svg>".into());
    svg
}

/// Time and mean loss over the seeds.
fn mean(entry: &Entry) -> Vec<(f64, f64)> {
    let first = &entry.curves[0].points;
    let loss = |at: usize| entry.mean(|_, curve| curve.points[at].loss);
    first.iter().enumerate().map(|(at, point)| (point.pages, loss(at))).collect()
}
