//! Quoted strings and numbers as Go writes them.

use super::error::ParseError;

/// The content of a quoted token. What is no UTF-8 in it becomes the replacement character, which no
/// label holds.
///
/// Errors: an escape that Go does not know.
pub(crate) fn unquote(token: &str, at: usize) -> Result<String, ParseError> {
    unquote_bytes(token, at).map(|bytes| lossy(&bytes))
}

/// The text of bytes that may be no UTF-8.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// As [`unquote`]: Prometheus' strings are bytes.
pub(crate) fn unquote_bytes(token: &str, at: usize) -> Result<Vec<u8>, ParseError> {
    let fail = |message: String| ParseError::new(at, message);
    let quote = token.chars().next().unwrap_or('"');
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or("");
    if quote == '`' {
        return Ok(inner.replace('\r', "").into_bytes());
    }
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(kind) = chars.next() else {
            return Err(fail("escape sequence not terminated".to_owned()));
        };
        let (digits, radix, is_char) = match kind {
            'a' => {
                out.push(7);
                continue;
            }
            'b' => {
                out.push(8);
                continue;
            }
            'f' => {
                out.push(12);
                continue;
            }
            'n' => {
                out.push(b'\n');
                continue;
            }
            'r' => {
                out.push(b'\r');
                continue;
            }
            't' => {
                out.push(b'\t');
                continue;
            }
            'v' => {
                out.push(11);
                continue;
            }
            '\\' => {
                out.push(b'\\');
                continue;
            }
            c if c == quote => {
                out.push(c as u8);
                continue;
            }
            '0'..='7' => (2, 8, false),
            'x' => (2, 16, false),
            'u' => (4, 16, true),
            'U' => (8, 16, true),
            c => {
                let message = format!("unknown escape sequence U+{:04X} {c:?}", u32::from(c));
                return Err(fail(message));
            }
        };
        let mut code = if radix == 8 { kind.to_digit(8).unwrap_or(0) } else { 0 };
        for _ in 0..digits {
            let Some(c) = chars.next() else {
                return Err(fail("escape sequence not terminated".to_owned()));
            };
            let Some(digit) = c.to_digit(radix) else {
                return Err(fail(format!(
                    "illegal character U+{:04X} {c:?} in escape sequence",
                    u32::from(c)
                )));
            };
            code = code * radix + digit;
        }
        if is_char {
            let Some(c) = char::from_u32(code) else {
                return Err(fail("escape sequence is an invalid Unicode code point".to_owned()));
            };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            let Ok(byte) = u8::try_from(code) else {
                return Err(fail(format!("octal escape value {code} > 255")));
            };
            out.push(byte);
        }
    }
    Ok(out)
}

/// A number token: decimal, octal with a leading 0, hexadecimal, with underscores, Inf or NaN.
pub(crate) fn number(token: &str) -> Option<f64> {
    let plain = token.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    match lower.as_str() {
        "inf" => return Some(f64::INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    if let Some(hex) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|value| value as f64);
    }
    if lower.len() > 1
        && lower.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(&lower, 8)
    {
        return Some(octal as f64);
    }
    lower.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Go's `%q`.
pub(crate) fn quoted(text: &str) -> String {
    quoted_bytes(text.as_bytes())
}

/// Go's `%q` of bytes that may be no UTF-8.
pub(crate) fn quoted_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        push_escaped(&mut out, chunk.valid());
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
}

/// Go's `%g`, shortest digits: an exponent below -4 or from 21 on.
pub(crate) fn go_g(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value != 0.0 && !(1e-4..1e21).contains(&value.abs()) {
        let mut out = String::new();
        crate::http::respond::push_exponent(&mut out, value);
        return out;
    }
    format!("{value}")
}

/// A length of time as Prometheus prints it: `1h30m`, `382d4h5m6s7ms`, `0s`. Units: ms.
pub(crate) fn duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
    }
    let mut rest = ms.unsigned_abs();
    // Years and weeks are written only where nothing else is left.
    const UNITS: [(&str, u64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    for (name, size, exact) in UNITS {
        if exact && !rest.is_multiple_of(size) {
            continue;
        }
        if rest >= size {
            out.push_str(&format!("{}{name}", rest / size));
            rest %= size;
        }
    }
    out
}
