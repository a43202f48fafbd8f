//! Native histograms of remote write: integer or float, exponential or with custom buckets.
//!
//! Integer buckets come as deltas to their left neighbour and become absolute counts here. What is
//! checked is what Prometheus checks before it appends.
//! Source: `prompb/types.proto` `Histogram`; `model/histogram/{histogram,float_histogram}.go` (3.14).

use model::wire::{Field, Reader, WireError};
use model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Histogram};

/// What a `Histogram` message holds before it is checked.
#[derive(Default)]
struct Raw {
    histogram: Histogram,
    time_ms: i64,
    count_int: Option<u64>,
    zero_count_int: u64,
    negative_deltas: Vec<i64>,
    positive_deltas: Vec<i64>,
}

/// Reads a `Histogram`: its time, and it or the reason why it cannot be stored.
///
/// Errors: bytes that are no protobuf.
pub(super) fn read(bytes: &[u8]) -> Result<(i64, Result<Box<Histogram>, String>), WireError> {
    let mut raw = Raw::default();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field()? {
        let histogram = &mut raw.histogram;
        match (number, field) {
            (1, Field::Varint(count)) => raw.count_int = Some(count),
            (2, Field::Fixed64(bits)) => {
                raw.count_int = None;
                histogram.count = f64::from_bits(bits);
                histogram.is_float = true;
            }
            (3, Field::Fixed64(bits)) => histogram.sum = f64::from_bits(bits),
            (4, Field::Varint(schema)) => histogram.schema = zigzag32(schema),
            (5, Field::Fixed64(bits)) => histogram.zero_threshold = f64::from_bits(bits),
            (6, Field::Varint(count)) => raw.zero_count_int = count,
            (7, Field::Fixed64(bits)) => histogram.zero_count = f64::from_bits(bits),
            (8, Field::Bytes(span)) => histogram.negative_spans.push(read_span(span)?),
            (9, field) => read_deltas(&mut raw.negative_deltas, field)?,
            (10, field) => read_doubles(&mut histogram.negative_buckets, field)?,
            (11, Field::Bytes(span)) => histogram.positive_spans.push(read_span(span)?),
            (12, field) => read_deltas(&mut raw.positive_deltas, field)?,
            (13, field) => read_doubles(&mut histogram.positive_buckets, field)?,
            (14, Field::Varint(hint)) => histogram.reset_hint = u8::try_from(hint).unwrap_or(0),
            (15, Field::Varint(time)) => raw.time_ms = time as i64,
            (16, field) => read_doubles(&mut histogram.custom_values, field)?,
            _ => {}
        }
    }
    let time_ms = raw.time_ms;
    Ok((time_ms, finish(raw)))
}

fn finish(raw: Raw) -> Result<Box<Histogram>, String> {
    let mut histogram = raw.histogram;
    if !histogram.is_float {
        histogram.count = raw.count_int.unwrap_or(0) as f64;
        histogram.zero_count = raw.zero_count_int as f64;
        histogram.positive_buckets = absolute(&raw.positive_deltas)?;
        histogram.negative_buckets = absolute(&raw.negative_deltas)?;
    }
    if histogram.reset_hint > 3 {
        histogram.reset_hint = 0;
    }
    check(&histogram)?;
    Ok(Box::new(histogram))
}

/// Bucket counts from deltas to the left neighbour.
fn absolute(deltas: &[i64]) -> Result<Vec<f64>, String> {
    let mut buckets = Vec::with_capacity(deltas.len());
    let mut count = 0i64;
    for (index, delta) in deltas.iter().enumerate() {
        count = count.checked_add(*delta).ok_or_else(|| {
            format!("bucket {} has a count out of range", index.saturating_add(1))
        })?;
        if count < 0 {
            return Err(format!(
                "bucket {} has a negative count of {count}",
                index.saturating_add(1)
            ));
        }
        buckets.push(count as f64);
    }
    Ok(buckets)
}

/// Checks what every histogram that is stored must hold to.
///
/// Errors: the first rule that is broken, as a sentence.
pub(crate) fn check(histogram: &Histogram) -> Result<(), String> {
    if histogram.schema == CUSTOM_BUCKETS_SCHEMA {
        check_custom(histogram)?;
    } else {
        if !(-4..=8).contains(&histogram.schema) {
            return Err(format!("schema {} is not known", histogram.schema));
        }
        if !histogram.custom_values.is_empty() {
            return Err("an exponential histogram has custom bounds".to_owned());
        }
        if histogram.zero_threshold < 0.0 || histogram.zero_threshold.is_nan() {
            return Err(format!("zero threshold {} is below 0", histogram.zero_threshold));
        }
    }
    check_spans(&histogram.positive_spans, histogram.positive_buckets.len(), "positive")?;
    check_spans(&histogram.negative_spans, histogram.negative_buckets.len(), "negative")?;
    let buckets = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    if buckets.clone().any(|count| *count < 0.0) {
        return Err("a bucket has a negative count".to_owned());
    }
    if histogram.zero_count < 0.0 {
        return Err(format!("the zero bucket has a negative count of {}", histogram.zero_count));
    }
    if histogram.count < 0.0 {
        return Err(format!("the count of observations is negative: {}", histogram.count));
    }
    if histogram.is_float || model::is_stale(histogram.sum) {
        return Ok(());
    }
    // Integers are exact, so they must add up; NaN observations are in no bucket.
    let in_buckets = buckets.sum::<f64>() + histogram.zero_count;
    let adds_up = if histogram.sum.is_nan() {
        in_buckets <= histogram.count
    } else {
        in_buckets == histogram.count
    };
    if adds_up {
        return Ok(());
    }
    Err(format!("{in_buckets} observations in buckets, but a count of {}", histogram.count))
}

fn check_custom(histogram: &Histogram) -> Result<(), String> {
    if histogram.zero_count != 0.0 || histogram.zero_threshold != 0.0 {
        return Err("custom buckets must have no zero bucket".to_owned());
    }
    if !histogram.negative_spans.is_empty() || !histogram.negative_buckets.is_empty() {
        return Err("custom buckets must have no negative side".to_owned());
    }
    if histogram.custom_values.iter().any(|bound| bound.is_nan()) {
        return Err("a custom bound is not a number".to_owned());
    }
    let ascending = |pair: &[f64]| matches!(pair, [low, high] if low < high);
    if !histogram.custom_values.windows(2).all(ascending) {
        return Err("custom bounds do not ascend".to_owned());
    }
    if histogram.custom_values.last() == Some(&f64::INFINITY) {
        return Err("the bound +Inf is implied and must not be sent".to_owned());
    }
    let reach = histogram
        .positive_spans
        .iter()
        .map(|span| i64::from(span.offset).saturating_add(i64::from(span.length)))
        .fold(0i64, i64::saturating_add);
    if reach > (histogram.custom_values.len() as i64).saturating_add(1) {
        return Err(format!(
            "{} custom bounds are too few for buckets up to {reach}",
            histogram.custom_values.len()
        ));
    }
    if histogram.positive_spans.first().is_some_and(|span| span.offset < 0) {
        return Err("custom buckets start before the first bound".to_owned());
    }
    Ok(())
}

fn check_spans(spans: &[BucketSpan], buckets: usize, side: &str) -> Result<(), String> {
    let mut length = 0u64;
    // The index of the last bucket must fit, so that readers can count without a check.
    let mut end = 0i64;
    for (index, span) in spans.iter().enumerate() {
        if index > 0 && span.offset < 0 {
            return Err(format!("{side} span {} has a negative offset", index.saturating_add(1)));
        }
        length = length.saturating_add(u64::from(span.length));
        end = end.saturating_add(i64::from(span.offset)).saturating_add(i64::from(span.length));
    }
    if length != buckets as u64 {
        return Err(format!("{side} spans need {length} buckets, there are {buckets}"));
    }
    if i32::try_from(end).is_err() {
        return Err(format!("{side} spans reach bucket {end}, which is out of range"));
    }
    Ok(())
}

fn read_span(bytes: &[u8]) -> Result<BucketSpan, WireError> {
    let mut span = BucketSpan { offset: 0, length: 0 };
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(offset)) => span.offset = zigzag32(offset),
            (2, Field::Varint(length)) => span.length = length as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// A repeated `sint64`, packed or not.
fn read_deltas(out: &mut Vec<i64>, field: Field<'_>) -> Result<(), WireError> {
    match field {
        Field::Varint(number) => out.push(zigzag64(number)),
        Field::Bytes(packed) => {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                out.push(zigzag64(reader.varint()?));
            }
        }
        _ => {}
    }
    Ok(())
}

/// A repeated `double`, packed or not.
pub(crate) fn read_doubles(out: &mut Vec<f64>, field: Field<'_>) -> Result<(), WireError> {
    match field {
        Field::Fixed64(bits) => out.push(f64::from_bits(bits)),
        Field::Bytes(packed) => {
            let (chunks, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                let offset = packed.len().saturating_sub(rest.len());
                return Err(WireError { offset, what: "a list of doubles is cut short" });
            }
            out.extend(chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)));
        }
        _ => {}
    }
    Ok(())
}

pub(crate) fn zigzag64(number: u64) -> i64 {
    (number >> 1) as i64 ^ ((number & 1) as i64).wrapping_neg()
}

pub(crate) fn zigzag32(number: u64) -> i32 {
    zigzag64(number & 0xffff_ffff) as i32
}
