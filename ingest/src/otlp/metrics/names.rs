//! Names of metrics, units and labels after the OTLP to Prometheus rules.
//!
//! Pure text, run on cache misses only. A name that cannot be made is an error of its own point or
//! metric, never of the request.
//! Source: `prometheus/otlptranslator` (v1.0: `metric_namer.go`, `label_namer.go`, `unit_namer.go`).

use super::options::TranslationOptions;

/// What of a metric's type its name depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    MonotonicSum,
    Gauge,
    Other,
}

/// Builds the name of a metric family.
///
/// Errors: a sentence, where nothing but underscores would be left.
pub(super) fn metric_name(
    name: &str,
    unit: &str,
    kind: NameKind,
    options: &TranslationOptions,
) -> Result<String, String> {
    if options.strategy.keeps_utf8() {
        let built = if options.strategy.has_suffixes() {
            with_suffixes_utf8(name, unit, kind)
        } else {
            name.to_owned()
        };
        return if built.is_empty() { Err("the metric has no name".to_owned()) } else { Ok(built) };
    }
    let built = if options.strategy.has_suffixes() {
        with_suffixes(name, unit, kind)
    } else {
        escaped(name)
    };
    if built.is_empty() {
        return Err(format!("metric name {name:?} has no letter or digit"));
    }
    if built != name && built.bytes().all(|byte| byte == b'_') {
        return Err(format!("metric name {name:?} becomes {built:?}"));
    }
    Ok(built)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// The name with runs of other characters as one underscore, and nothing appended.
fn escaped(name: &str) -> String {
    let parts: Vec<&str> = name
        .split(|c: char| !is_name_char(c) && c != '_')
        .filter(|part| !part.is_empty())
        .collect();
    before_digit(parts.join("_"))
}

fn before_digit(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let mut tokens: Vec<&str> =
        name.split(|c: char| !is_name_char(c)).filter(|token| !token.is_empty()).collect();
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let main = if tokens.contains(&main.as_str()) { "" } else { main.as_str() };
    let per = if per == "per_" || tokens.contains(&per.as_str()) { "" } else { per.as_str() };
    let main = if per.is_empty() { main } else { main.strip_suffix('_').unwrap_or(main) };
    tokens.extend([main, per].into_iter().filter(|suffix| !suffix.is_empty()));
    let last = match kind {
        NameKind::MonotonicSum => Some("total"),
        NameKind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    before_digit(tokens.join("_"))
}

fn with_suffixes_utf8(name: &str, unit: &str, kind: NameKind) -> String {
    let (main, per) = unit_suffixes(unit);
    let is_ratio = unit == "1" && kind == NameKind::Gauge;
    let is_total = kind == NameKind::MonotonicSum;
    let mut stem = name;
    if is_ratio {
        stem = without_suffix(stem, "ratio");
    }
    if is_total {
        stem = without_suffix(stem, "total");
    }
    if !per.is_empty() {
        stem = without_suffix(stem, &per);
    }
    let mut built = stem.to_owned();
    let mut append = |suffix: &str| {
        built.push('_');
        built.push_str(suffix);
    };
    if !main.is_empty() && !stem.ends_with(main.as_str()) {
        append(&main);
    }
    if !per.is_empty() {
        append(&per);
    }
    if is_total {
        append("total");
    }
    if is_ratio {
        append("ratio");
    }
    built
}

/// `name` without `suffix` and the character before it, where something is left.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    if name.len() <= suffix.len().saturating_add(1) {
        return name;
    }
    let Some(stem) = name.strip_suffix(suffix) else { return name };
    let mut chars = stem.chars();
    chars.next_back();
    chars.as_str()
}

/// The unit as metadata and `__unit__` show it.
pub(super) fn unit_name(unit: &str, options: &TranslationOptions) -> String {
    let (mut main, mut per) = unit_suffixes(unit);
    if !options.strategy.keeps_utf8() {
        (main, per) = (clean_unit(&main), clean_unit(&per));
    }
    match (main.as_str(), per.as_str()) {
        ("", _) => per,
        (_, "") => main,
        _ => format!("{}_{per}", main.trim_end_matches('_')),
    }
}

/// The main and the "per" suffix of an OTLP unit such as `By/s`; empty where there is none.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = match unit.split_once('/') {
        Some((main, per)) => (main.trim(), per.trim()),
        None => (unit.trim(), ""),
    };
    let is_word = |text: &str| !text.is_empty() && !text.contains(['{', '}']);
    let main = if is_word(main) { main_unit(main) } else { "" };
    let per = if is_word(per) { per_unit(per) } else { "" };
    let per = if per.is_empty() { String::new() } else { format!("per_{per}") };
    (main.to_owned(), per)
}

fn clean_unit(unit: &str) -> String {
    let mut cleaned = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_name_char(c) {
            cleaned.push(c);
        } else if !cleaned.ends_with('_') {
            cleaned.push('_');
        }
    }
    cleaned.strip_prefix('_').unwrap_or(&cleaned).to_owned()
}

fn main_unit(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_unit(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// Builds a label's name.
///
/// Errors: a sentence, where nothing but underscores would be left.
pub(super) fn label_name(name: &str, options: &TranslationOptions) -> Result<String, String> {
    if name.is_empty() {
        return Err("an attribute has an empty key".to_owned());
    }
    let only_underscores = |text: &str| text.bytes().all(|byte| byte == b'_');
    if options.strategy.keeps_utf8() {
        if only_underscores(name) {
            return Err(format!("attribute key {name:?} holds only underscores"));
        }
        return Ok(name.to_owned());
    }
    let mut built = if options.keep_multiple_underscores {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    } else {
        collapsed(name)
    };
    if built.starts_with(|c: char| c.is_ascii_digit()) {
        built.insert_str(0, "key_");
    } else if options.label_underscore_prefix && built.starts_with('_') && !built.starts_with("__")
    {
        built.insert_str(0, "key");
    }
    if only_underscores(&built) {
        return Err(format!("attribute key {name:?} becomes the label {built:?}"));
    }
    Ok(built)
}

/// Runs of other characters as one underscore; the marks of a reserved `__name__` stay.
fn collapsed(name: &str) -> String {
    let inner = name
        .strip_prefix("__")
        .and_then(|rest| rest.strip_suffix("__"))
        .filter(|inner| !inner.is_empty());
    let mut built = String::with_capacity(name.len());
    let mut last_is_underscore = false;
    for c in inner.unwrap_or(name).chars() {
        let is_plain = c.is_ascii_alphanumeric();
        if is_plain {
            built.push(c);
        } else if !last_is_underscore {
            built.push('_');
        }
        last_is_underscore = !is_plain;
    }
    if inner.is_some() { format!("__{built}__") } else { built }
}
