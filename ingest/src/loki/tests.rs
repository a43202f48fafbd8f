//! Conformance cases, limits, bytes that make no sense.

use std::collections::BTreeMap;

use base64::Engine as _;
use model::{Batch, LogsBatch, Reason, Rejections};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{decode_json, decode_protobuf, labels};
use crate::testing::{Bench, conformance_folder};

type LabelMap = BTreeMap<String, String>;
type Row = (LabelMap, i64, String, Vec<(String, String)>);

fn logs(decoded: (Batch, Rejections)) -> (LogsBatch, Rejections) {
    match decoded {
        (Batch::Logs(batch), rejections) => (batch, rejections),
        other => panic!("no logs: {other:?}"),
    }
}

fn rows(batch: &LogsBatch) -> Vec<Row> {
    let row = |row: &model::LogRow| {
        let labels = batch.streams[row.stream as usize].labels.iter();
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let metadata = batch.attributes(row).iter();
        let metadata =
            metadata.map(|(k, v)| (k.to_owned(), v.as_str().unwrap().to_owned())).collect();
        (labels, row.time_ns, batch.line(row).into_owned(), metadata)
    };
    batch.rows.iter().map(row).collect()
}

fn expected(case: &Json) -> Vec<Row> {
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let mut rows = Vec::new();
    for stream in case["expect"]["streams"].as_array().unwrap() {
        let labels: LabelMap = stream["labels"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        for entry in stream["entries"].as_array().unwrap() {
            let pairs = entry["structured_metadata"].as_array().cloned().unwrap_or_default();
            let pairs = pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
            let time = text(&entry["ts"]).parse().unwrap();
            rows.push((labels.clone(), time, text(&entry["line"]), pairs));
        }
    }
    rows
}

/// The body as a decoder gets it, or nothing where the edge refuses the request.
fn plain_body(case: &Json) -> Option<(Vec<u8>, bool)> {
    let header = |name: &str| case["headers"][name].as_str().unwrap_or_default();
    let is_json = header("Content-Type").starts_with("application/json");
    if let Some(decoded) = case["decoded"].as_str() {
        return Some((decoded.as_bytes().to_owned(), is_json));
    }
    let body = match case["body_base64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        None => case["body"].as_str().unwrap().as_bytes().to_owned(),
    };
    if is_json {
        return header("Content-Encoding").is_empty().then_some((body, true));
    }
    snap::raw::Decoder::new().decompress_vec(&body).ok().map(|plain| (plain, false))
}

fn run_case(case: &Json) -> Result<(), String> {
    let accept = case["expect"]["accept"] == true;
    let decoded = plain_body(case).and_then(|(body, is_json)| {
        let decode = if is_json { decode_json } else { decode_protobuf };
        Bench::new(Default::default()).decode(decode, &body).ok()
    });
    let Some(decoded) = decoded else {
        return if accept { Err("refused".to_owned()) } else { Ok(()) };
    };
    let (batch, rejections) = logs(decoded);
    if !accept {
        return Err(format!("taken: {:?}", rows(&batch)));
    }
    if !rejections.is_empty() {
        return Err(format!("{rejections:?}"));
    }
    let mut got = rows(&batch);
    let want = expected(case);
    if case["service_name_discovery"] != true {
        // The reference ran these without discovery, which is always on here.
        for (got, want) in got.iter_mut().zip(&want) {
            if !want.0.contains_key("service_name") {
                got.0.remove("service_name");
            }
        }
    }
    if got == want { Ok(()) } else { Err(format!("{got:?} is not {want:?}")) }
}

#[test]
fn conformance_cases() {
    let Some(folder) = conformance_folder() else {
        println!("no conformance data: skipped");
        return;
    };
    let text = std::fs::read_to_string(folder.join("loki_push/push-cases.jsonl")).unwrap();
    let cases: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| run_case(case).err().map(|why| format!("{}: {why}", case["id"])))
        .collect();
    println!("{} of {} cases pass", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn an_entry_that_is_refused_leaves_the_others() {
    let mut bench = Bench::new(Default::default());
    bench.limits.line_bytes_max = 5;
    let body = br#"{"streams":[
        {"values":[["1","short"],["2","too long"],["9000000000000000000","far"]],
         "stream":{"a":"1"}},
        {"stream":{"not valid":"1"},"values":[["1","x"]]},
        {"stream":{"a":"2"},"values":[["3","\ud800"]]}]}"#;
    let (batch, rejections) = logs(bench.decode(decode_json, body).unwrap());
    let reasons: Vec<Reason> = rejections.list.iter().map(|known| known.reason).collect();
    assert_eq!(
        reasons,
        [Reason::LineTooLong, Reason::TooFarInFuture, Reason::InvalidLabels],
        "{rejections:?}"
    );
    let lines: Vec<String> = rows(&batch).into_iter().map(|row| row.2).collect();
    assert_eq!(lines[0], "short");
    assert_eq!(lines.len(), 2);
    assert_eq!(rows(&batch)[0].0["service_name"], "unknown_service");
}

#[test]
fn labels_follow_the_grammar() {
    let check = |text: &str, want: Option<&[(&str, &str)]>| {
        let got = labels::parse(text).ok();
        assert_eq!(
            got,
            want.map(|pairs| model::Labels::from_pairs(pairs.iter().copied())),
            "{text}"
        );
    };
    check(r#"{a="1", b = "2",}"#, Some(&[("a", "1"), ("b", "2")]));
    check("{}", Some(&[]));
    check(r#"{a="\u00e9\n\x41\101\\"}"#, Some(&[("a", "é\nAA\\")]));
    check("{a=`raw\\n`}", Some(&[("a", "raw\\n")]));
    check(r#"{a!="1"}"#, None);
    check(r#"{a="1"} x"#, None);
    check(r#"{a="1" b="2"}"#, None);
    check(r#"{1a="1"}"#, None);
    check(r#"{a="1", a="2"}"#, None);
    check(r#"{a="\q"}"#, None);
    check(r#"{a="1"#, None);
    check("", None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bench = Bench::new(Default::default());
        let _either = bench.decode(decode_json, &bytes);
        let _either = bench.decode(decode_protobuf, &bytes);
        let _either = labels::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_label_text_does_not_panic(text in r#"\{[a=",\\xu0é`}]{0,20}"#) {
        let _either = labels::parse(&text);
    }

    #[test]
    fn lines_and_metadata_come_back(line in ".{0,40}", key in "[a-z]{1,5}", value in ".{0,300}") {
        let body = serde_json::json!({"streams": [{
            "stream": {"app": "a"}, "values": [["7", line, {key.clone(): value}]]}]});
        let bench = Bench::new(Default::default());
        let decoded = bench.decode(decode_json, body.to_string().as_bytes()).unwrap();
        let (batch, _) = logs(decoded);
        let got = rows(&batch).remove(0);
        prop_assert_eq!((got.1, got.2, got.3), (7, line, vec![(key, value)]));
    }
}
