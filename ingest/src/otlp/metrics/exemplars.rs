//! Exemplars of OTLP points.

use model::wire::{Field, Reader, WireError};
use model::{AttributesRef, Exemplar, LabelsBuilder};

use super::labels::value_text;

/// Characters of all labels of an exemplar up to which filtered attributes are kept beside the IDs
/// (OpenMetrics; Prometheus refuses longer ones).
const CHARS_MAX: usize = 128;

/// Reads an `Exemplar` of the batch's series `series`; without a time of its own it has the point's.
pub(super) fn read(bytes: &[u8], series: u32, point_time_ns: i64) -> Result<Exemplar, WireError> {
    let (mut value, mut time_ns) = (0.0, 0u64);
    let (mut trace_id, mut span_id): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (2, Field::Fixed64(ns)) => time_ns = ns,
            (3, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (6, Field::Fixed64(bits)) => value = bits as i64 as f64,
            (4, Field::Bytes(id)) => span_id = id,
            (5, Field::Bytes(id)) => trace_id = id,
            _ => {}
        }
    }
    let mut labels = LabelsBuilder::default();
    let mut chars = 0;
    for (name, id, length) in [("trace_id", trace_id, 16), ("span_id", span_id, 8)] {
        if id.len() == length && id.iter().any(|byte| *byte != 0) {
            let id = hex::encode(id);
            chars = name.len().saturating_add(id.len()).saturating_add(chars);
            labels.push(name, &id);
        }
    }
    let filtered: Vec<(&str, String)> = AttributesRef { bytes, field: 7 }
        .iter()
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key, value_text(value)))
        .collect();
    let texts = filtered.iter().flat_map(|(k, v)| [*k, v.as_str()]);
    chars = texts.map(|text| text.chars().count()).fold(chars, usize::saturating_add);
    if chars <= CHARS_MAX {
        for (key, value) in &filtered {
            labels.push(key, value);
        }
    }
    let time_ns = match time_ns {
        0 => point_time_ns,
        sent => i64::try_from(sent).unwrap_or(point_time_ns),
    };
    Ok(Exemplar { series, time_ms: model::ns_to_ms(time_ns), value, labels: labels.finish() })
}
