//! What a segment of metrics holds, and the small codecs that all its sections share.
//!
//! A segment is one file (extension `metrics`): data (pages of numbers), page directory, timelines,
//! series blocks, label sections, histograms, exemplars, metadata, footer. It is written down byte by
//! byte in `storage/FORMAT.md`, section "Metric segment". Everything read here has passed the
//! catalog's checksums, and is still read with checked access: what contradicts itself is Corrupt.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use model::wire::{Reader, put_varint};

use crate::StorageError;
use crate::segment::SegmentSource;
use crate::unpack::decompress;

/// First and last four bytes of the file.
pub(crate) const MAGIC: [u8; 4] = *b"TCTM";
/// The only version so far.
pub(crate) const VERSION: u32 = 1;
/// Series of one block of the series table.
pub(crate) const BLOCK_SERIES: usize = 256;
/// Samples of one part of a series: the unit of decoding. Longer series are cut into equal parts.
pub(crate) const PART_SAMPLES_MAX: usize = 4096;
/// Cap of one section after decompression. Units: bytes.
const SECTION_BYTES_MAX: u64 = 1 << 30;

/// Bytes that do not have the form that FORMAT.md demands; the reader adds the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Malformed {
    pub(crate) fn in_file(self, name: &str) -> StorageError {
        StorageError::corrupt(name, self.0)
    }
}

/// Reads numbers and byte strings one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    reader: Reader<'a>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, reader: Reader::new(bytes) }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        self.reader.varint().map_err(|_| Malformed("a number is cut short"))
    }

    #[inline]
    pub(crate) fn zigzag(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number is out of range"))
    }

    /// A count of things that take at least one byte each, so that it can size an allocation.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        let left = self.bytes.len().saturating_sub(self.reader.offset());
        if count > left { Err(Malformed("a count exceeds its section")) } else { Ok(count) }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.bytes(1).map(|bytes| bytes.first().copied().unwrap_or(0))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let start = self.reader.offset();
        let taken = start.checked_add(count).and_then(|end| self.bytes.get(start..end));
        let taken = taken.ok_or(Malformed("a section is cut short"))?;
        self.reader.skip(count).ok_or(Malformed("a section is cut short"))?;
        Ok(taken)
    }

    /// A byte string with its length in front.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.count()?;
        self.bytes(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.string()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(crate) fn u64_fixed(&mut self) -> Result<u64, Malformed> {
        let mut raw = [0; 8];
        raw.copy_from_slice(self.bytes(8)?);
        Ok(u64::from_le_bytes(raw))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }
}

#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a byte string with its length in front.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Where a compressed section lies, and what it becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    /// Stored bytes; 0 for a section that is empty.
    pub(crate) len: u64,
    /// Bytes after decompression.
    pub(crate) raw_len: u64,
}

impl Section {
    /// Compresses `raw` to the end of `out`.
    pub(crate) fn write(
        raw: &[u8],
        level: i32,
        out: &mut Vec<u8>,
    ) -> Result<Section, StorageError> {
        let offset = out.len() as u64;
        if !raw.is_empty() {
            let packed = zstd::bulk::compress(raw, level)
                .map_err(|error| StorageError::io("compressing a metric section", error))?;
            out.extend_from_slice(&packed);
        }
        Ok(Section { offset, len: out.len() as u64 - offset, raw_len: raw.len() as u64 })
    }

    fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, self.len);
        put_varint(out, self.raw_len);
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Section, Malformed> {
        Ok(Section { offset: cursor.varint()?, len: cursor.varint()?, raw_len: cursor.varint()? })
    }

    pub(crate) fn range(self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.len)
    }

    /// Fetches and decompresses.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn load(self, source: &Arc<dyn SegmentSource>) -> Result<Vec<u8>, StorageError> {
        if self.len == 0 {
            return Ok(Vec::new());
        }
        let packed = read_range(source, self.range())?;
        if self.raw_len > SECTION_BYTES_MAX {
            return Err(StorageError::corrupt(source.name(), "a section is impossibly large"));
        }
        let raw = decompress(&packed, self.raw_len as usize)
            .map_err(|error| StorageError::corrupt(source.name(), error))?;
        if raw.len() as u64 != self.raw_len {
            return Err(StorageError::corrupt(source.name(), "a section has the wrong length"));
        }
        Ok(raw)
    }
}

/// Reads a range after checking that it lies inside the file.
pub(crate) fn read_range(
    source: &Arc<dyn SegmentSource>,
    range: Range<u64>,
) -> Result<Bytes, StorageError> {
    if range.end > source.len() || range.start > range.end {
        return Err(StorageError::corrupt(source.name(), "a section reaches beyond the file"));
    }
    source.read(range)
}

/// One label name of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelEntry {
    pub(crate) name: String,
    pub(crate) section: Section,
}

/// The directory at the end of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) series: u32,
    pub(crate) samples: u64,
    pub(crate) histograms: u64,
    pub(crate) timelines: u32,
    pub(crate) pages: Section,
    pub(crate) timeline_table: Section,
    pub(crate) exemplar_table: Section,
    pub(crate) metadata: Section,
    /// Ascending by name; the position is the name's number in the series blocks.
    pub(crate) labels: Vec<LabelEntry>,
    /// [`BLOCK_SERIES`] series each, the last one what is left.
    pub(crate) blocks: Vec<Section>,
    /// Stored blobs of native histograms in the order in which series refer to them.
    pub(crate) histogram_blobs: Vec<Section>,
    /// Blocks of exemplars.
    pub(crate) exemplar_blocks: Vec<Section>,
}

impl Footer {
    /// Appends footer, its length and the magic to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        put_varint(out, u64::from(self.series));
        put_varint(out, self.samples);
        put_varint(out, self.histograms);
        put_varint(out, u64::from(self.timelines));
        for section in [self.pages, self.timeline_table, self.exemplar_table, self.metadata] {
            section.put(out);
        }
        put_varint(out, self.labels.len() as u64);
        for label in &self.labels {
            put_string(out, label.name.as_bytes());
            label.section.put(out);
        }
        for list in [&self.blocks, &self.histogram_blobs, &self.exemplar_blocks] {
            put_varint(out, list.len() as u64);
            for section in list {
                section.put(out);
            }
        }
        let length = (out.len() - start) as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&MAGIC);
    }

    /// Reads the footer of a whole file.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn load(source: &Arc<dyn SegmentSource>) -> Result<Footer, StorageError> {
        let corrupt = |why| StorageError::corrupt(source.name(), why);
        let size = source.len();
        let head = read_range(source, 0..8.min(size))?;
        let tail = read_range(source, size.saturating_sub(8)..size)?;
        if head.get(..4) != Some(&MAGIC) || tail.get(4..8) != Some(&MAGIC) {
            return Err(corrupt("it is not a segment of metrics"));
        }
        if head.get(4..8) != Some(&VERSION.to_le_bytes()) {
            return Err(corrupt("its format version is unknown"));
        }
        let mut length = [0; 4];
        length.copy_from_slice(tail.get(..4).ok_or_else(|| corrupt("it is cut short"))?);
        let end = size - 8;
        let start = end
            .checked_sub(u64::from(u32::from_le_bytes(length)))
            .ok_or_else(|| corrupt("its footer is longer than the file"))?;
        let bytes = read_range(source, start..end)?;
        Footer::parse(&bytes).map_err(|malformed| malformed.in_file(source.name()))
    }

    fn parse(bytes: &[u8]) -> Result<Footer, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let mut footer = Footer {
            series: cursor.u32()?,
            samples: cursor.varint()?,
            histograms: cursor.varint()?,
            timelines: cursor.u32()?,
            pages: Section::take(&mut cursor)?,
            timeline_table: Section::take(&mut cursor)?,
            exemplar_table: Section::take(&mut cursor)?,
            metadata: Section::take(&mut cursor)?,
            ..Footer::default()
        };
        for _ in 0..cursor.count()? {
            let name = cursor.text()?.to_owned();
            footer.labels.push(LabelEntry { name, section: Section::take(&mut cursor)? });
        }
        for list in [&mut footer.blocks, &mut footer.histogram_blobs, &mut footer.exemplar_blocks] {
            for _ in 0..cursor.count()? {
                list.push(Section::take(&mut cursor)?);
            }
        }
        if footer.blocks.len() != (footer.series as usize).div_ceil(BLOCK_SERIES) {
            return Err(Malformed("the series table does not fit the count of series"));
        }
        Ok(footer)
    }
}
