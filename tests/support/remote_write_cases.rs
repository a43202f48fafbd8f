//! The remote write conformance cases as plain structs, for tests of the decoder and of the server.
//!
//! Both include this file by its path.
//!
//! Nothing here judges: a case is what was sent, what the reference answered, what it stored.

use std::path::PathBuf;

use serde_json::Value;

/// One sequence of requests to an empty store.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    /// MUST, SHOULD or MAY.
    pub(crate) level: String,
    pub(crate) out_of_order_window_ms: i64,
    pub(crate) steps: Vec<Step>,
    pub(crate) stored: Vec<StoredSeries>,
    pub(crate) stored_exemplars: Vec<StoredExemplar>,
}

/// One request and the reference's answer.
#[derive(Debug)]
pub(crate) struct Step {
    /// `1.0` or `2.0`.
    pub(crate) protocol: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) reference_status: u16,
}

/// A series in the reference's store at the end; labels in ascending order of name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSeries {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) samples: Vec<StoredSample>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSample {
    pub(crate) time_ms: i64,
    /// A float as Go writes it, `stale`, or a histogram literal (`{{...}}`).
    pub(crate) value: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredExemplar {
    pub(crate) series: Vec<(String, String)>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) time_ms: i64,
    pub(crate) value: String,
}

/// The folder of conformance data: `TERCET_CONFORMANCE`, or beside the repository.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("TERCET_CONFORMANCE").map(PathBuf::from);
    let root = env!("CARGO_MANIFEST_DIR");
    named
        .into_iter()
        .chain(
            ["../shared/conformance", "../../shared/conformance", "../../../shared/conformance"]
                .iter()
                .map(|path| PathBuf::from(root).join(path)),
        )
        .find(|path| path.is_dir())
}

/// Reads `remote_write/cases.jsonl` of `folder`.
pub(crate) fn load(folder: &std::path::Path) -> Vec<Case> {
    let text = std::fs::read_to_string(folder.join("remote_write/cases.jsonl")).unwrap();
    text.lines().map(|line| case(&serde_json::from_str(line).unwrap())).collect()
}

fn case(json: &Value) -> Case {
    let list = |name: &str| json[name].as_array().cloned().unwrap_or_default();
    let exemplar = |json: &Value| StoredExemplar {
        series: labels(&json["series"]),
        labels: labels(&json["labels"]),
        time_ms: json["t"].as_i64().unwrap(),
        value: text(&json["v"]),
    };
    Case {
        id: text(&json["id"]),
        level: text(&json["level"]),
        out_of_order_window_ms: json["out_of_order_window_ms"].as_i64().unwrap_or(0),
        steps: list("steps").iter().map(step).collect(),
        stored: list("stored_series").iter().map(stored).collect(),
        stored_exemplars: list("stored_exemplars").iter().map(exemplar).collect(),
    }
}

fn step(json: &Value) -> Step {
    let headers = json["headers"].as_object().unwrap();
    Step {
        protocol: text(&json["protocol"]),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: base64(json["body_base64"].as_str().unwrap()),
        reference_status: json["reference"]["status"].as_u64().unwrap() as u16,
    }
}

fn stored(json: &Value) -> StoredSeries {
    let sample = |json: &Value| StoredSample {
        time_ms: json["t"].as_i64().unwrap(),
        value: text(if json["h"].is_string() { &json["h"] } else { &json["v"] }),
    };
    StoredSeries {
        labels: labels(&json["labels"]),
        samples: json["samples"].as_array().unwrap().iter().map(sample).collect(),
    }
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn labels(json: &Value) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = json
        .as_object()
        .map(|map| map.iter().map(|(name, value)| (name.clone(), text(value))).collect())
        .unwrap_or_default();
    labels.sort();
    labels
}

fn base64(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        word = word << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    out
}
