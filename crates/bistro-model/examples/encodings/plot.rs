//! The measurement as a picture: gain kept over size.

use std::fmt::Write as _;

/// A point: name, bits a parameter, share of the gain.
pub(crate) type Point = (&'static str, f64, f64);

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Room for the axes' labels.
const LEFT: f64 = 60.0;
const BELOW: f64 = 50.0;
/// Bits a parameter at the left and at the right end: ratios 320 and 1 against f32.
const BITS: (f64, f64) = (0.1, 32.0);
/// Shares at the lower and at the upper end.
const SHARES: (f64, f64) = (0.0, 1.2);

fn x(bits: f64) -> f64 {
    let at = (bits.clamp(BITS.0, BITS.1) / BITS.0).ln() / (BITS.1 / BITS.0).ln();
    LEFT + at * (WIDTH - LEFT - 20.0)
}

fn y(share: f64) -> f64 {
    let at = (share.clamp(SHARES.0, SHARES.1) - SHARES.0) / (SHARES.1 - SHARES.0);
    (HEIGHT - BELOW) * (1.0 - at) + 20.0 * at
}

/// An SVG of both series: uploads judged alone, and rounds with feedback. Shares below 0 lie on the lower edge.
pub(crate) fn svg(single: &[Point], rounds: &[Point]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    // Writing to a text cannot fail.
    let mut put = |line: String| writeln!(svg, "{line}").unwrap_or_default();
    for share in [0.0, 0.25, 0.5, 0.75, 0.9, 1.0] {
        let (y, percent) = (y(share), 100.0 * share);
        put(format!("<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - 20.0));
        put(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>", LEFT - 6.0, y + 4.0));
    }
    for bits in [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
        let (x, foot) = (x(bits), HEIGHT - BELOW);
        put(format!("<path d=\"M{x:.1} 20V{foot}\" stroke=\"#eee\"/>"));
        put(format!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{bits}</text>", foot + 18.0));
    }
    let label = "bits a parameter (f32 has 32)";
    put(format!("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", WIDTH / 2.0, HEIGHT - 12.0));
    for (series, colour, what, place) in
        [(single, "#1f6fb4", "one upload judged alone", 36.0), (rounds, "#d1592a", "ten rounds with feedback", 54.0)]
    {
        put(format!("<circle cx=\"{}\" cy=\"{}\" r=\"5\" fill=\"{colour}\"/>", LEFT + 14.0, place - 4.0));
        put(format!("<text x=\"{}\" y=\"{place}\">gain kept, {what}</text>", LEFT + 26.0));
        for (name, bits, share) in series {
            let (x, y) = (x(*bits), y(*share));
            let offset = if colour == "#1f6fb4" { -9.0 } else { 18.0 };
            put(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\" fill-opacity=\"0.8\"/>"));
            put(format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>", y + offset));
        }
    }
    put("</svg>".into());
    svg
}
