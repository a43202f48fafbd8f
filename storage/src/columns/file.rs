//! Reads the main file of a segment: the footer once, then single pages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use parquet::basic::{LogicalType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnDescriptor;
use zstd::bulk::Decompressor;
use zstd::stream::raw::{InBuffer, Operation, OutBuffer};

use super::page::{self, ColumnBlock, Dictionary, PageHeader};
use super::rows::decode_rows;
use super::writer::get_sections;
use super::{ColumnSpec, Kind, PAGE_BYTES_MAX};
use crate::StorageError;
use crate::segment::SegmentSource;
use crate::unpack;

/// The footer's key under which offset and length of our own sections stand.
pub(super) const SECTIONS_KEY: &str = "tercet.sections";
/// Our own sections may not claim to be larger than this. Units: bytes.
const SECTIONS_BYTES_MAX: usize = 256 << 20;

/// Of a page of which few rows are wanted at first only this much is decompressed: the most that
/// zstd decompresses in one step. Units: bytes.
const PREFIX_BYTES: usize = 128 << 10;

/// File, row group, column.
type DictionaryKey = (u64, u32, usize);

/// Tells open files apart in a [`ReadScratch`] that several of them use.
static FILES_OPENED: AtomicU64 = AtomicU64::new(0);

/// One block: a page of every column of a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockAt {
    pub(crate) row_group: u32,
    /// Number of the page in its row group.
    pub(crate) page: u32,
    pub(crate) rows: u32,
    /// Number of its first row in the file.
    pub(crate) first_row: u64,
}

/// An open file: schema, blocks and sections.
#[derive(Debug)]
pub(crate) struct ColumnFile {
    number: u64,
    source: Arc<dyn SegmentSource>,
    metadata: ParquetMetaData,
    specs: Vec<ColumnSpec>,
    by_name: HashMap<String, usize>,
    blocks: Vec<BlockAt>,
    sections: Vec<(String, Bytes)>,
}

/// What one reader keeps from page to page: the decompressor and the dictionaries of the row group
/// that it is in.
pub(crate) struct ReadScratch {
    decompressor: Decompressor<'static>,
    /// For pages that are not decompressed to their end; made when it is first needed.
    stream: Option<zstd::stream::raw::Decoder<'static>>,
    dictionaries: HashMap<DictionaryKey, Dictionary>,
    /// Bytes fetched so far.
    pub(crate) bytes_read: u64,
}

impl std::fmt::Debug for ReadScratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadScratch").field("bytes_read", &self.bytes_read).finish_non_exhaustive()
    }
}

impl ReadScratch {
    /// Errors: Io when zstd cannot be started.
    pub(crate) fn new() -> Result<ReadScratch, StorageError> {
        let decompressor =
            Decompressor::new().map_err(|error| StorageError::io("starting zstd", error))?;
        let (stream, dictionaries) = (None, HashMap::new());
        Ok(ReadScratch { decompressor, stream, dictionaries, bytes_read: 0 })
    }
}

impl ColumnFile {
    /// Parses the footer.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn open(source: Arc<dyn SegmentSource>) -> Result<ColumnFile, StorageError> {
        let corrupt = |why: &dyn std::fmt::Display| StorageError::corrupt(source.name(), why);
        let metadata = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required)
            .parse_and_finish(&SourceReader(&source))
            .map_err(|error| corrupt(&error))?;
        let specs = metadata
            .file_metadata()
            .schema_descr()
            .columns()
            .iter()
            .map(|column| spec(column))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| corrupt(&"a column is of a type that segments do not have"))?;
        let blocks = list_blocks(&metadata)
            .ok_or_else(|| corrupt(&"pages of a row group break at different rows"))?;
        let sections = read_sections(&source, &metadata)?;
        let by_name =
            specs.iter().enumerate().map(|(index, spec)| (spec.name.clone(), index)).collect();
        let number = FILES_OPENED.fetch_add(1, Ordering::Relaxed);
        Ok(ColumnFile { number, source, metadata, specs, by_name, blocks, sections })
    }

    pub(crate) fn name(&self) -> &str {
        self.source.name()
    }

    pub(crate) fn specs(&self) -> &[ColumnSpec] {
        &self.specs
    }

    /// Names of the columns and the bytes that they take in the file.
    #[cfg(feature = "bench")]
    pub(crate) fn column_sizes(&self) -> Vec<(String, i64)> {
        let groups = self.metadata.row_groups().iter();
        groups
            .flat_map(|group| self.specs.iter().zip(group.columns()))
            .map(|(spec, chunk)| (spec.name.clone(), chunk.compressed_size()))
            .collect()
    }

    /// The column called `name`.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All blocks in the order of their rows.
    pub(crate) fn blocks(&self) -> &[BlockAt] {
        &self.blocks
    }

    /// The section called `name`.
    ///
    /// Errors: Corrupt when there is none.
    pub(crate) fn section(&self, name: &str) -> Result<&Bytes, StorageError> {
        self.sections
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, bytes)| bytes)
            .ok_or_else(|| StorageError::corrupt(self.name(), format!("it has no section {name}")))
    }

    /// Reads one column of one block.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn read(
        &self,
        column: usize,
        block: BlockAt,
        scratch: &mut ReadScratch,
    ) -> Result<ColumnBlock, StorageError> {
        let (header, compressed) = self.data_page(column, block, scratch)?;
        let page = self.decompress(column, &header, &compressed, scratch)?;
        let dictionary = scratch.dictionaries.get(&(self.number, block.row_group, column));
        let shape = self.shape(column)?;
        page::decode_page(page, header.values, shape, header.encoding, dictionary)
            .ok_or_else(|| self.corrupt(column, "a page contradicts its header"))
    }

    /// Reads `rows` of one column of one block; the result has these rows alone.
    ///
    /// Shape: `rows` ascending, below `block.rows`.
    /// Errors: Corrupt, Io.
    /// Cost: that of the part of the page before the last of them.
    pub(crate) fn read_rows(
        &self,
        column: usize,
        block: BlockAt,
        rows: &[u32],
        scratch: &mut ReadScratch,
    ) -> Result<ColumnBlock, StorageError> {
        let (header, compressed) = self.data_page(column, block, scratch)?;
        let shape = self.shape(column)?;
        let bytes = header.uncompressed_bytes;
        if bytes > 2 * PREFIX_BYTES && shape.0 != Kind::Bool {
            let mut prefix = Prefix::new(&compressed, &mut scratch.stream)
                .map_err(|error| StorageError::io("starting zstd", error))?;
            let mut limit = PREFIX_BYTES;
            while limit < bytes {
                prefix.grow(limit).map_err(|error| self.corrupt(column, &error.to_string()))?;
                let dictionary = scratch.dictionaries.get(&(self.number, block.row_group, column));
                if let Some(picked) = decode_rows(&prefix.page, &header, shape, dictionary, rows) {
                    return Ok(picked);
                }
                limit += PREFIX_BYTES;
            }
        }
        let page = self.decompress(column, &header, &compressed, scratch)?;
        let dictionary = scratch.dictionaries.get(&(self.number, block.row_group, column));
        decode_rows(&page, &header, shape, dictionary, rows)
            .ok_or_else(|| self.corrupt(column, "a page contradicts its header"))
    }

    fn shape(&self, column: usize) -> Result<(Kind, bool), StorageError> {
        let spec = self.specs.get(column);
        let spec = spec.ok_or_else(|| self.corrupt(column, "it has no such page"))?;
        Ok((spec.kind, spec.optional))
    }

    /// Fetches the page of a column of a block, and sees to it that its dictionary is there.
    fn data_page(
        &self,
        column: usize,
        block: BlockAt,
        scratch: &mut ReadScratch,
    ) -> Result<(PageHeader, Bytes), StorageError> {
        let lost = || self.corrupt(column, "it has no such page");
        let location = self
            .metadata
            .offset_index()
            .and_then(|index| index.get(block.row_group as usize)?.get(column))
            .and_then(|index| index.page_locations().get(block.page as usize))
            .ok_or_else(lost)?;
        let start = u64::try_from(location.offset).map_err(|_| lost())?;
        let length = u64::try_from(location.compressed_page_size).map_err(|_| lost())?;
        let (header, compressed) = self.fetch(column, start, length, scratch)?;
        if header.page_type != 0 || header.values != block.rows as usize {
            return Err(self.corrupt(column, "a page is not the one that the index names"));
        }
        self.load_dictionary(column, block.row_group, start, &header, scratch)?;
        Ok((header, compressed))
    }

    fn chunk(
        &self,
        column: usize,
        row_group: u32,
    ) -> Option<&parquet::file::metadata::ColumnChunkMetaData> {
        self.metadata.row_groups().get(row_group as usize)?.columns().get(column)
    }

    fn load_dictionary(
        &self,
        column: usize,
        row_group: u32,
        data_start: u64,
        header: &PageHeader,
        scratch: &mut ReadScratch,
    ) -> Result<(), StorageError> {
        let uses_one = header.encoding == parquet::basic::Encoding::RLE_DICTIONARY as i64;
        if !uses_one || scratch.dictionaries.contains_key(&(self.number, row_group, column)) {
            return Ok(());
        }
        let lost = || self.corrupt(column, "its dictionary is missing");
        let chunk = self.chunk(column, row_group).ok_or_else(lost)?;
        let start = chunk
            .dictionary_page_offset()
            .and_then(|offset| u64::try_from(offset).ok())
            .ok_or_else(lost)?;
        let first = u64::try_from(chunk.data_page_offset()).map_err(|_| lost())?;
        let length = first.min(data_start).checked_sub(start).ok_or_else(lost)?;
        let (header, compressed) = self.fetch(column, start, length, scratch)?;
        let page = self.decompress(column, &header, &compressed, scratch)?;
        let kind = self.specs.get(column).ok_or_else(lost)?.kind;
        let dictionary = (header.page_type == 2)
            .then(|| page::decode_dictionary(page, header.values, kind))
            .flatten()
            .ok_or_else(|| self.corrupt(column, "its dictionary contradicts its header"))?;
        // Readers go forward or backward, row group by row group: older ones are not needed again.
        if scratch.dictionaries.len() > 2 * self.specs.len() {
            scratch
                .dictionaries
                .retain(|(file, group, _), _| (*file, *group) == (self.number, row_group));
        }
        scratch.dictionaries.insert((self.number, row_group, column), dictionary);
        Ok(())
    }

    /// Fetches one page: its header, and what is compressed.
    fn fetch(
        &self,
        column: usize,
        start: u64,
        length: u64,
        scratch: &mut ReadScratch,
    ) -> Result<(PageHeader, Bytes), StorageError> {
        let end = start
            .checked_add(length)
            .filter(|&end| end <= self.source.len())
            .ok_or_else(|| self.corrupt(column, "a page lies outside of the file"))?;
        let bytes = self.source.read(start..end)?;
        scratch.bytes_read += length;
        let header = PageHeader::parse(&bytes)
            .ok_or_else(|| self.corrupt(column, "a page has a header that cannot be read"))?;
        let end = header.bytes.checked_add(header.compressed_bytes);
        let end = end.filter(|&end| end <= bytes.len());
        let end = end.ok_or_else(|| self.corrupt(column, "a page is cut short"))?;
        let compressed = bytes.slice(header.bytes..end);
        Ok((header, compressed))
    }

    fn decompress(
        &self,
        column: usize,
        header: &PageHeader,
        compressed: &[u8],
        scratch: &mut ReadScratch,
    ) -> Result<Vec<u8>, StorageError> {
        let length = header.uncompressed_bytes.min(PAGE_BYTES_MAX);
        let page = if unpack::is_likely(compressed, length) {
            scratch.decompressor.decompress(compressed, length)
        } else {
            unpack::decompress(compressed, length)
        };
        page.map_err(|error| self.corrupt(column, &error.to_string()))
    }

    fn corrupt(&self, column: usize, why: &str) -> StorageError {
        let name = self.specs.get(column).map_or("?", |spec| spec.name.as_str());
        StorageError::corrupt(format!("{}, column {name}", self.name()), why)
    }
}

/// A page from its start to where it is decompressed.
struct Prefix<'a> {
    decoder: &'a mut zstd::stream::raw::Decoder<'static>,
    compressed: InBuffer<'a>,
    page: Vec<u8>,
}

impl<'a> Prefix<'a> {
    fn new(
        compressed: &'a [u8],
        stream: &'a mut Option<zstd::stream::raw::Decoder<'static>>,
    ) -> std::io::Result<Prefix<'a>> {
        let decoder = match stream {
            Some(decoder) => {
                decoder.reinit()?;
                decoder
            }
            none => none.insert(zstd::stream::raw::Decoder::new()?),
        };
        Ok(Prefix { decoder, compressed: InBuffer::around(compressed), page: Vec::new() })
    }

    /// Decompresses up to `limit` bytes from the start, fewer where there are no more.
    fn grow(&mut self, limit: usize) -> std::io::Result<()> {
        let mut filled = self.page.len();
        self.page.resize(limit.max(filled), 0);
        while let Some(rest) = self.page.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let mut out = OutBuffer::around(rest);
            let taken = self.compressed.pos();
            self.decoder.run(&mut self.compressed, &mut out)?;
            let written = out.pos();
            filled += written;
            if written == 0 && self.compressed.pos() == taken {
                break;
            }
        }
        self.page.truncate(filled);
        Ok(())
    }
}

fn spec(column: &ColumnDescriptor) -> Option<ColumnSpec> {
    let kind = match column.physical_type() {
        Physical::INT64 => Kind::Int,
        Physical::DOUBLE => Kind::Double,
        Physical::BOOLEAN => Kind::Bool,
        Physical::BYTE_ARRAY => match column.logical_type_ref() {
            Some(LogicalType::String) => Kind::Text,
            _ => Kind::Bytes,
        },
        Physical::FIXED_LEN_BYTE_ARRAY => Kind::Fixed(u16::try_from(column.type_length()).ok()?),
        _ => return None,
    };
    if column.max_rep_level() > 0 || column.max_def_level() > 1 {
        return None;
    }
    Some(ColumnSpec { name: column.name().to_owned(), kind, optional: column.max_def_level() == 1 })
}

/// The blocks of all row groups; nothing where the pages of a row group do not align.
fn list_blocks(metadata: &ParquetMetaData) -> Option<Vec<BlockAt>> {
    let mut blocks = Vec::new();
    let mut first_row = 0u64;
    let index = metadata.offset_index()?;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).ok()?;
        let columns = index.get(number)?;
        let (first, others) = columns.split_first()?;
        let starts = || first.page_locations().iter().map(|page| page.first_row_index);
        let aligned = others
            .iter()
            .all(|other| other.page_locations().iter().map(|p| p.first_row_index).eq(starts()));
        if !aligned {
            return None;
        }
        let ends = starts().skip(1).map(|start| u64::try_from(start).ok()).chain([Some(rows)]);
        let mut from = 0;
        for (page, end) in ends.enumerate() {
            let end = end.filter(|&end| end >= from && end <= rows)?;
            blocks.push(BlockAt {
                row_group: number as u32,
                page: page as u32,
                rows: u32::try_from(end - from).ok()?,
                first_row: first_row + from,
            });
            from = end;
        }
        first_row = first_row.checked_add(rows)?;
    }
    Some(blocks)
}

fn read_sections(
    source: &Arc<dyn SegmentSource>,
    metadata: &ParquetMetaData,
) -> Result<Vec<(String, Bytes)>, StorageError> {
    let corrupt = || StorageError::corrupt(source.name(), "its sections cannot be read");
    let place = metadata
        .file_metadata()
        .key_value_metadata()
        .and_then(|pairs| pairs.iter().find(|pair| pair.key == SECTIONS_KEY))
        .and_then(|pair| pair.value.as_deref())
        .ok_or_else(corrupt)?;
    let (offset, length) = place.split_once(',').ok_or_else(corrupt)?;
    let offset: u64 = offset.parse().map_err(|_| corrupt())?;
    let length: u64 = length.parse().map_err(|_| corrupt())?;
    let end = offset.checked_add(length).filter(|&end| end <= source.len()).ok_or_else(corrupt)?;
    let packed = source.read(offset..end)?;
    let size = zstd::zstd_safe::get_frame_content_size(&packed)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|&size| size <= SECTIONS_BYTES_MAX)
        .ok_or_else(corrupt)?;
    let bytes = unpack::decompress(&packed, size).map_err(|_| corrupt())?;
    get_sections(&bytes.into()).ok_or_else(corrupt)
}

/// Lets the `parquet` crate read a segment's footer.
struct SourceReader<'a>(&'a Arc<dyn SegmentSource>);

impl Length for SourceReader<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for SourceReader<'_> {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let end = self.0.len();
        if start > end {
            return Err(ParquetError::EOF("a range reaches beyond the end".to_owned()));
        }
        Ok(self.bytes(start, end)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match start.checked_add(length as u64) {
            Some(end) if end <= self.0.len() => self.bytes(start, end),
            _ => Err(ParquetError::EOF("a range reaches beyond the end".to_owned())),
        }
    }
}

impl SourceReader<'_> {
    fn bytes(&self, start: u64, end: u64) -> Result<Bytes, ParquetError> {
        self.0.read(start..end).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

#[cfg(feature = "bench")]
impl ColumnFile {
    /// Name and stored bytes of every column.
    pub(crate) fn column_bytes(&self) -> Vec<(String, u64)> {
        let bytes = |column: usize| {
            let groups = self.metadata.row_groups().iter();
            groups.map(|group| group.column(column).compressed_size() as u64).sum()
        };
        self.specs.iter().zip(0..).map(|(spec, index)| (spec.name.clone(), bytes(index))).collect()
    }
}
