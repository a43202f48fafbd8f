//! Exemplars and metadata of a segment.
//!
//! Exemplars lie in blocks, ascending by (series, time), and are kept as long as samples. A sorted list of
//! hashes of their label values (lower case) tells in which block an ID may stand; what it finds is
//! verified. Format: FORMAT.md "Metric segment", "exemplars" and "metadata".

use std::sync::Arc;

use model::wire::put_varint;
use model::{Labels, MetricKind, MetricMetadata};
use xxhash_rust::xxh3::xxh3_64;

use super::schema::{Cursor, Malformed, Section, put_string, put_zigzag};
use crate::StorageError;
use crate::segment::SegmentSource;

/// Exemplars of one block.
const BLOCK_ROWS: usize = 2048;

/// One exemplar; its series is known from the context.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExemplarRow {
    pub(crate) time_ms: i64,
    pub(crate) value: f64,
    pub(crate) labels: Labels,
}

/// Metadata and when it last arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StampedMetadata {
    pub(crate) received_ns: i64,
    pub(crate) metadata: MetricMetadata,
}

/// Hash of an exemplar's label value, without regard to case.
pub(crate) fn id_hash(value: &str) -> u32 {
    xxh3_64(value.to_ascii_lowercase().as_bytes()) as u32
}

/// Whether any label value of an exemplar is `text`, without regard to case.
pub(crate) fn carries(labels: &Labels, text: &str) -> bool {
    labels.iter().any(|(_, value)| value.eq_ignore_ascii_case(text))
}

/// Writes blocks of exemplars.
#[derive(Debug)]
pub(crate) struct ExemplarWriter {
    zstd_level: i32,
    rows: usize,
    series: Vec<u8>,
    times: Vec<u8>,
    values: Vec<u8>,
    labels: Vec<u8>,
    last_series: u32,
    last_time_ms: i64,
    /// First series of each block.
    first_series: Vec<u32>,
    hashes: Vec<(u32, u32)>,
    blocks: Vec<Section>,
}

impl ExemplarWriter {
    pub(crate) fn new(zstd_level: i32) -> Self {
        ExemplarWriter {
            zstd_level,
            rows: 0,
            series: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            labels: Vec::new(),
            last_series: 0,
            last_time_ms: 0,
            first_series: Vec::new(),
            hashes: Vec::new(),
            blocks: Vec::new(),
        }
    }

    pub(crate) fn push(
        &mut self,
        series: u32,
        row: &ExemplarRow,
        out: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        if self.rows == 0 {
            self.first_series.push(series);
            self.last_series = 0;
            self.last_time_ms = 0;
        }
        put_varint(&mut self.series, u64::from(series - self.last_series));
        put_zigzag(&mut self.times, row.time_ms.wrapping_sub(self.last_time_ms));
        self.values.extend_from_slice(&row.value.to_bits().to_le_bytes());
        put_string(&mut self.labels, row.labels.as_bytes());
        self.last_series = series;
        self.last_time_ms = row.time_ms;
        let block = self.blocks.len() as u32;
        self.hashes.extend(row.labels.iter().map(|(_, value)| (id_hash(value), block)));
        self.rows += 1;
        if self.rows == BLOCK_ROWS {
            self.close_block(out)?;
        }
        Ok(())
    }

    fn close_block(&mut self, out: &mut Vec<u8>) -> Result<(), StorageError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut raw = Vec::new();
        put_varint(&mut raw, self.rows as u64);
        for column in [&mut self.series, &mut self.times, &mut self.values, &mut self.labels] {
            raw.append(column);
        }
        self.rows = 0;
        self.blocks.push(Section::write(&raw, self.zstd_level, out)?);
        Ok(())
    }

    /// The table (first series of each block, then the hashes) and where the blocks lie.
    pub(crate) fn finish(
        mut self,
        out: &mut Vec<u8>,
    ) -> Result<(Vec<u8>, Vec<Section>), StorageError> {
        self.close_block(out)?;
        let mut table = Vec::new();
        if self.blocks.is_empty() {
            return Ok((table, self.blocks));
        }
        for series in &self.first_series {
            put_varint(&mut table, u64::from(*series));
        }
        self.hashes.sort_unstable();
        self.hashes.dedup();
        put_varint(&mut table, self.hashes.len() as u64);
        let mut last = 0;
        for (hash, block) in &self.hashes {
            put_varint(&mut table, u64::from(hash - last));
            put_varint(&mut table, u64::from(*block));
            last = *hash;
        }
        Ok((table, self.blocks))
    }
}

/// The table of a segment's exemplars.
#[derive(Debug, Default)]
pub(crate) struct ExemplarTable {
    /// First series of each block.
    pub(crate) first_series: Vec<u32>,
    hashes: Vec<(u32, u32)>,
}

impl ExemplarTable {
    pub(crate) fn parse(bytes: &[u8], blocks: usize) -> Result<ExemplarTable, Malformed> {
        let mut table = ExemplarTable::default();
        if blocks == 0 {
            return Ok(table);
        }
        let mut cursor = Cursor::new(bytes);
        for _ in 0..blocks {
            table.first_series.push(cursor.u32()?);
        }
        let mut hash = 0u32;
        for _ in 0..cursor.count()? {
            hash = hash.wrapping_add(cursor.u32()?);
            table.hashes.push((hash, cursor.u32()?));
        }
        Ok(table)
    }

    /// Blocks in which an exemplar with the ID may stand.
    pub(crate) fn blocks_of(&self, id: &str) -> impl Iterator<Item = u32> {
        let hash = id_hash(id);
        let start = self.hashes.partition_point(|entry| entry.0 < hash);
        let rest = self.hashes.get(start..).unwrap_or_default();
        rest.iter().take_while(move |entry| entry.0 == hash).map(|entry| entry.1)
    }
}

/// Reads a block: series number and exemplar, ascending.
pub(crate) fn load_block(
    section: Section,
    source: &Arc<dyn SegmentSource>,
) -> Result<Vec<(u32, ExemplarRow)>, StorageError> {
    let raw = section.load(source)?;
    parse_block(&raw).map_err(|malformed| malformed.in_file(source.name()))
}

fn parse_block(raw: &[u8]) -> Result<Vec<(u32, ExemplarRow)>, Malformed> {
    let mut cursor = Cursor::new(raw);
    let count = cursor.count()?;
    let mut series = 0u32;
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        series = series.wrapping_add(cursor.u32()?);
        numbers.push(series);
    }
    let mut time_ms = 0i64;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        time_ms = time_ms.wrapping_add(cursor.zigzag()?);
        times.push(time_ms);
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(f64::from_bits(cursor.u64_fixed()?));
    }
    let mut rows = Vec::with_capacity(count);
    for ((series, time_ms), value) in numbers.into_iter().zip(times).zip(values) {
        let labels = Labels::from_canonical(cursor.string()?.into());
        rows.push((series, ExemplarRow { time_ms, value, labels }));
    }
    Ok(rows)
}

/// Writes metadata in the given order.
pub(crate) fn encode_metadata(entries: &[StampedMetadata]) -> Vec<u8> {
    let mut raw = Vec::new();
    if entries.is_empty() {
        return raw;
    }
    put_varint(&mut raw, entries.len() as u64);
    for entry in entries {
        put_string(&mut raw, entry.metadata.family.as_bytes());
        raw.push(entry.metadata.kind as u8);
        put_string(&mut raw, entry.metadata.help.as_bytes());
        put_string(&mut raw, entry.metadata.unit.as_bytes());
        put_zigzag(&mut raw, entry.received_ns);
    }
    raw
}

/// Reads what [`encode_metadata`] wrote.
pub(crate) fn parse_metadata(bytes: &[u8]) -> Result<Vec<StampedMetadata>, Malformed> {
    let mut entries = Vec::new();
    if bytes.is_empty() {
        return Ok(entries);
    }
    let mut cursor = Cursor::new(bytes);
    for _ in 0..cursor.count()? {
        let family = cursor.text()?.to_owned();
        let kind = MetricKind::from_number(u64::from(cursor.byte()?));
        let help = cursor.text()?.to_owned();
        let unit = cursor.text()?.to_owned();
        let received_ns = cursor.zigzag()?;
        let metadata = MetricMetadata { family, kind, help, unit };
        entries.push(StampedMetadata { received_ns, metadata });
    }
    Ok(entries)
}

/// Sorts metadata by family, newest first, and keeps each distinct entry once.
pub(crate) fn merge_metadata(entries: &mut Vec<StampedMetadata>) {
    entries.sort_by(|a, b| {
        let family = a.metadata.family.cmp(&b.metadata.family);
        family.then(b.received_ns.cmp(&a.received_ns))
    });
    let mut family_start = 0;
    let mut kept: Vec<StampedMetadata> = Vec::with_capacity(entries.len());
    for entry in entries.drain(..) {
        if kept.get(family_start).is_none_or(|k| k.metadata.family != entry.metadata.family) {
            family_start = kept.len();
        }
        if !kept.iter().skip(family_start).any(|k| k.metadata == entry.metadata) {
            kept.push(entry);
        }
    }
    *entries = kept;
}
