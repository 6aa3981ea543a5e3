//! The samples of a load, drawn.

use std::{error::Error, path::Path};

use plotters::prelude::{
    BLACK, ChartBuilder, DrawingArea, IntoDrawingArea as _, IntoFont as _, LineSeries, RED,
    SVGBackend, WHITE,
};
use plotters::{coord::Shift, style::BLUE};

use super::report::{Point, mib};

/// Size of the picture, and of one chart in it.
const SIZE: (u32, u32) = (960, 1200);
const CHARTS: usize = 5;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One chart below the other, over the same seconds: answers, latency, memory, handles and threads, disk.
pub fn draw(path: &Path, points: &[Point]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let charts = area.split_evenly((CHARTS, 1));
    let per_second =
        |point: &Point, before: f64| point.answers as f64 / (point.at - before).max(1e-3);
    let befores = std::iter::once(0.0).chain(points.iter().map(|point| point.at));
    let answers: Vec<(f64, f64)> = points
        .iter()
        .zip(befores)
        .map(|(point, before)| (point.at, per_second(point, before)))
        .collect();
    let of = |value: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        points
            .iter()
            .map(|point| (point.at, value(point)))
            .collect()
    };
    let lines = [
        ("answers per second", answers, Vec::new()),
        (
            "start to result, ms: median (blue), 99 of 100 below (red)",
            of(|point| point.p50_ms),
            of(|point| point.p99_ms),
        ),
        (
            "resident memory, MiB",
            of(|point| mib(point.held.resident)),
            Vec::new(),
        ),
        (
            "handles (blue), threads (red)",
            of(|point| point.held.handles as f64),
            of(|point| point.held.threads as f64),
        ),
        (
            "outbox on disk, MiB",
            of(|point| mib(point.held.disk)),
            Vec::new(),
        ),
    ];
    for (chart, (title, blue, red)) in charts.iter().zip(&lines) {
        one(chart, title, blue, red)?;
    }
    area.present()?;
    Ok(())
}

fn one(
    area: &Area<'_>,
    title: &str,
    blue: &[(f64, f64)],
    red: &[(f64, f64)],
) -> Result<(), Box<dyn Error>> {
    let points = || blue.iter().chain(red);
    let seconds = points().map(|point| point.0).fold(1.0, f64::max);
    let most = points().map(|point| point.1).fold(1e-9, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16).into_font().color(&BLACK))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(56)
        // From zero: what is flat is to look flat, and what grows is not to look as if it grew more.
        .build_cartesian_2d(0.0..seconds, 0.0..most * 1.15)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .max_light_lines(0)
        .draw()?;
    chart.draw_series(LineSeries::new(blue.iter().copied(), &BLUE))?;
    chart.draw_series(LineSeries::new(red.iter().copied(), &RED))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::machine::Held;

    #[test]
    fn samples_are_drawn_even_when_there_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load.svg");
        let point =
            |second| Point::new(Duration::from_secs(second), Held::default(), vec![1500; 3]);
        for points in [Vec::new(), vec![point(1)], vec![point(1), point(2)]] {
            draw(&path, &points).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("<svg") && text.contains("resident memory"));
        }
    }
}
