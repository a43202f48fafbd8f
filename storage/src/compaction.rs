//! Which segments to merge: decisions alone, made on the catalog's facts.
//!
//! Size-tiered inside one tenant and signal: [`FAN_IN_MIN`] neighbours in time of one level become
//! one segment of the next, until segments have about the target size; levels end at [`LEVEL_MAX`],
//! so that a byte is rewritten at most three times.

use std::collections::BTreeSet;

use crate::Options;
use crate::columns::BLOCK_BYTES;
use crate::segment::SegmentMeta;

/// So many segments of a level make a merge worth while.
const FAN_IN_MIN: usize = 4;
/// More are left for the next merge.
const FAN_IN_MAX: usize = 32;
/// What an open input keeps of itself: a block as it is read and as it is decoded. Units: bytes.
const INPUT_WORK_BYTES: u64 = 2 * BLOCK_BYTES as u64;
/// Segments of this level are merged only when it is forced.
const LEVEL_MAX: u8 = 3;
/// Neighbours of a level are merged when together they span no more than this, or overlap.
/// Units: ns.
const SPAN_NS_MAX: [i64; 3] = [6 * HOUR_NS, 24 * HOUR_NS, 7 * 24 * HOUR_NS];
const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// Segments to be merged into one or a few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) inputs: Vec<String>,
    /// Of the outputs.
    pub(crate) level: u8,
}

/// How large merges may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Outputs aim for this. Units: bytes.
    pub(crate) bytes_target: u64,
    pub(crate) fan_in_max: usize,
}

impl Sizes {
    /// Inputs may take two thirds of a merge's memory; [`FAN_IN_MIN`] of them always go together.
    pub(crate) fn of(options: &Options) -> Sizes {
        let inputs = options.work_bytes_max / 3 * 2 / INPUT_WORK_BYTES;
        let fan_in_max = usize::try_from(inputs).unwrap_or(FAN_IN_MAX);
        Sizes {
            bytes_target: options.segment_bytes_target,
            fan_in_max: fan_in_max.clamp(FAN_IN_MIN, FAN_IN_MAX),
        }
    }
}

pub(crate) fn bytes_of(meta: &SegmentMeta) -> u64 {
    meta.files.iter().map(|file| file.bytes).sum()
}

/// The most useful merge among one tenant's segments of one signal, if there is one.
pub(crate) fn plan(
    metas: &[SegmentMeta],
    excluded: &BTreeSet<String>,
    sizes: Sizes,
) -> Option<Plan> {
    (0..LEVEL_MAX).find_map(|level| {
        let mut tier: Vec<&SegmentMeta> = metas
            .iter()
            .filter(|meta| meta.level == level && !excluded.contains(&meta.id))
            .filter(|meta| bytes_of(meta) < sizes.bytes_target / 2)
            .collect();
        tier.sort_by_key(|meta| (meta.time_min_ns, meta.id.clone()));
        let span_max = SPAN_NS_MAX[usize::from(level)];
        (0..tier.len()).find_map(|start| {
            let run = run_from(&tier[start..], span_max, sizes);
            (run.len() >= FAN_IN_MIN).then(|| Plan { inputs: ids(run), level: level + 1 })
        })
    })
}

/// The neighbours that fit together with the first of `tier`.
fn run_from<'a>(
    tier: &'a [&'a SegmentMeta],
    span_max_ns: i64,
    sizes: Sizes,
) -> &'a [&'a SegmentMeta] {
    let Some(first) = tier.first() else { return &[] };
    let (mut bytes, mut end_ns) = (0, first.time_max_ns);
    let count = tier
        .iter()
        .take(sizes.fan_in_max)
        .take_while(|meta| {
            bytes += bytes_of(meta);
            let overlaps = meta.time_min_ns <= end_ns;
            end_ns = end_ns.max(meta.time_max_ns);
            let near = end_ns.saturating_sub(first.time_min_ns) <= span_max_ns;
            bytes <= sizes.bytes_target && (overlaps || near)
        })
        .count();
    &tier[..count]
}

fn ids(metas: &[&SegmentMeta]) -> Vec<String> {
    metas.iter().map(|meta| meta.id.clone()).collect()
}

/// A merge that brings one tenant's segments nearer to one for each target size, if there is one. A
/// lone segment of level 0 is rewritten once, for the indexes that only higher levels have.
pub(crate) fn plan_full(
    metas: &[SegmentMeta],
    excluded: &BTreeSet<String>,
    sizes: Sizes,
) -> Option<Plan> {
    let mut small: Vec<&SegmentMeta> = metas
        .iter()
        .filter(|meta| !excluded.contains(&meta.id))
        .filter(|meta| meta.level == 0 || bytes_of(meta) < sizes.bytes_target / 2)
        .collect();
    small.sort_by_key(|meta| (meta.time_min_ns, meta.id.clone()));
    let mut start = 0;
    while start < small.len() {
        let mut bytes = 0;
        let mut count = 0;
        for meta in small[start..].iter().take(sizes.fan_in_max) {
            bytes += bytes_of(meta);
            if count > 0 && bytes > sizes.bytes_target {
                break;
            }
            count += 1;
        }
        let group = &small[start..start + count];
        let level = group.iter().map(|meta| meta.level).max().unwrap_or(0);
        if count > 1 || level == 0 {
            let level = level.saturating_add(1).min(LEVEL_MAX);
            return Some(Plan { inputs: ids(group), level });
        }
        start += count;
    }
    None
}
