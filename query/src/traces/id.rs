//! IDs as people and programs write them.

use storage::IdQuery;

/// Reads 1 to 32 hex digits in any case, padded on the left (Tempo's and Jaeger's rule).
pub(crate) fn parse_trace_id(text: &str) -> Option<[u8; 16]> {
    parse_hex(text)
}

/// Reads 1 to 16 hex digits in any case, padded on the left.
pub(crate) fn parse_span_id(text: &str) -> Option<[u8; 8]> {
    parse_hex(text)
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let width = N * 2;
    if text.is_empty() || text.len() > width || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let padded = format!("{text:0>width$}");
    let mut id = [0; N];
    hex::decode_to_slice(padded, &mut id).ok()?;
    (id != [0; N]).then_some(id)
}

/// What somebody pasted: white space and quotes around it do not count, `0x` and the dashes of a
/// UUID do not count for a trace ID.
pub(crate) fn parse_any(text: &str) -> IdQuery {
    let text = text.trim().trim_matches(['"', '\'', '`']).trim();
    let plain = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let bare: String = plain.chars().filter(|c| *c != '-').collect();
    let is_uuid = plain.len() == 36 && bare.len() == 32;
    let digits = if is_uuid { bare.as_str() } else { plain };
    IdQuery {
        text: text.to_owned(),
        trace_id: parse_trace_id(digits),
        span_id: parse_span_id(digits),
    }
}
