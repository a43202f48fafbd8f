//! Prometheus remote write 1.0: samples, native histograms, exemplars and metadata.
//!
//! One pass over the decoded protobuf. The labels of a time series are not parsed where their bytes
//! were seen before: the run of label fields is hashed and looked up in the [`SeriesCache`], and
//! samples go straight into the batch. A series or sample that is not valid is left out and named
//! in the rejections; only bytes that are no protobuf fail the request.
//! Source: `prometheus/prompb/{remote,types}.proto`, remote write specification 1.0.
//!
//! [`SeriesCache`]: crate::series_cache::SeriesCache

// Lengths and times from outside are computed with here: what may overflow says what then.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod histogram;
mod labels;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use model::wire::{Field, Reader, WireError};
use model::{
    Batch, Exemplar, MetricKind, MetricMetadata, MetricsBatch, Reason, Rejections, Sample,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::checks::TimeWindow;
use crate::decoder::{DecodeContext, DecodeError};
use crate::series_cache::{Follower, Refusal};

pub(crate) use histogram::{check as check_histogram, read_doubles, zigzag32};

/// Whether a 1.0 request with these rejections is answered as a success. Prometheus leaves out
/// series whose labels are not valid, and exemplars, and says 204; every other refusal is a 400.
/// Source: Prometheus 3.14 `storage/remote/write_handler.go`, conformance case `v1-duplicate-label`.
pub(crate) fn is_success(rejections: &Rejections) -> bool {
    rejections.list.iter().all(|rejection| {
        matches!(
            rejection.reason,
            Reason::MissingLabels
                | Reason::InvalidLabels
                | Reason::DuplicateLabelNames
                | Reason::ExemplarInvalid
        )
    })
}

/// Decodes a `prometheus.WriteRequest` (decompressed).
///
/// Errors: Undecodable where the bytes are no such message.
pub(crate) fn decode(
    body: Bytes,
    ctx: &DecodeContext<'_>,
) -> Result<(Batch, Rejections), DecodeError> {
    let mut writer = Writer {
        ctx,
        batch: MetricsBatch::default(),
        rejections: Rejections::default(),
        window: TimeWindow::of(ctx),
        series: ctx.series.follow(ctx.tenant),
        scratch: Vec::new(),
    };
    match writer.request(&body) {
        Ok(()) => Ok((Batch::Metrics(writer.batch), writer.rejections)),
        Err(error) => Err(DecodeError::Undecodable(format!("remote write: {error}"))),
    }
}

struct Writer<'a> {
    ctx: &'a DecodeContext<'a>,
    batch: MetricsBatch,
    rejections: Rejections,
    window: TimeWindow,
    series: Follower<'a>,
    /// Label fields of a series that does not keep them together.
    scratch: Vec<u8>,
}

/// A series of the request being read: not looked up before its first sample.
enum Slot {
    Unknown,
    Known(u32),
    Refused(Refusal),
}

impl Writer<'_> {
    fn request(&mut self, body: &[u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(body);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(series)) => self.series(series)?,
                (3, Field::Bytes(metadata)) => self.metadata(metadata)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn series(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let run = label_run(bytes);
        let (labels, rest) = bytes.split_at(run);
        if let Some((time_ms, value)) = only_sample(rest) {
            let mut slot = Slot::Unknown;
            self.sample(&mut slot, labels, time_ms, value);
            return Ok(());
        }
        if self.points(labels, rest)? {
            return Ok(());
        }
        // Labels stand apart from each other: gather them. `points` has added nothing.
        let mut gathered = std::mem::take(&mut self.scratch);
        gathered.clear();
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.next_field()? {
            if let (1, Field::Bytes(label)) = (number, field) {
                model::wire::put_bytes(&mut gathered, 1, label);
            }
        }
        let done = self.points_after(&gathered, bytes);
        self.scratch = gathered;
        done
    }

    /// Reads what follows the labels. Returns false, with nothing done, where there are more labels.
    fn points(&mut self, labels: &[u8], rest: &[u8]) -> Result<bool, WireError> {
        // The first pass over a few samples is cheap and makes the second one all or nothing.
        let mut reader = Reader::new(rest);
        while let Some((number, _)) = reader.next_field()? {
            if number == 1 {
                return Ok(false);
            }
        }
        self.points_after(labels, rest)?;
        Ok(true)
    }

    fn points_after(&mut self, labels: &[u8], rest: &[u8]) -> Result<(), WireError> {
        let mut slot = Slot::Unknown;
        let mut reader = Reader::new(rest);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (2, Field::Bytes(sample)) => {
                    let (time_ms, value) = read_sample(sample)?;
                    self.sample(&mut slot, labels, time_ms, value);
                }
                (3, Field::Bytes(exemplar)) => self.exemplar(&mut slot, labels, exemplar)?,
                (4, Field::Bytes(bytes)) => {
                    let (time_ms, parsed) = histogram::read(bytes)?;
                    let Some(series) = self.slot(&mut slot, labels) else { continue };
                    if !self.time_is_taken(time_ms) {
                        continue;
                    }
                    match parsed {
                        Ok(histogram) => self.batch.histograms.push((series, time_ms, histogram)),
                        Err(why) => self.rejections.add(Reason::InvalidHistogram, 1, || {
                            format!("histogram at {time_ms} ms: {why}")
                        }),
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    fn sample(&mut self, slot: &mut Slot, labels: &[u8], time_ms: i64, value: f64) {
        if let Some(series) = self.slot(slot, labels)
            && self.time_is_taken(time_ms)
        {
            self.batch.samples.push(Sample { series, time_ms, value });
        }
    }

    /// The batch's index of the series; counts one refused record where it has none.
    #[inline]
    fn slot(&mut self, slot: &mut Slot, labels: &[u8]) -> Option<u32> {
        if matches!(slot, Slot::Unknown) {
            *slot = self.look_up(labels);
        }
        match slot {
            Slot::Known(index) => Some(*index),
            Slot::Refused((reason, example)) => {
                self.rejections.add(*reason, 1, || example.clone());
                None
            }
            Slot::Unknown => None,
        }
    }

    #[inline]
    fn look_up(&mut self, labels: &[u8]) -> Slot {
        let ctx = self.ctx;
        let make = || labels::parse(labels, ctx.limits);
        match self.series.get_or_make(xxh3_128(labels), make) {
            Ok(series) => {
                self.batch.series.push(series);
                Slot::Known((self.batch.series.len() as u32).wrapping_sub(1))
            }
            Err(refusal) => Slot::Refused(refusal),
        }
    }

    #[inline]
    fn time_is_taken(&mut self, time_ms: i64) -> bool {
        self.window.takes(time_ms, &mut self.rejections, self.ctx.limits)
    }

    fn exemplar(
        &mut self,
        slot: &mut Slot,
        series_labels: &[u8],
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(bytes);
        let (mut value, mut time_ms) = (0.0, 0);
        let mut labels = labels::ExemplarLabels::default();
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(label)) => labels.push(label)?,
                (2, Field::Fixed64(bits)) => value = f64::from_bits(bits),
                (3, Field::Varint(time)) => time_ms = time as i64,
                _ => {}
            }
        }
        let series = match slot {
            Slot::Unknown => {
                *slot = self.look_up(series_labels);
                if let Slot::Known(index) = slot { Some(*index) } else { None }
            }
            Slot::Known(index) => Some(*index),
            Slot::Refused(_) => None,
        };
        // The samples of a refused series are counted; its exemplars go with them.
        let Some(series) = series else { return Ok(()) };
        match labels.finish() {
            Ok(labels) => {
                self.batch.exemplars.push(Exemplar { series, time_ms, value, labels });
            }
            Err(why) => self.rejections.add(Reason::ExemplarInvalid, 1, || why),
        }
        Ok(())
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut metadata = MetricMetadata::default();
        let mut reader = Reader::new(bytes);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Varint(kind)) => metadata.kind = MetricKind::from_number(kind),
                (2, Field::Bytes(bytes)) => metadata.family = text(bytes),
                (4, Field::Bytes(bytes)) => metadata.help = text(bytes),
                (5, Field::Bytes(bytes)) => metadata.unit = text(bytes),
                _ => {}
            }
        }
        if !metadata.family.is_empty() {
            self.batch.metadata.push(metadata);
        }
        Ok(())
    }
}

/// Bytes that the label fields at the start of a time series take. Stops, without an error, where
/// something else begins or the bytes end: the full reader goes on from there.
#[inline]
fn label_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let next = match *rest {
            [0x0a, length @ 0..=0x7f, ..] => usize::from(length).wrapping_add(2),
            [0x0a, low @ 0x80..=0xff, high @ 0..=0x7f, ..] => {
                (usize::from(high) << 7 | usize::from(low & 0x7f)).wrapping_add(3)
            }
            _ => return at,
        };
        if next > rest.len() {
            return at;
        }
        at = at.wrapping_add(next);
    }
}

/// Time and value where one sample is all there is, its value before its time, as Prometheus and
/// nearly every other sender writes it. Nothing, and no error, where it is not: the full reader
/// decides then.
#[inline]
fn only_sample(rest: &[u8]) -> Option<(i64, f64)> {
    let [0x12, length @ 11..=0x7f, 0x09, sample @ ..] = rest else { return None };
    let (value, time) = sample.split_first_chunk::<8>()?;
    let (0x10, time) = time.split_first().map(|(tag, time)| (*tag, time))? else { return None };
    if rest.len() != 2 + usize::from(*length) {
        return None;
    }
    let mut reader = Reader::new(time);
    let time_ms = reader.varint().ok()? as i64;
    reader.is_empty().then(|| (time_ms, f64::from_bits(u64::from_le_bytes(*value))))
}

/// Time and value of a `Sample`.
#[inline]
fn read_sample(bytes: &[u8]) -> Result<(i64, f64), WireError> {
    let mut reader = Reader::new(bytes);
    let (mut time_ms, mut value) = (0, 0.0);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Field::Varint(time)) => time_ms = time as i64,
            _ => {}
        }
    }
    Ok((time_ms, value))
}
