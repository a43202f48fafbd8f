//! Native histograms as columns.
//!
//! The histograms of one series are cut into runs that have the same layout (schema, zero threshold,
//! spans, bounds, kind of counts); in a run the count, the sum, the zero bucket, the reset hints and each
//! bucket are vectors over time like any other (values.rs). Format: FORMAT.md "histogram blob".

use std::sync::Arc;

use model::wire::put_varint;
use model::{BucketSpan, Histogram};
use xxhash_rust::xxh3::xxh3_64;

use super::schema::{Cursor, Malformed, put_string, put_zigzag};
use super::values::{HeaderColumns, HeaderReader, VectorHeader};
use super::writer::SegmentWriter;
use crate::StorageError;

/// Histograms of one run.
const RUN_MAX: usize = 512;
/// Vectors beside the buckets: count, sum, zero count, reset hint.
const FIXED_VECTORS: usize = 4;
/// Buckets of one histogram that a reader accepts.
const BUCKETS_MAX: usize = 1 << 16;

/// Memory of one histogram. Units: bytes.
pub(crate) fn heap_bytes(histogram: &Histogram) -> usize {
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    let numbers = histogram.positive_buckets.len()
        + histogram.negative_buckets.len()
        + histogram.custom_values.len();
    size_of::<Histogram>() + 64 + 8 * (spans + numbers)
}

/// Tells histograms apart bit for bit.
pub(crate) fn fingerprint(histogram: &Histogram) -> u64 {
    let mut raw = layout(histogram);
    for column in 0..columns(histogram) {
        raw.extend_from_slice(&column_value(histogram, column).to_bits().to_le_bytes());
    }
    xxh3_64(&raw)
}

/// The part that histograms of one run share.
fn layout(histogram: &Histogram) -> Vec<u8> {
    let mut raw = Vec::new();
    put_zigzag(&mut raw, i64::from(histogram.schema));
    raw.extend_from_slice(&histogram.zero_threshold.to_bits().to_le_bytes());
    raw.push(u8::from(histogram.is_float));
    let sides = [
        (&histogram.positive_spans, histogram.positive_buckets.len()),
        (&histogram.negative_spans, histogram.negative_buckets.len()),
    ];
    for (spans, buckets) in sides {
        put_varint(&mut raw, spans.len() as u64);
        for span in spans {
            put_zigzag(&mut raw, i64::from(span.offset));
            put_varint(&mut raw, u64::from(span.length));
        }
        put_varint(&mut raw, buckets as u64);
    }
    put_varint(&mut raw, histogram.custom_values.len() as u64);
    for bound in &histogram.custom_values {
        raw.extend_from_slice(&bound.to_bits().to_le_bytes());
    }
    raw
}

/// A histogram without its counts, and how many buckets each side has.
fn parse_layout(bytes: &[u8]) -> Result<(Histogram, usize, usize), Malformed> {
    let mut cursor = Cursor::new(bytes);
    let mut histogram = Histogram {
        schema: i32::try_from(cursor.zigzag()?).map_err(|_| Malformed("a schema is unknown"))?,
        zero_threshold: f64::from_bits(cursor.u64_fixed()?),
        is_float: cursor.byte()? != 0,
        ..Histogram::default()
    };
    let mut side = |spans: &mut Vec<BucketSpan>| {
        for _ in 0..cursor.count()? {
            let offset = i32::try_from(cursor.zigzag()?);
            let offset = offset.map_err(|_| Malformed("a bucket span is out of range"))?;
            spans.push(BucketSpan { offset, length: cursor.u32()? });
        }
        let buckets = cursor.u32()? as usize;
        if buckets > BUCKETS_MAX { Err(Malformed("too many buckets")) } else { Ok(buckets) }
    };
    let positive = side(&mut histogram.positive_spans)?;
    let negative = side(&mut histogram.negative_spans)?;
    for _ in 0..cursor.count()? {
        histogram.custom_values.push(f64::from_bits(cursor.u64_fixed()?));
    }
    Ok((histogram, positive, negative))
}

fn columns(histogram: &Histogram) -> usize {
    FIXED_VECTORS + histogram.positive_buckets.len() + histogram.negative_buckets.len()
}

fn column_value(histogram: &Histogram, column: usize) -> f64 {
    match column {
        0 => histogram.count,
        1 => histogram.sum,
        2 => histogram.zero_count,
        3 => f64::from(histogram.reset_hint),
        bucket => {
            let bucket = bucket - FIXED_VECTORS;
            let positive = &histogram.positive_buckets;
            let value = positive
                .get(bucket)
                .or_else(|| histogram.negative_buckets.get(bucket - positive.len()));
            value.copied().unwrap_or(0.0)
        }
    }
}

fn set_column(histogram: &mut Histogram, column: usize, positive: usize, value: f64) {
    match column {
        0 => histogram.count = value,
        1 => histogram.sum = value,
        2 => histogram.zero_count = value,
        3 => histogram.reset_hint = value as u8,
        bucket if bucket - FIXED_VECTORS < positive => histogram.positive_buckets.push(value),
        _ => histogram.negative_buckets.push(value),
    }
}

/// Writes the histograms of one series: their numbers to the writer's pages, the rest as a blob.
pub(crate) fn encode(
    histograms: &[(i64, Arc<Histogram>)],
    writer: &mut SegmentWriter,
) -> Result<Vec<u8>, StorageError> {
    let mut runs = Vec::new();
    let mut count = 0u64;
    let mut headers = HeaderColumns::default();
    let mut starts = Vec::new();
    let mut rest = histograms;
    let mut values = Vec::new();
    while let Some((_, first)) = rest.first() {
        let shared = layout(first);
        let same = rest.iter().take(RUN_MAX).take_while(|(_, h)| layout(h) == shared).count();
        let (run, after) = rest.split_at(same);
        rest = after;
        count += 1;
        let times: Vec<i64> = run.iter().map(|(time, _)| *time).collect();
        put_string(&mut runs, &shared);
        put_varint(&mut runs, u64::from(writer.timeline(&times)?));
        for column in 0..columns(first) {
            values.clear();
            values.extend(run.iter().map(|(_, histogram)| column_value(histogram, column)));
            let header = writer.side_floats(&values)?;
            header.put(&mut headers);
            put_varint(&mut starts, header.start);
        }
    }
    let mut blob = Vec::new();
    put_varint(&mut blob, count);
    put_string(&mut blob, &runs);
    headers.write(&mut blob);
    put_string(&mut blob, &starts);
    Ok(blob)
}

/// What a blob needs from its segment.
pub(crate) trait VectorSource {
    /// The times of a timeline, and whether any of them is wanted.
    fn times(&self, timeline: u32) -> Result<(Arc<Vec<i64>>, bool), StorageError>;
    /// A vector stored beside the values, into the end of `out`.
    fn floats(&self, header: &VectorHeader, out: &mut Vec<f64>) -> Result<(), StorageError>;
    /// The file's name.
    fn name(&self) -> &str;
}

/// Reads a blob; runs without a wanted time are passed over.
pub(crate) fn decode(
    blob: &[u8],
    source: &dyn VectorSource,
    out: &mut Vec<(i64, Arc<Histogram>)>,
) -> Result<(), StorageError> {
    let malformed = |error: Malformed| error.in_file(source.name());
    let mut cursor = Cursor::new(blob);
    let count = cursor.count().map_err(malformed)?;
    let mut runs = Cursor::new(cursor.string().map_err(malformed)?);
    let mut headers = HeaderReader::new(&mut cursor).map_err(malformed)?;
    let mut starts = Cursor::new(cursor.string().map_err(malformed)?);
    let mut values = Vec::new();
    for _ in 0..count {
        let shared = runs.string().map_err(malformed)?;
        let (template, positive, negative) = parse_layout(shared).map_err(malformed)?;
        let (times, wanted) = source.times(runs.u32().map_err(malformed)?)?;
        let mut histograms = vec![template; if wanted { times.len() } else { 0 }];
        for column in 0..FIXED_VECTORS + positive + negative {
            let mut header = headers.next().map_err(malformed)?;
            header.start = starts.varint().map_err(malformed)?;
            if !wanted {
                continue;
            }
            values.clear();
            source.floats(&header, &mut values)?;
            if values.len() != times.len() {
                return Err(malformed(Malformed("a histogram column has the wrong length")));
            }
            for (histogram, &value) in histograms.iter_mut().zip(&values) {
                set_column(histogram, column, positive, value);
            }
        }
        if wanted {
            out.extend(times.iter().copied().zip(histograms.into_iter().map(Arc::new)));
        }
    }
    Ok(())
}
