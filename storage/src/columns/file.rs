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

use super::page::{self, ColumnBlock, Dictionary, PageHeader};
use super::writer::get_sections;
use super::{ColumnSpec, Kind, PAGE_BYTES_MAX};
use crate::StorageError;
use crate::segment::SegmentSource;

/// The footer's key under which offset and length of our own sections stand.
pub(super) const SECTIONS_KEY: &str = "tercet.sections";
/// Our own sections may not claim to be larger than this. Units: bytes.
const SECTIONS_BYTES_MAX: usize = 256 << 20;

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
        Ok(ReadScratch { decompressor, dictionaries: HashMap::new(), bytes_read: 0 })
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
        let lost = || self.corrupt(column, "it has no such page");
        let spec = self.specs.get(column).ok_or_else(lost)?;
        let location = self
            .metadata
            .offset_index()
            .and_then(|index| index.get(block.row_group as usize)?.get(column))
            .and_then(|index| index.page_locations().get(block.page as usize))
            .ok_or_else(lost)?;
        let start = u64::try_from(location.offset).map_err(|_| lost())?;
        let length = u64::try_from(location.compressed_page_size).map_err(|_| lost())?;
        let (header, page) = self.fetch(column, start, length, scratch)?;
        if header.page_type != 0 || header.values != block.rows as usize {
            return Err(self.corrupt(column, "a page is not the one that the index names"));
        }
        self.load_dictionary(column, block.row_group, start, &header, scratch)?;
        let dictionary = scratch.dictionaries.get(&(self.number, block.row_group, column));
        let shape = (spec.kind, spec.optional);
        page::decode_page(page, header.values, shape, header.encoding, dictionary)
            .ok_or_else(|| self.corrupt(column, "a page contradicts its header"))
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
        let (header, page) = self.fetch(column, start, length, scratch)?;
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

    /// Fetches and decompresses one page.
    fn fetch(
        &self,
        column: usize,
        start: u64,
        length: u64,
        scratch: &mut ReadScratch,
    ) -> Result<(PageHeader, Vec<u8>), StorageError> {
        let end = start
            .checked_add(length)
            .filter(|&end| end <= self.source.len())
            .ok_or_else(|| self.corrupt(column, "a page lies outside of the file"))?;
        let bytes = self.source.read(start..end)?;
        scratch.bytes_read += length;
        let header = PageHeader::parse(&bytes)
            .ok_or_else(|| self.corrupt(column, "a page has a header that cannot be read"))?;
        let compressed = bytes
            .get(header.bytes..)
            .and_then(|rest| rest.get(..header.compressed_bytes))
            .ok_or_else(|| self.corrupt(column, "a page is cut short"))?;
        let page = scratch
            .decompressor
            .decompress(compressed, header.uncompressed_bytes.min(PAGE_BYTES_MAX))
            .map_err(|error| self.corrupt(column, &error.to_string()))?;
        Ok((header, page))
    }

    fn corrupt(&self, column: usize, why: &str) -> StorageError {
        let name = self.specs.get(column).map_or("?", |spec| spec.name.as_str());
        StorageError::corrupt(format!("{}, column {name}", self.name()), why)
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
    let bytes = zstd::bulk::decompress(&packed, size).map_err(|_| corrupt())?;
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
