//! A memtable into a segment.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use std::sync::Arc;

use super::exemplars::{ExemplarRow, merge_metadata};
use super::memtable::Memtable;
use super::samples::SeriesSamples;
use super::writer::SegmentWriter;
use crate::StorageError;
use crate::segment::{EncodeContext, EncodedSegment};

/// Encodes all that a memtable holds; nothing for an empty one.
pub(crate) fn encode(
    memtable: &Memtable,
    ctx: &EncodeContext,
) -> Result<Vec<EncodedSegment>, StorageError> {
    let order = memtable.registry().sorted();
    let mut exemplars = memtable.exemplars(&mut |_| true);
    exemplars.sort_by_key(|exemplar| (exemplar.slot, exemplar.time_ms));
    let mut metadata = memtable.metadata(None);
    merge_metadata(&mut metadata);
    let mut writer = SegmentWriter::new(ctx);
    writer.set_metadata(&metadata);
    let mut segments = Vec::new();
    let mut samples = SeriesSamples::default();
    let mut rows = Vec::new();
    for &slot in order.iter() {
        samples.clear();
        memtable.read(slot, &mut samples);
        let start = exemplars.partition_point(|exemplar| exemplar.slot < slot);
        rows.clear();
        rows.extend(exemplars[start..].iter().take_while(|e| e.slot == slot).map(|exemplar| {
            ExemplarRow {
                time_ms: exemplar.time_ms,
                value: exemplar.value,
                labels: exemplar.labels.clone(),
            }
        }));
        if samples.times.is_empty() && samples.histograms.is_empty() && rows.is_empty() {
            continue;
        }
        let series = memtable.registry().table().series.get(slot as usize).map(Arc::clone);
        let Some(series) = series else { continue };
        writer.push_series(&series.labels, &samples.times, &samples.values, &samples.histograms)?;
        writer.push_exemplars(&rows)?;
        if writer.bytes() >= ctx.segment_bytes_target {
            let full = std::mem::replace(&mut writer, SegmentWriter::new(ctx));
            segments.extend(full.finish()?);
        }
    }
    segments.extend(writer.finish()?);
    Ok(segments)
}
