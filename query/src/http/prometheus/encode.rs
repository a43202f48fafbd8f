//! Values as JSON.

use model::Histogram;

use super::super::respond::{push_float, push_labels, push_time_ms};
use crate::kernels::{Steps, is_absent};
use crate::promql::{Cell, PointSeries, Row, Value, histogram_buckets};

/// Appends `{"resultType":...,"result":...` without the last brace.
pub(super) fn push_value(out: &mut String, value: &Value, steps: Steps, is_instant: bool) {
    let kind = match value {
        Value::Scalar(_) if is_instant => "scalar",
        Value::Text(_) => "string",
        Value::Vector(_) if is_instant => "vector",
        Value::Scalar(_) | Value::Vector(_) | Value::Matrix(_) => "matrix",
    };
    out.push_str("{\"resultType\":\"");
    out.push_str(kind);
    out.push_str("\",\"result\":");
    match value {
        Value::Scalar(values) if is_instant => {
            push_sample(out, steps.start, values.first().copied().unwrap_or(f64::NAN));
        }
        Value::Scalar(values) => {
            out.push('[');
            push_row(out, &Row::of(model::Labels::default(), values.clone()), steps);
            out.push(']');
        }
        Value::Text(text) => {
            out.push('[');
            push_time_ms(out, steps.start);
            out.push(',');
            super::super::respond::push_string(out, text);
            out.push(']');
        }
        Value::Vector(rows) => list(out, rows, |out, row| {
            if is_instant { push_element(out, row, steps.start) } else { push_row(out, row, steps) }
        }),
        Value::Matrix(series) => list(out, series, push_points),
    }
}

fn list<T>(out: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

/// `[time,"value"]`.
fn push_sample(out: &mut String, time_ms: i64, value: f64) {
    out.push('[');
    push_time_ms(out, time_ms);
    out.push_str(",\"");
    push_float(out, value);
    out.push_str("\"]");
}

fn push_element(out: &mut String, row: &Row, time_ms: i64) {
    out.push_str("{\"metric\":");
    push_labels(out, &row.labels);
    match row.cell(0) {
        Some(Cell::Float(value)) => {
            out.push_str(",\"value\":");
            push_sample(out, time_ms, value);
        }
        Some(Cell::Histogram(histogram)) => {
            out.push_str(",\"histogram\":");
            push_histogram_sample(out, time_ms, &histogram);
        }
        None => {}
    }
    out.push('}');
}

fn push_row(out: &mut String, row: &Row, steps: Steps) {
    out.push_str("{\"metric\":");
    push_labels(out, &row.labels);
    let mut any = false;
    for (time, &value) in steps.iter().zip(&row.floats) {
        if !is_absent(value) {
            out.push_str(if any { "," } else { ",\"values\":[" });
            push_sample(out, time, value);
            any = true;
        }
    }
    if any {
        out.push(']');
    }
    let mut any = false;
    for (time, histogram) in steps.iter().zip(&row.histograms) {
        if let Some(histogram) = histogram {
            out.push_str(if any { "," } else { ",\"histograms\":[" });
            push_histogram_sample(out, time, histogram);
            any = true;
        }
    }
    if any {
        out.push(']');
    }
    out.push('}');
}

fn push_points(out: &mut String, series: &PointSeries) {
    out.push_str("{\"metric\":");
    push_labels(out, &series.labels);
    if !series.times.is_empty() {
        out.push_str(",\"values\":[");
        for (index, (&time, &value)) in series.times.iter().zip(&series.values).enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_sample(out, time, value);
        }
        out.push(']');
    }
    if !series.histograms.is_empty() {
        out.push_str(",\"histograms\":");
        list(out, &series.histograms, |out, (time, histogram)| {
            push_histogram_sample(out, *time, histogram);
        });
    }
    out.push('}');
}

fn push_quoted(out: &mut String, value: f64) {
    out.push('"');
    push_float(out, value);
    out.push('"');
}

/// `[time,{"count":...,"sum":...,"buckets":[[rule,"lower","upper","count"],...]}]`; the rule says
/// which ends belong to the bucket: 0 the upper, 1 the lower, 2 neither, 3 both.
fn push_histogram_sample(out: &mut String, time_ms: i64, histogram: &Histogram) {
    out.push('[');
    push_time_ms(out, time_ms);
    out.push_str(",{\"count\":");
    push_quoted(out, histogram.count);
    out.push_str(",\"sum\":");
    push_quoted(out, histogram.sum);
    let mut any = false;
    for bucket in histogram_buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        out.push_str(if any { "," } else { ",\"buckets\":[" });
        any = true;
        let rule = match (bucket.has_lower, bucket.has_upper) {
            (false, true) => '0',
            (true, false) => '1',
            (false, false) => '2',
            (true, true) => '3',
        };
        out.push('[');
        out.push(rule);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(',');
            push_quoted(out, number);
        }
        out.push(']');
    }
    if any {
        out.push(']');
    }
    out.push_str("}]");
}

/// Appends `,"stats":...`. Units: `elapsed_ns` of the whole evaluation.
pub(super) fn push_stats(out: &mut String, mode: &str, samples: u64, elapsed_ns: i64) {
    let seconds = elapsed_ns as f64 / 1e9;
    out.push_str(&format!(
        ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{seconds},\"resultSortTime\":0,\
         \"queryPreparationTime\":0,\"innerEvalTime\":{seconds},\"execQueueTime\":0,\
         \"execTotalTime\":{seconds}}},\"samples\":{{\"totalQueryableSamples\":{samples},\
         \"peakSamples\":{samples}"
    ));
    if mode == "all" {
        out.push_str(",\"totalQueryableSamplesPerStep\":[]");
    }
    out.push_str("}}");
}
