//! Times of templates, in Go's layouts. The zone is UTC unless the text says otherwise.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, TimeZone, Timelike, Utc};

use super::value::Value;

pub(super) type Time = DateTime<FixedOffset>;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) fn from_ns(ns: i64) -> Time {
    DateTime::from_timestamp_nanos(ns).fixed_offset()
}

/// Go's zero time, the first of January of year one.
pub(super) fn zero() -> Time {
    Utc.with_ymd_and_hms(1, 1, 1, 0, 0, 0).single().unwrap_or_default().fixed_offset()
}

pub(super) fn to_time(value: &Value) -> Result<Time, String> {
    match value {
        Value::Time(time) => Ok(*time),
        Value::Int(seconds) => DateTime::from_timestamp(*seconds, 0)
            .map(|time| time.fixed_offset())
            .ok_or_else(|| "time out of range".to_owned()),
        other => Err(format!("expected time.Time; found {}", other.kind())),
    }
}

/// Days, seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their digits.
pub(super) fn from_digits(text: &str) -> Result<Time, String> {
    let count: i64 = text.parse().map_err(|_error| format!("unable to parse time '{text}'"))?;
    let ns = match text.len() {
        5 => count.checked_mul(86_400_000_000_000),
        10 => count.checked_mul(1_000_000_000),
        13 => count.checked_mul(1_000_000),
        16 => count.checked_mul(1_000),
        19 => Some(count),
        _ => None,
    };
    ns.map(from_ns).ok_or_else(|| format!("unable to parse time '{text}': unsupported length"))
}

/// What `{{ __timestamp__ }}` prints.
pub(super) fn default_text(time: &Time) -> String {
    format("2006-01-02 15:04:05.999999999 -0700 MST", time)
}

/// The pieces of a layout, longer ones first.
const PIECES: [&str; 28] = [
    "January", "Monday", "2006", "Z07:00", "-07:00", "Z0700", "-0700", "MST", "Jan", "Mon", "002",
    "-07", "_2", "01", "02", "03", "04", "05", "06", "15", "PM", "pm", "1", "2", "3", "4", "5",
    "Z07",
];

enum Piece<'a> {
    Known(&'static str),
    /// `.000` or `.999`: the digits.
    Fraction(&'a str),
    Literal(char),
}

fn next_piece(layout: &str) -> Option<(Piece<'_>, &str)> {
    let first = layout.chars().next()?;
    if matches!(first, '.' | ',') {
        let digits = &layout[1..];
        for digit in ['0', '9'] {
            let count = digits.chars().take_while(|&c| c == digit).count();
            let after = &digits[count..];
            if count > 0 && !after.starts_with(|c: char| c.is_ascii_digit()) {
                return Some((Piece::Fraction(&digits[..count]), after));
            }
        }
    }
    for piece in PIECES {
        if let Some(after) = layout.strip_prefix(piece) {
            return Some((Piece::Known(piece), after));
        }
    }
    Some((Piece::Literal(first), &layout[first.len_utf8()..]))
}

pub(super) fn format(layout: &str, time: &Time) -> String {
    let mut out = String::new();
    let mut rest = layout;
    let hour12 = (time.hour() + 11) % 12 + 1;
    let month = MONTHS[time.month0() as usize];
    let day = DAYS[time.weekday().num_days_from_monday() as usize];
    while let Some((piece, after)) = next_piece(rest) {
        rest = after;
        match piece {
            Piece::Literal(c) => out.push(c),
            Piece::Fraction(digits) => {
                let nanos = format!("{:09}", time.nanosecond() % 1_000_000_000);
                let kept = &nanos[..digits.len().min(9)];
                let kept = if digits.starts_with('9') { kept.trim_end_matches('0') } else { kept };
                if !kept.is_empty() {
                    out.push('.');
                    out.push_str(kept);
                }
            }
            Piece::Known(piece) => out.push_str(&match piece {
                "January" => month.to_owned(),
                "Jan" => month[..3].to_owned(),
                "Monday" => day.to_owned(),
                "Mon" => day[..3].to_owned(),
                "2006" => format!("{:04}", time.year()),
                "06" => format!("{:02}", time.year().rem_euclid(100)),
                "01" => format!("{:02}", time.month()),
                "1" => time.month().to_string(),
                "02" => format!("{:02}", time.day()),
                "_2" => format!("{:2}", time.day()),
                "2" => time.day().to_string(),
                "002" => format!("{:03}", time.ordinal()),
                "15" => format!("{:02}", time.hour()),
                "03" => format!("{hour12:02}"),
                "3" => hour12.to_string(),
                "04" => format!("{:02}", time.minute()),
                "4" => time.minute().to_string(),
                "05" => format!("{:02}", time.second()),
                "5" => time.second().to_string(),
                "PM" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
                "pm" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
                "MST" => zone_name(time),
                zone => zone_text(zone, time.offset().local_minus_utc()),
            }),
        }
    }
    out
}

fn zone_name(time: &Time) -> String {
    match time.offset().local_minus_utc() {
        0 => "UTC".to_owned(),
        seconds => zone_text("-0700", seconds),
    }
}

fn zone_text(piece: &str, seconds: i32) -> String {
    if piece.starts_with('Z') && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    let colon = if piece.contains(':') { ":" } else { "" };
    if piece.ends_with("07") {
        return format!("{sign}{:02}", minutes / 60);
    }
    format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
}

/// Reads a time by its layout; texts without a zone are UTC.
pub(super) fn parse(layout: &str, text: &str) -> Option<Time> {
    parse_at(layout, text, 0)
}

/// Reads a time by its layout in a zone: `UTC`, or `+02:00` and the like.
pub(super) fn parse_in_zone(layout: &str, zone: &str, text: &str) -> Result<Time, String> {
    let seconds = match zone {
        "" | "UTC" | "GMT" | "Local" | "Z" | "Etc/UTC" => Some(0),
        zone => {
            let (layout, _) = if zone.contains(':') { ("-07:00", 0) } else { ("-0700", 0) };
            read_zone(layout, zone).map(|(seconds, _)| seconds)
        }
    };
    let seconds = seconds.ok_or_else(|| format!("unknown time zone {zone}"))?;
    Ok(parse_at(layout, text, seconds).unwrap_or_else(zero))
}

fn parse_at(layout: &str, text: &str, default_offset: i32) -> Option<Time> {
    let (mut year, mut month, mut day) = (0i32, 1u32, 1u32);
    let (mut hour, mut minute, mut second, mut nanos) = (0u32, 0u32, 0u32, 0u32);
    let mut afternoon = None;
    let mut offset = default_offset;
    let mut rest = layout;
    let mut text = text;
    while let Some((piece, after)) = next_piece(rest) {
        rest = after;
        match piece {
            Piece::Literal(c) => text = text.strip_prefix(c)?,
            Piece::Fraction(_) => {
                if let Some(digits) = text.strip_prefix(['.', ',']) {
                    (nanos, text) = fraction(digits)?;
                }
            }
            Piece::Known(piece) => match piece {
                "January" | "Jan" => {
                    let width = if piece == "Jan" { 3 } else { usize::MAX };
                    (month, text) = named(&MONTHS, width, text)?;
                    month += 1;
                }
                "Monday" | "Mon" => {
                    let width = if piece == "Mon" { 3 } else { usize::MAX };
                    (_, text) = named(&DAYS, width, text)?;
                }
                "PM" | "pm" => {
                    afternoon = Some(text.get(..2)?.eq_ignore_ascii_case("pm"));
                    text = &text[2..];
                }
                "MST" => {
                    let end = text.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(text.len());
                    text = &text[end..];
                }
                zone if zone.contains("07") => (offset, text) = read_zone(zone, text)?,
                piece => {
                    let most = if piece == "2006" {
                        4
                    } else if piece == "002" {
                        3
                    } else {
                        2
                    };
                    let number;
                    (number, text) = digits(text.trim_start_matches(' '), most)?;
                    match piece {
                        "2006" => year = i32::try_from(number).ok()?,
                        "06" => {
                            year =
                                i32::try_from(number).ok()? + if number >= 69 { 1900 } else { 2000 }
                        }
                        "01" | "1" => month = number,
                        "02" | "2" | "_2" => day = number,
                        "15" | "03" | "3" => hour = number,
                        "04" | "4" => minute = number,
                        "05" | "5" => second = number,
                        _ => {}
                    }
                    if matches!(piece, "05" | "5") && !rest.starts_with(['.', ',']) {
                        // A fraction behind the seconds is taken whether the layout has one or not.
                        if let Some(digits) = text.strip_prefix('.') {
                            (nanos, text) = fraction(digits)?;
                        }
                    }
                }
            },
        }
    }
    if !text.is_empty() {
        return None;
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let naive =
        NaiveDate::from_ymd_opt(year, month, day)?.and_hms_nano_opt(hour, minute, second, nanos)?;
    FixedOffset::east_opt(offset)?.from_local_datetime(&naive).single()
}

fn digits(text: &str, most: usize) -> Option<(u32, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    Some((text[..count].parse().ok()?, &text[count..]))
}

fn fraction(text: &str) -> Option<(u32, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    let kept = text[..count].get(..9).unwrap_or(&text[..count]);
    Some((format!("{kept:0<9}").parse().ok()?, &text[count..]))
}

fn named<'a>(names: &[&str], width: usize, text: &'a str) -> Option<(u32, &'a str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let name = name.get(..width).unwrap_or(name);
        let head = text.get(..name.len())?;
        head.eq_ignore_ascii_case(name).then(|| (at as u32, &text[name.len()..]))
    })
}

fn read_zone<'a>(piece: &str, text: &'a str) -> Option<(i32, &'a str)> {
    if let (true, Some(rest)) = (piece.starts_with('Z'), text.strip_prefix('Z')) {
        return Some((0, rest));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = digits(&text[1..], 2)?;
    if piece.ends_with("07") {
        return Some((sign * i32::try_from(hours).ok()? * 3600, rest));
    }
    let rest = if piece.contains(':') { rest.strip_prefix(':')? } else { rest };
    let (minutes, rest) = digits(rest, 2)?;
    Some((sign * (i32::try_from(hours).ok()? * 3600 + i32::try_from(minutes).ok()? * 60), rest))
}
