//! Durations and sizes as LogQL, Go and people write them.
//!
//! Source: Go's `time.ParseDuration`, Prometheus' `model.ParseDuration` and go-humanize's `ParseBytes`.

use std::fmt::Write as _;

const UNITS: [(&str, f64); 11] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
    ("w", 604_800e9),
    ("y", 31_536_000e9),
];

/// A duration of a query: Go's units and `d`, `w`, `y`. Units: ns.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    parse_units(text, &UNITS)
}

/// Go's `time.ParseDuration`: units up to hours. Units: ns.
///
/// Errors: Go's text.
pub(crate) fn parse_go_duration(text: &str) -> Result<i64, String> {
    parse_units(text, &UNITS[..8]).ok_or_else(|| format!("time: invalid duration {text:?}"))
}

fn parse_units(text: &str, units: &[(&str, f64)]) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = &rest[..digits];
        if number.is_empty() || number == "." {
            return None;
        }
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..unit_end];
        let scale = units.iter().find(|(name, _)| *name == unit)?.1;
        total += scaled(number, scale)?;
        rest = &rest[unit_end..];
    }
    if total > i64::MAX as f64 {
        return None;
    }
    let total = total.round() as i64;
    Some(if negative { -total } else { total })
}

/// Whole part and fraction apart, so that nanoseconds of long durations are kept.
fn scaled(number: &str, scale: f64) -> Option<f64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: f64 = if whole.is_empty() { 0.0 } else { whole.parse().ok()? };
    if fraction.contains('.') {
        return None;
    }
    let fraction: f64 =
        if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    Some(whole * scale + fraction * scale)
}

/// A size: `5KB`, `1.5 MiB`, `42`. Units: bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let number: f64 = text[..end].replace(',', "").parse().ok()?;
    let unit = text[end..].trim().to_ascii_lowercase();
    let scale = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "p" | "pb" => 1e15,
        "e" | "eb" => 1e18,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024f64.powi(2),
        "gi" | "gib" => 1024f64.powi(3),
        "ti" | "tib" => 1024f64.powi(4),
        "pi" | "pib" => 1024f64.powi(5),
        "ei" | "eib" => 1024f64.powi(6),
        _ => return None,
    };
    let bytes = number * scale;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// A size as go-humanize writes it: `2.0MB` without the space.
pub(crate) fn format_bytes(bytes: u64) -> String {
    const NAMES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let exponent = ((bytes as f64).ln() / 1000f64.ln()).floor() as usize;
    let value = (bytes as f64 / 1000f64.powi(exponent as i32) * 10.0 + 0.5).floor() / 10.0;
    let name = NAMES.get(exponent).copied().unwrap_or("EB");
    if value < 10.0 { format!("{value:.1}{name}") } else { format!("{value:.0}{name}") }
}

/// A duration as Go writes it: `1h15m0s`, `250ms`, `1.5µs`.
pub(crate) fn format_go_duration(ns: i64) -> String {
    let magnitude = ns.unsigned_abs();
    let mut out = String::new();
    if ns < 0 {
        out.push('-');
    }
    let _infallible = match magnitude {
        0 => write!(out, "0s"),
        1..1_000 => write!(out, "{magnitude}ns"),
        1_000..1_000_000 => write!(out, "{}µs", decimal(magnitude, 1_000)),
        1_000_000..1_000_000_000 => write!(out, "{}ms", decimal(magnitude, 1_000_000)),
        _ => {
            let minutes = magnitude / 60_000_000_000;
            let seconds = decimal(magnitude % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => write!(out, "{seconds}s"),
                (0, minutes) => write!(out, "{minutes}m{seconds}s"),
                (hours, minutes) => write!(out, "{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    out
}

fn decimal(value: u64, unit: u64) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0width$}").trim_end_matches('0'))
}

/// A duration as Prometheus writes it: `1h30m`, `5m`, `250ms`.
pub(crate) fn format_prometheus_duration(ns: i64) -> String {
    let mut ms = ns / 1_000_000;
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    let units: [(&str, i64, bool); 7] = [
        ("y", 31_536_000_000, true),
        ("w", 604_800_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ];
    for (name, unit, whole_only) in units {
        if whole_only && ms % unit != 0 {
            continue;
        }
        if ms / unit > 0 {
            let _infallible = write!(out, "{}{name}", ms / unit);
            ms %= unit;
        }
    }
    out
}

/// The shortest text of a float that reads back the same, as Go's `%v` gives it: with an exponent
/// from a million on.
pub(crate) fn format_float(value: f64) -> String {
    float_text(value, 6)
}

/// The same in plain digits as long as JSON numbers have none.
pub(crate) fn format_plain_float(value: f64) -> String {
    float_text(value, 21)
}

fn float_text(value: f64, exponent_min: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 10f64.powi(exponent_min)) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value}")
}
