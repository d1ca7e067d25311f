//! A report as a picture: utilisation over time, and the refusals below it.

use crate::Report;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// An SVG document.
pub fn svg(report: &Report) -> String {
    let (from, to) = match (report.samples.first(), report.samples.last()) {
        (Some(first), Some(last)) if last.at > first.at => (first.at, last.at),
        _ => (0, 1),
    };
    let x = |at: i64| LEFT + (WIDTH - LEFT - 20.0) * (at - from) as f64 / (to - from) as f64;
    let y = |share: f64| TOP + (HEIGHT - TOP - 60.0) * (1.0 - share.clamp(0.0, 1.0));
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut line = |text: std::fmt::Arguments<'_>| _ = writeln!(out, "{text}");
    line(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    ));
    line(format_args!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"##));
    line(format_args!(
        r#"<text x="{LEFT}" y="22" font-size="15">{} hosts, {}: {} placed, {} refused</text>"#,
        report.hosts,
        escape(&report.scheduler),
        report.placed,
        report.refused
    ));
    for tenth in (0..=10).step_by(2) {
        let at = y(f64::from(tenth) / 10.0);
        line(format_args!(
            r##"<line x1="{LEFT}" y1="{at:.1}" x2="{}" y2="{at:.1}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{} %</text>"##,
            WIDTH - 20.0,
            LEFT - 8.0,
            at + 4.0,
            tenth * 10
        ));
    }
    for hour in 0..=8 {
        let at = from + (to - from) * hour / 8;
        line(format_args!(
            r#"<text x="{:.1}" y="{}" text-anchor="middle">{:.1} h</text>"#,
            x(at),
            HEIGHT - 42.0,
            (at - from) as f64 / 3600.0
        ));
    }
    let mut curve = |name: &str, colour: &str, number: usize, value: &dyn Fn(&crate::Sample) -> f64| {
        let mut points = String::new();
        for sample in &report.samples {
            let _ = write!(points, "{:.1},{:.1} ", x(sample.at), y(value(sample)));
        }
        line(format_args!(
            r#"<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{}"/>"#,
            points.trim_end()
        ));
        let at = LEFT + 150.0 * number as f64;
        line(format_args!(
            r#"<rect x="{at}" y="{}" width="12" height="12" fill="{colour}"/><text x="{}" y="{}">{}</text>"#,
            HEIGHT - 28.0,
            at + 17.0,
            HEIGHT - 17.0,
            escape(name)
        ));
    };
    for (number, class) in report.peak.keys().take(4).enumerate() {
        curve(class, COLOURS[number], number, &|sample| sample.used.get(class).copied().unwrap_or(0.0));
    }
    curve("fragmentation", COLOURS[4], 4, &|sample| sample.fragmentation);
    let most = report.refused.max(1) as f64;
    curve(&format!("refused (top {})", report.refused), COLOURS[5], 5, &|sample| {
        sample.refused as f64 / most
    });
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
