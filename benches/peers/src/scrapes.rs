//! Recorded scrapes of a node exporter and a server, sent again as remote write.
//!
//! The recording is a file of JSON lines in zstd, one series a line:
//! `{"metric":{..},"values":[..],"timestamps":[ms..]}` with `null` for NaN.

use std::collections::BTreeMap;
use std::path::Path;

use model::wire::{put_bytes, put_message};
use serde_json::Value;

use crate::load::{Load, REMOTE_WRITE};
use crate::metrics::put_sample;

const SAMPLES_PER_REQUEST: u64 = 2_000;

/// Reads a recording and moves it in time so that it ends at `end_ms`.
pub(crate) fn generate(path: &Path, end_ms: i64) -> Result<Load, String> {
    let problem = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let file = std::fs::File::open(path).map_err(|error| problem(&error))?;
    let bytes = zstd::decode_all(file).map_err(|error| problem(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| problem(&error))?;
    let mut labels = Vec::new();
    let mut by_time: BTreeMap<i64, Vec<(usize, f64)>> = BTreeMap::new();
    for line in text.lines() {
        let series: Value = serde_json::from_str(line).map_err(|error| problem(&error))?;
        let (Some(values), Some(times)) =
            (series["values"].as_array(), series["timestamps"].as_array())
        else {
            return Err(problem(&"a line without values and timestamps"));
        };
        for (value, time) in values.iter().zip(times) {
            let time = time.as_i64().ok_or_else(|| problem(&"a timestamp is no number"))?;
            by_time.entry(time).or_default().push((labels.len(), number(value)));
        }
        labels.push(put_labels(&series["metric"]));
    }
    let last = by_time.keys().next_back().copied().ok_or_else(|| problem(&"is empty"))?;
    let shift = end_ms - last;
    let mut load = Load::new(REMOTE_WRITE);
    let (mut plain, mut samples) = (Vec::new(), 0);
    for (time, scraped) in &by_time {
        for (series, value) in scraped {
            put_message(&mut plain, 1, |out| {
                out.extend_from_slice(&labels[*series]);
                put_sample(out, *value, time + shift);
            });
            samples += 1;
            if samples == SAMPLES_PER_REQUEST {
                load.push(0, samples, &plain);
                plain.clear();
                samples = 0;
            }
        }
    }
    load.push(0, samples, &plain);
    Ok(load)
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) if text == "Infinity" => f64::INFINITY,
        Value::String(text) if text == "-Infinity" => f64::NEG_INFINITY,
        other => other.as_f64().unwrap_or(f64::NAN),
    }
}

fn put_labels(metric: &Value) -> Vec<u8> {
    let pairs: BTreeMap<&str, &str> = metric
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    let mut out = Vec::new();
    for (name, value) in pairs {
        put_message(&mut out, 1, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_bytes(out, 2, value.as_bytes());
        });
    }
    out
}
