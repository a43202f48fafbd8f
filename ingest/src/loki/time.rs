//! Times of the legacy JSON form.

use model::NS_PER_S;

const SECONDS_PER_DAY: i64 = 86_400;

/// An RFC 3339 time with up to nine digits of fraction. Units: ns since the Unix epoch.
pub(super) fn rfc3339_ns(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |start: usize, end: usize| -> Option<i64> {
        let digits = text.get(start..end)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !separators.iter().all(|(at, byte)| bytes.get(*at) == Some(byte)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let rest = text.get(19..)?;
    let (nanos, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let digits = rest.get(..end).filter(|digits| (1..=9).contains(&digits.len()))?;
            let scale = 10i64.checked_pow(9u32.checked_sub(digits.len() as u32)?)?;
            (digits.parse::<i64>().ok()?.checked_mul(scale)?, rest.get(end..)?)
        }
        None => (0, rest),
    };
    let offset_s = zone_s(zone)?;
    let day_s = hour.checked_mul(60)?.checked_add(minute)?.checked_mul(60)?.checked_add(second)?;
    let days_s = days_since_epoch(year, month, day).checked_mul(SECONDS_PER_DAY)?;
    let seconds = days_s.checked_add(day_s)?.checked_sub(offset_s)?;
    seconds.checked_mul(NS_PER_S)?.checked_add(nanos)
}

/// `Z` or `+hh:mm`. Units: seconds.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "two digits of hours and minutes are far from any bound"
)]
fn zone_s(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let number = |text: &str| -> Option<i64> {
        let is_pair = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_pair.then(|| text.parse().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[expect(
    clippy::arithmetic_side_effects,
    reason = "four digits of a year and days of a month are far from any bound"
)]
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::rfc3339_ns;

    #[test]
    fn times_with_zones_and_fractions() {
        let check = |text: &str, want: Option<i64>| assert_eq!(rfc3339_ns(text), want, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2025-08-18T06:53:20Z", Some(1_755_500_000_000_000_000));
        check("2025-08-18T08:53:20.5+02:00", Some(1_755_500_000_500_000_000));
        check("2024-02-29T00:00:00.000000001Z", Some(1_709_164_800_000_000_001));
        check("2023-02-29T00:00:00Z", None);
        check("2025-08-18 06:53:20Z", None);
        check("2025-08-18T06:53:20", None);
        check("", None);
    }
}
