//! What a request asks: URL parameters and form body in one list, the tenant, times and durations.
//!
//! Grafana puts some parameters into the URL even of a POST, so both are read always (api.md 3.1).
//! Nothing here renders an error: each dialect has its own shape for that.

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode, header};
use model::{NS_PER_MS, NS_PER_S, TenantId};

/// Largest form body. Units: bytes.
const FORM_BYTES_MAX: usize = 10 << 20;

/// A request that cannot be understood, before any dialect has looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadRequest {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl BadRequest {
    pub(crate) fn new(message: impl Into<String>) -> BadRequest {
        BadRequest { status: StatusCode::BAD_REQUEST, message: message.into() }
    }
}

/// Parameters of a request, decoded; those of the body come before those of the URL.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// Whose data is asked for.
    pub(crate) tenant: TenantId,
}

impl Params {
    /// Reads the whole request.
    ///
    /// Errors: a bad tenant or an unreadable body (400), a body above the limit (413).
    pub(crate) async fn read(request: Request<Body>) -> Result<Params, BadRequest> {
        let (parts, body) = request.into_parts();
        let tenant = tenant(&parts.headers)?;
        let mut pairs = Vec::new();
        if is_form(&parts.headers) {
            let bytes = axum::body::to_bytes(body, FORM_BYTES_MAX).await.map_err(|error| {
                let status = if is_too_long(&error) {
                    StatusCode::PAYLOAD_TOO_LARGE
                } else {
                    StatusCode::BAD_REQUEST
                };
                BadRequest { status, message: format!("cannot read the form: {error}") }
            })?;
            decode_pairs(&String::from_utf8_lossy(&bytes), &mut pairs);
        }
        decode_pairs(parts.uri.query().unwrap_or(""), &mut pairs);
        Ok(Params { pairs, tenant })
    }

    /// The first value under `name`; an empty one counts as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value under `name`, in order.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A non-negative whole number.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, BadRequest> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            BadRequest::new(format!("invalid parameter {name:?}: not a whole number: {text:?}"))
        })
    }
}

/// The tenant of a request, the default one where the header is missing or empty.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<TenantId, BadRequest> {
    let Some(value) = headers.get(TenantId::HEADER).filter(|value| !value.is_empty()) else {
        return Ok(TenantId::default());
    };
    let name = value.to_str().map_err(|error| BadRequest::new(format!("tenant id: {error}")))?;
    TenantId::parse(name).map_err(|error| BadRequest::new(error.to_string()))
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit") {
            return true;
        }
        source = error.source();
    }
    false
}

fn decode_pairs(text: &str, pairs: &mut Vec<(String, String)>) {
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decode_form(key), decode_form(value)));
    }
}

/// Percent-decodes; `+` is a space. What is not UTF-8 afterwards becomes replacement characters.
pub(crate) fn decode_form(text: &str) -> String {
    decode(text, true)
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| (byte as char).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', _, _) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into())
}

/// A moment: seconds since the epoch with a fraction, or RFC 3339. Units: ns.
pub(crate) fn parse_time_ns(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds_to_ns(seconds);
    }
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    // Beyond the years that i64 nanoseconds can say, hold at the end.
    Some(time.timestamp_nanos_opt().unwrap_or(if time.timestamp() < 0 {
        i64::MIN
    } else {
        i64::MAX
    }))
}

fn seconds_to_ns(seconds: f64) -> Option<i64> {
    if !seconds.is_finite() {
        return None;
    }
    // Whole seconds and milliseconds apart, so that a fraction does not lose digits to the sum.
    let whole = seconds.trunc();
    let fraction_ms = ((seconds - whole) * 1000.0).round();
    if whole.abs() > (i64::MAX / NS_PER_S) as f64 {
        // A time in milliseconds taken as seconds still ends somewhere.
        return Some(if whole < 0.0 { i64::MIN } else { i64::MAX });
    }
    Some((whole as i64).saturating_mul(NS_PER_S).saturating_add(fraction_ms as i64 * NS_PER_MS))
}

/// A moment, see [`parse_time_ns`]. Units: ms.
pub(crate) fn parse_time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let whole = seconds.trunc();
        let fraction_ms = ((seconds - whole) * 1000.0).round();
        return (seconds.is_finite() && whole.abs() < 9.2e15)
            .then(|| whole as i64 * 1000 + fraction_ms as i64);
    }
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// A length of time: seconds with a fraction, or `1h30m`. Units: ns.
pub(crate) fn parse_duration_ns(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * NS_PER_S as f64;
        return (ns.is_finite() && ns.abs() < 9.2e18).then_some(ns as i64);
    }
    duration_text_ns(text)
}

/// `1y2w3d4h5m6s7ms`: each unit at most once, in this order. Units: ns.
pub(crate) fn duration_text_ns(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400 * NS_PER_S),
        ("w", 7 * 86_400 * NS_PER_S),
        ("d", 86_400 * NS_PER_S),
        ("h", 3600 * NS_PER_S),
        ("m", 60 * NS_PER_S),
        ("s", NS_PER_S),
        ("ms", NS_PER_MS),
    ];
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
        let name = rest.get(..letters)?;
        let unit = (next_unit..UNITS.len()).find(|&unit| UNITS[unit].0 == name)?;
        total = total.checked_add(number.checked_mul(UNITS[unit].1)?)?;
        next_unit = unit + 1;
        rest = rest.get(letters..)?;
    }
    Some(total)
}

/// Undoes the `U__` escaping of names that are no identifiers: `_2e_` is a dot, `__` an underscore.
/// Text that is not of that form stays as it is.
pub(crate) fn unescape_name(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    unescape(escaped).unwrap_or_else(|| name.to_owned())
}

fn unescape(escaped: &str) -> Option<String> {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(rest.get(..at)?);
        rest = rest.get(at + 1..)?;
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let end = rest.find('_').filter(|&end| end <= 6)?;
        out.push(char::from_u32(u32::from_str_radix(rest.get(..end)?, 16).ok()?)?);
        rest = rest.get(end + 1..)?;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_query(query: &str) -> Params {
        let mut pairs = Vec::new();
        decode_pairs(query, &mut pairs);
        Params { pairs, tenant: TenantId::default() }
    }

    #[test]
    fn forms_are_decoded() {
        let params = from_query("query=a%7Bb%3D%22c+d%22%7D&match[]=x&match[]=y&empty=");
        assert_eq!(params.get("query"), Some("a{b=\"c d\"}"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.get("empty"), None);
        assert_eq!(decode_form("100%"), "100%");
    }

    #[test]
    fn times_and_durations() {
        assert_eq!(parse_time_ms("4"), Some(4000));
        assert_eq!(parse_time_ms("1435781451.781"), Some(1_435_781_451_781));
        assert_eq!(parse_time_ms("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
        assert_eq!(parse_time_ms("1435781451781"), Some(1_435_781_451_781_000));
        assert_eq!(parse_time_ms("NaN"), None);
        assert_eq!(parse_time_ns("0.25"), Some(250_000_000));
        assert_eq!(parse_duration_ns("0.5"), Some(500_000_000));
        assert_eq!(parse_duration_ns("1h30m"), Some(5400 * NS_PER_S));
        assert_eq!(parse_duration_ns("30m1h"), None);
        assert_eq!(parse_duration_ns("5"), Some(5 * NS_PER_S));
        assert_eq!(parse_duration_ns(""), None);
    }

    #[test]
    fn escaped_names() {
        assert_eq!(unescape_name("U__http_2e_status"), "http.status");
        assert_eq!(unescape_name("U__a__b"), "a_b");
        assert_eq!(unescape_name("plain_name"), "plain_name");
        assert_eq!(unescape_name("U__bad_zz_"), "U__bad_zz_");
    }
}
