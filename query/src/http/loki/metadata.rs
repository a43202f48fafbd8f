//! Labels, series, volumes: what there is, without the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use http::StatusCode;
use model::Stream;
use storage::{Budget, Direction, LogScan, Matcher, Notices, Snapshot, TimeRange};

use super::super::params::Params;
use super::super::respond::{self, push_strings};
use super::render::push_pairs;
use super::{Answer, Call, Failure, window};
use crate::logql::{Expr, matchers, parse};

/// Labels that are of no use to people.
const HIDDEN: [&str; 4] =
    ["__aggregated_metric__", "__pattern__", "__tenant_id__", "__stream_shard__"];

/// The matchers of a stream selector; none where it is empty.
fn selector(call: &Call, text: Option<&str>) -> Result<Vec<Matcher>, Failure> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty() && *text != "{}") else {
        return Ok(Vec::new());
    };
    let limits = call.limits();
    match parse(text, limits)? {
        Expr::Log(log) => Ok(matchers(&log, limits.regex)?),
        _ => Err(Failure::bad_request("only label matchers are supported")),
    }
}

async fn streams(call: &Call, matchers: Vec<Matcher>) -> Result<Vec<Arc<Stream>>, Failure> {
    let range = window::bounds(&call.params, call.source.now_ns())?;
    let tenant = call.tenant().clone();
    call.run(move |source, budget| {
        let snapshot = source.snapshot(&tenant);
        let (streams, _notices) = snapshot.logs().streams(&matchers, range, budget)?;
        Ok(streams)
    })
    .await
}

fn strings(texts: &BTreeSet<String>) -> String {
    let texts: Vec<&String> = texts.iter().collect();
    let mut out = "{\"status\":\"success\",\"data\":".to_owned();
    push_strings(&mut out, &texts);
    out.push('}');
    out
}

pub(super) async fn labels(call: Call) -> Answer {
    let matchers = selector(&call, call.params.get("query"))?;
    let mut names = BTreeSet::new();
    for stream in streams(&call, matchers).await? {
        names.extend(stream.labels.iter().map(|(name, _)| name.to_owned()));
    }
    names.retain(|name| !HIDDEN.contains(&name.as_str()));
    Ok(respond::json(StatusCode::OK, strings(&names)))
}

pub(super) async fn label_values(call: Call, name: String) -> Answer {
    let matchers = selector(&call, call.params.get("query"))?;
    let mut values = BTreeSet::new();
    // An empty answer turns Grafana's splitting by shard off.
    if !HIDDEN.contains(&name.as_str()) {
        for stream in streams(&call, matchers).await? {
            values.extend(stream.labels.get(&name).map(str::to_owned));
        }
    }
    Ok(respond::json(StatusCode::OK, strings(&values)))
}

pub(super) async fn series(call: Call) -> Answer {
    let selectors: Vec<String> = ["match[]", "match"]
        .into_iter()
        .flat_map(|name| call.params.all(name))
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    let every = vec![String::new()];
    for text in if selectors.is_empty() { &every } else { &selectors } {
        for stream in streams(&call, selector(&call, Some(text))?).await? {
            let pairs =
                stream.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            found.insert(pairs.collect::<Vec<_>>());
        }
    }
    let mut out = "{\"status\":\"success\",\"data\":[".to_owned();
    for (at, labels) in found.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_pairs(&mut out, labels);
    }
    out.push_str("]}");
    Ok(respond::json(StatusCode::OK, out))
}

type Pairs = Vec<(String, String)>;

/// Records and bytes by stream and bucket.
type Tallies = BTreeMap<(Pairs, i64), Tally>;

/// Records and bytes of one stream, perhaps by step.
#[derive(Debug, Default, Clone)]
struct Tally {
    entries: u64,
    bytes: u64,
}

/// Counts records by stream and bucket. Each record is looked at, none is parsed.
fn tally(
    snapshot: &Snapshot,
    matchers: Vec<Matcher>,
    range: TimeRange,
    budget: &Budget,
    bucket: &dyn Fn(i64) -> i64,
) -> Result<(Tallies, Notices), Failure> {
    let scan = LogScan {
        matchers,
        range,
        line_contains: Vec::new(),
        attribute_hints: Vec::new(),
        trace_id: None,
        direction: Direction::Forward,
    };
    let mut all = Tallies::new();
    let mut failure = None;
    let notices = snapshot.logs().scan(&scan, budget, &mut |block, _bound| {
        if let Err(error) = budget.check() {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        let mut local: BTreeMap<(u32, i64), Tally> = BTreeMap::new();
        for row in block.iter() {
            let tally = local.entry((row.stream, bucket(row.time_ns))).or_default();
            tally.entries += 1;
            tally.bytes += u64::from(row.body.len) + u64::from(row.attributes.len);
        }
        for ((stream, bucket), found) in local {
            let Some(stream) = block.batch.streams.get(stream as usize) else { continue };
            let labels: Vec<(String, String)> = stream
                .labels
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let tally = all.entry((labels, bucket)).or_default();
            tally.entries += found.entries;
            tally.bytes += found.bytes;
        }
        ControlFlow::Continue(())
    })?;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok((all, notices)),
    }
}

pub(super) async fn stats(call: Call) -> Answer {
    let matchers = selector(&call, call.params.get("query"))?;
    let range = window::bounds(&call.params, call.source.now_ns())?;
    let tenant = call.tenant().clone();
    let (all, _notices) = call
        .run(move |source, budget| {
            tally(&source.snapshot(&tenant), matchers, range, budget, &|_| 0)
        })
        .await?;
    let bytes: u64 = all.values().map(|tally| tally.bytes).sum();
    let entries: u64 = all.values().map(|tally| tally.entries).sum();
    let streams = all.len();
    let body = format!(
        "{{\"streams\":{streams},\"chunks\":{streams},\"bytes\":{bytes},\"entries\":{entries}}}"
    );
    Ok(respond::json(StatusCode::OK, body))
}

/// By what volumes are added up.
struct VolumeShape {
    /// Empty: the labels of the selector.
    targets: Vec<String>,
    by_labels: bool,
    limit: usize,
}

impl VolumeShape {
    fn read(params: &Params, matchers: &[Matcher]) -> Result<VolumeShape, Failure> {
        let mut targets: Vec<String> = params
            .get("targetLabels")
            .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect())
            .unwrap_or_default();
        let by_labels = match params.get("aggregateBy") {
            None | Some("series") => false,
            Some("labels") => true,
            Some(_) => return Err(Failure::bad_request("invalid aggregation option")),
        };
        if targets.is_empty() && !by_labels {
            targets = matchers.iter().map(|matcher| matcher.name.clone()).collect();
        }
        Ok(VolumeShape { targets, by_labels, limit: window::count(params, "limit", 100)? })
    }

    /// The series that a stream's volume counts for.
    fn series(&self, labels: &[(String, String)]) -> Vec<Pairs> {
        let wanted = |name: &String| self.targets.is_empty() || self.targets.contains(name);
        let chosen = labels.iter().filter(|(name, _)| wanted(name));
        if self.by_labels {
            return chosen.map(|(name, _)| vec![(name.clone(), String::new())]).collect();
        }
        let labels: Vec<(String, String)> = chosen.cloned().collect();
        if labels.is_empty() { Vec::new() } else { vec![labels] }
    }
}

type Volumes = Vec<(Pairs, BTreeMap<i64, u64>)>;

/// Volumes by series and bucket, largest first. `step_ns` of 0 makes one bucket.
async fn volumes(call: &Call, range: TimeRange, step_ns: i64) -> Result<Volumes, Failure> {
    let matchers = selector(call, call.params.get("query"))?;
    let shape = VolumeShape::read(&call.params, &matchers)?;
    let tenant = call.tenant().clone();
    call.run(move |source, budget| {
        let bucket = move |time_ns: i64| {
            if step_ns == 0 { range.end_ns } else { time_ns.div_euclid(step_ns) * step_ns }
        };
        let (all, _notices) = tally(&source.snapshot(&tenant), matchers, range, budget, &bucket)?;
        let mut by_series: BTreeMap<Pairs, BTreeMap<i64, u64>> = BTreeMap::new();
        for ((labels, bucket), tally) in &all {
            for series in shape.series(labels) {
                *by_series.entry(series).or_default().entry(*bucket).or_default() += tally.bytes;
            }
        }
        let mut volumes: Volumes = by_series.into_iter().collect();
        volumes.sort_by_key(|(_, buckets)| std::cmp::Reverse(buckets.values().sum::<u64>()));
        volumes.truncate(shape.limit);
        Ok(volumes)
    })
    .await
}

fn push_volume(out: &mut String, time_ns: i64, bytes: u64) {
    out.push('[');
    respond::push_time_ms(out, time_ns.div_euclid(model::NS_PER_MS));
    out.push_str(&format!(",\"{bytes}\"]"));
}

pub(super) async fn volume(call: Call) -> Answer {
    let range = window::bounds(&call.params, call.source.now_ns())?;
    let mut out =
        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[".to_owned();
    for (at, (labels, buckets)) in volumes(&call, range, 0).await?.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"metric\":" } else { "{\"metric\":" });
        push_pairs(&mut out, labels);
        out.push_str(",\"value\":");
        push_volume(&mut out, range.end_ns, buckets.values().sum());
        out.push('}');
    }
    out.push_str("]}}");
    Ok(respond::json(StatusCode::OK, out))
}

pub(super) async fn volume_range(call: Call) -> Answer {
    let range = window::bounds(&call.params, call.source.now_ns())?;
    let steps = window::steps(&call.params, range)?;
    let mut out =
        "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[".to_owned();
    for (at, (labels, buckets)) in volumes(&call, range, steps.step).await?.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"metric\":" } else { "{\"metric\":" });
        push_pairs(&mut out, labels);
        out.push_str(",\"values\":[");
        for (at, (&bucket, &bytes)) in buckets.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            push_volume(&mut out, bucket, bytes);
        }
        out.push_str("]}");
    }
    out.push_str("]}}");
    Ok(respond::json(StatusCode::OK, out))
}

/// Labels shown even if their values look like IDs.
const ALWAYS_SHOWN: [&str; 4] = ["cluster", "namespace", "instance", "pod"];

pub(super) async fn detected_labels(call: Call) -> Answer {
    let matchers = selector(&call, call.params.get("query"))?;
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for stream in streams(&call, matchers).await? {
        for (name, value) in stream.labels.iter().filter(|(name, _)| !HIDDEN.contains(name)) {
            values.entry(name.to_owned()).or_default().insert(value.to_owned());
        }
    }
    values.retain(|name, values| {
        ALWAYS_SHOWN.contains(&name.as_str()) || !values.iter().all(|value| is_identifier(value))
    });
    let labels: Vec<serde_json::Value> = values
        .iter()
        .map(|(name, values)| serde_json::json!({"label": name, "cardinality": values.len()}))
        .collect();
    let body = serde_json::json!({"detectedLabels": labels});
    Ok(respond::json(StatusCode::OK, body.to_string()))
}

/// A number or a UUID.
fn is_identifier(value: &str) -> bool {
    let is_uuid = value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid || value.parse::<f64>().is_ok()
}
