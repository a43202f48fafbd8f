//! How the values of settings are read and written.

use std::path::PathBuf;

use ingest::{DeltaMode, Promote, Strategy};
use model::{Oversize, Profile, without_credentials};
use storage::Durability;

use super::LogFormat;
use crate::doors::Roles;
use crate::units::{format_bytes, format_duration_ns, parse_bytes, parse_duration_ns};

pub(super) fn unsigned<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{text:?} is not a whole number of 0 or more"))
}

pub(super) fn size<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    T::try_from(parse_bytes(text)?).map_err(|_| format!("{text:?} is too large"))
}

pub(super) fn flag_value(text: &str) -> Result<bool, String> {
    match text {
        "" | "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub(super) fn show<T: ToString>(value: &T) -> String {
    value.to_string()
}

pub(super) fn show_size(bytes: &usize) -> String {
    format_bytes(*bytes as u64)
}

pub(super) fn show_size64(bytes: &u64) -> String {
    format_bytes(*bytes)
}

pub(super) fn show_ns(ns: &i64) -> String {
    format_duration_ns(*ns)
}

pub(super) fn show_bucket(bucket: &Option<String>) -> String {
    bucket.as_deref().map(|url| without_credentials(url, url)).unwrap_or_default()
}

pub(super) fn read_path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(super) fn show_path(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
}

pub(super) fn read_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn show_names(names: &[String]) -> String {
    names.join(",")
}

/// `group=role` pairs.
pub(super) fn read_roles(text: &str) -> Result<Vec<String>, String> {
    let pairs = read_names(text)?;
    for pair in &pairs {
        let (_, role) = pair
            .rsplit_once('=')
            .ok_or_else(|| format!("{pair:?} is no group and role with = between them"))?;
        Roles::parse(role)?;
    }
    Ok(pairs)
}

/// Signatures with a public key, by their names in JWTs. A shared secret is none.
pub(super) fn read_algorithms(text: &str) -> Result<Vec<String>, String> {
    let names = read_names(text)?;
    match names.iter().find(|name| !crate::doors::ALGORITHMS.contains(&name.as_str())) {
        Some(other) => Err(format!("{other:?} is none of {}", crate::doors::ALGORITHMS.join(", "))),
        None if names.is_empty() => Err("is empty".to_owned()),
        None => Ok(names),
    }
}

pub(super) fn read_durability(text: &str) -> Result<Durability, String> {
    match text {
        "fsync" => Ok(Durability::Fsync),
        "os" => Ok(Durability::Os),
        _ => Err(format!("{text:?} is neither fsync nor os")),
    }
}

pub(super) fn read_log(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

pub(super) fn read_folder(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn read_names(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// The names of Prometheus' configuration file.
pub(super) const STRATEGIES: [(&str, Strategy); 4] = [
    ("UnderscoreEscapingWithSuffixes", Strategy::UnderscoreEscapingWithSuffixes),
    ("UnderscoreEscapingWithoutSuffixes", Strategy::UnderscoreEscapingWithoutSuffixes),
    ("NoUTF8EscapingWithSuffixes", Strategy::NoUtf8EscapingWithSuffixes),
    ("NoTranslation", Strategy::NoTranslation),
];

pub(super) const DELTA_MODES: [(&str, DeltaMode); 3] = [
    ("accumulate", DeltaMode::Accumulate),
    ("keep", DeltaMode::Keep),
    ("reject", DeltaMode::Reject),
];

pub(super) const PROFILES: [(&str, Profile); 2] =
    [("single", Profile::Single), ("multi", Profile::Multi)];

pub(super) const OVERSIZES: [(&str, Oversize); 2] =
    [("reject", Oversize::Reject), ("truncate", Oversize::Truncate)];

/// Reads one of a few words.
pub(super) fn word<T: Copy>(words: &[(&str, T)], text: &str) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is none of {}", words.join(", "))
    })
}

pub(super) fn show_word<T: PartialEq>(words: &[(&str, T)], value: &T) -> String {
    words
        .iter()
        .find(|(_, known)| known == value)
        .map_or_else(String::new, |(word, _)| (*word).to_owned())
}

/// `a,b` lists what is promoted; `*` promotes all, `*,-a,-b` all but some.
pub(super) fn read_promote(text: &str) -> Result<Promote, String> {
    let names = read_names(text)?;
    if names.first().is_some_and(|first| first == "*") {
        let excepted = names[1..].iter().map(|name| {
            name.strip_prefix('-')
                .map(str::to_owned)
                .ok_or_else(|| format!("{name:?} stands behind * without a dash: write *,-{name}"))
        });
        return Ok(Promote::AllExcept(excepted.collect::<Result<_, _>>()?));
    }
    Ok(Promote::Listed(names))
}

pub(super) fn show_promote(promote: &Promote) -> String {
    match promote {
        Promote::Listed(names) => names.join(","),
        Promote::AllExcept(names) => {
            let mut text = "*".to_owned();
            for name in names {
                text.push_str(",-");
                text.push_str(name);
            }
            text
        }
    }
}

pub(super) fn positive_ns_u64(text: &str) -> Result<u64, String> {
    u64::try_from(parse_duration_ns(text)?).map_err(|_| format!("{text:?} is negative"))
}
