//! Durations, sizes and addresses as people write them in settings.

use std::net::SocketAddr;

/// Parses `90s`, `5m`, `1h30m`, `30d`, `2w`, `1y`, `250ms` or a bare `0`. Units: ns.
///
/// Errors: what is wrong with the text, and what would be right.
pub(crate) fn parse_duration_ns(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
        ("w", 604_800_000_000_000),
    ];
    let wrong = || format!("{text:?} is not a duration: write for example 90s, 5m, 1h30m or 30d");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let scale = match unit {
            "y" => 365 * 86_400_000_000_000,
            _ => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        total = number.checked_mul(scale).and_then(|ns| total.checked_add(ns)).ok_or_else(wrong)?;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Writes a duration in its largest whole unit. Units: ns.
pub(crate) fn format_duration_ns(ns: i64) -> String {
    const UNITS: [(&str, i64); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    if ns == 0 {
        return "0".to_owned();
    }
    let unit = UNITS.iter().find(|(_, scale)| ns % scale == 0).unwrap_or(&UNITS[6]);
    format!("{}{}", ns / unit.1, unit.0)
}

/// Parses `64MiB`, `1GiB`, `500MB`, `4096`. Units: bytes.
///
/// Errors: what is wrong with the text, and what would be right.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];
    let wrong = || format!("{text:?} is not a size: write for example 64MiB, 2GiB or 4096");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim();
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*scale).ok_or_else(wrong)
}

/// Writes a size in its largest whole binary unit. Units: bytes.
pub(crate) fn format_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    UNITS
        .iter()
        .find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// Parses `127.0.0.1:4319`, `[::1]:0` or `localhost:4319`.
///
/// Errors: what is wrong with the text, and what would be right.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("{text:?} is not ADDRESS:PORT: write for example 127.0.0.1:4319 or [::1]:4319")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let check = |text: &str, want: Option<i64>| {
            assert_eq!(parse_duration_ns(text).ok(), want, "{text:?}");
        };
        check("0", Some(0));
        check("90s", Some(90_000_000_000));
        check("1h30m", Some(5_400_000_000_000));
        check("30d", Some(2_592_000_000_000_000));
        check("1y", Some(31_536_000_000_000_000));
        check("250ms", Some(250_000_000));
        check("", None);
        check("5", None);
        check("5 minutes", None);
        check("-5m", None);
        check("999999999y", None);
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(parse_bytes(text).ok(), want, "{text:?}");
        };
        check("4096", Some(4096));
        check("64MiB", Some(64 << 20));
        check("1 GB", Some(1_000_000_000));
        check("1.5GiB", None);
        check("", None);
        check("99999999999TiB", None);
    }

    #[test]
    fn what_is_written_reads_back() {
        for ns in [0, 1, 1_500_000, 60_000_000_000, 2_592_000_000_000_000] {
            assert_eq!(parse_duration_ns(&format_duration_ns(ns)), Ok(ns));
        }
        for bytes in [0, 1, 4096, 3 << 20, 5 << 30] {
            assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn addresses_take_localhost_and_say_what_is_wrong() {
        assert_eq!(parse_address("localhost:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert_eq!(parse_address("127.0.0.1:0"), Ok(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert!(parse_address("[::1]:4319").is_ok());
        assert!(parse_address("4319").is_err_and(|error| error.contains("127.0.0.1:4319")));
    }
}
