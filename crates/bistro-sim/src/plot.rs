//! Plots as SVG texts, drawn by plotters.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// One curve: its name, and its points.
pub type Curve = (String, Vec<(f64, f64)>);

const SIZE: (u32, u32) = (760, 360);

/// Colours that can be told apart by everybody: Okabe and Ito, *Color universal design* (2008).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(160, 140, 0),
];

/// Curves over `x`, from the lowest value to the highest; those without a point are left out.
pub fn lines(title: &str, x: &str, y: &str, curves: &[Curve]) -> Result<String> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let (left, right) = bounds(points().map(|(x, _)| *x));
    let (low, high) = bounds(points().map(|(_, y)| *y));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(left..right, low..high)
            .map_err(failed)?;
        chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw().map_err(failed)?;
        for ((name, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(failed)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Horizontal bars, each of parts one after the other: `bars` are names and the length of each part in the order of `parts`.
pub fn bars(title: &str, x: &str, parts: &[String], bars: &[(String, Vec<f64>)]) -> Result<String> {
    let longest = bars.iter().map(|(_, lengths)| lengths.iter().sum()).fold(0.0, f64::max);
    let mut svg = String::new();
    {
        let height = 110 + 24 * bars.len() as u32 + 18 * parts.len() as u32;
        let area = SVGBackend::with_string(&mut svg, (SIZE.0, height)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let rows = bars.len() as i32;
        // Below the bars is room for the legend.
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(130)
            .build_cartesian_2d(0.0..(longest * 1.02).max(1e-9), (0..rows).into_segmented())
            .map_err(failed)?;
        let name = |row: &SegmentValue<i32>| match row {
            SegmentValue::CenterOf(row) if *row < rows => bars[(rows - 1 - row) as usize].0.clone(),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .x_desc(x)
            .y_labels(bars.len())
            .y_label_formatter(&name)
            .disable_y_mesh()
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for (i, (part, colour)) in parts.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let piece = |(row, (_, lengths)): (usize, &(String, Vec<f64>))| {
                let row = rows - 1 - row as i32;
                let begin: f64 = lengths[..i].iter().sum();
                let corners = [(begin, SegmentValue::Exact(row)), (begin + lengths[i], SegmentValue::Exact(row + 1))];
                let mut bar = Rectangle::new(corners, colour.filled());
                bar.set_margin(3, 3, 0, 0);
                bar
            };
            let series = chart.draw_series(bars.iter().enumerate().map(piece)).map_err(failed)?;
            if parts.len() > 1 {
                let swatch = colour.filled();
                series.label(part).legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], swatch));
            }
        }
        if parts.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.8))
                .border_style(RGBColor(200, 200, 200))
                .draw()
                .map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The lowest and the highest value with a little room; something to draw even if there are none.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = ((high - low) * 0.04).max(1e-6);
    (low - room, high + room)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot could not be drawn: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_curves_and_stands_without_points() {
        let curves = [("one".to_owned(), vec![(0.0, 1.0), (1.0, 3.0)]), ("two".to_owned(), vec![])];
        let svg = lines("Title", "blocks", "loss", &curves).unwrap();
        for part in ["<svg", "Title", "blocks", "loss", "one", "two", "</svg>"] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert!(lines("Title", "x", "y", &[]).unwrap().contains("</svg>"));
    }

    #[test]
    fn bars_name_their_rows_and_parts() {
        let parts = ["good".to_owned(), "bad".to_owned()];
        let rows = [("first".to_owned(), vec![2.0, 1.0]), ("second".to_owned(), vec![0.0, 0.0])];
        let svg = bars("Title", "verdicts", &parts, &rows).unwrap();
        for part in ["first", "second", "good", "bad"] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
    }
}
