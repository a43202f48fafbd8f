//! Writes the main file of a segment.

#![expect(clippy::indexing_slicing, reason = "a writer: places are those of its own tables")]

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, OffsetIndexBuilder};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::types::{ColumnDescPtr, Type};
use std::sync::Arc;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::builder::{ColumnBuilder, Values};
use super::page;
use super::spans::SpansBuilder;
use super::{ColumnSpec, Kind};
use crate::StorageError;

/// Strings of at most this many different bytes may be random digits, with matches by chance alone.
const DIGITS_MAX: usize = 24;
/// Bytes of a page that are looked at to count them.
const DIGITS_SAMPLE_BYTES: usize = 4096;
/// Shorter matches are left out of random digits: Huffman codes take less room and time. Only the
/// fastest level heeds it.
const DIGITS_MATCH_MIN: u32 = 7;
const DIGITS_LEVEL: i32 = 1;

/// Integers with at most this many different values get a dictionary.
const INT_DICTIONARY_MAX: usize = 1024;

/// Writes row groups of columns, then sections of our own, then the footer.
pub(crate) struct ColumnFileWriter {
    file: SerializedFileWriter<Vec<u8>>,
    specs: Vec<ColumnSpec>,
    level: i32,
    compressor: Compressor<'static>,
    sections: Vec<(&'static str, Vec<u8>)>,
    raw: Vec<u8>,
}

impl std::fmt::Debug for ColumnFileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnFileWriter").field("specs", &self.specs).finish_non_exhaustive()
    }
}

fn failed(error: ParquetError) -> StorageError {
    StorageError::io("writing a Parquet file", error)
}

impl ColumnFileWriter {
    /// Starts a file with these columns.
    ///
    /// Errors: Io when the columns do not make a schema.
    pub(crate) fn new(specs: Vec<ColumnSpec>, level: i32) -> Result<Self, StorageError> {
        let fields = specs.iter().map(field).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let schema =
            Type::group_type_builder("record").with_fields(fields).build().map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_created_by(format!("tercet {}", env!("CARGO_PKG_VERSION")))
            .build();
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))
            .map_err(failed)?;
        let compressor =
            Compressor::new(level).map_err(|error| StorageError::io("starting zstd", error))?;
        Ok(ColumnFileWriter {
            file,
            specs,
            level,
            compressor,
            sections: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// Bytes written so far.
    pub(crate) fn bytes_written(&self) -> usize {
        self.file.bytes_written()
    }

    /// Writes a row group. `block_ends` are the ends of its blocks in rows, the last one the number
    /// of all rows. Columns without a builder have no value in any row. The builders are cleared.
    ///
    /// Shape: one entry in `columns` for each column, in order.
    pub(crate) fn row_group(
        &mut self,
        columns: &mut [Option<&mut ColumnBuilder>],
        block_ends: &[u32],
    ) -> Result<(), StorageError> {
        assert_eq!(columns.len(), self.specs.len(), "bug: a row group lacks a column");
        let descriptions = self.file.schema_descr().columns().to_vec();
        let mut group = self.file.next_row_group().map_err(failed)?;
        for ((spec, description), column) in self.specs.iter().zip(descriptions).zip(columns) {
            let mut absent = ColumnBuilder::new(spec.kind);
            let builder = column.as_deref_mut().unwrap_or(&mut absent);
            let mut chunk = ChunkWriter {
                spec,
                description,
                level: self.level,
                compressor: &mut self.compressor,
                raw: &mut self.raw,
                is_digits: None,
            };
            let (bytes, close) = chunk.write(builder, block_ends)?;
            group.append_column(&bytes, close).map_err(failed)?;
            builder.clear();
        }
        group.close().map_err(failed)?;
        Ok(())
    }

    /// Keeps a section of our own, to be found again by name.
    pub(crate) fn section(&mut self, name: &'static str, bytes: Vec<u8>) {
        self.sections.push((name, bytes));
    }

    /// Writes sections and footer.
    pub(crate) fn finish(mut self) -> Result<Bytes, StorageError> {
        let mut packed = Vec::new();
        for (name, bytes) in &self.sections {
            put_section(&mut packed, name, bytes);
        }
        let packed = zstd::bulk::compress(&packed, self.level.max(3))
            .map_err(|error| StorageError::io("compressing sections", error))?;
        let offset = self.file.bytes_written();
        self.file
            .write_all(&packed)
            .map_err(|error| StorageError::io("writing sections", error))?;
        self.file.append_key_value_metadata(KeyValue::new(
            super::file::SECTIONS_KEY.to_owned(),
            format!("{offset},{}", packed.len()),
        ));
        let bytes = self.file.into_inner().map_err(failed)?;
        Ok(bytes.into())
    }
}

/// Appends `varint(len) name varint(len) bytes`.
pub(crate) fn put_section(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    model::wire::put_varint(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
    model::wire::put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what [`put_section`] wrote one after the other; nothing where the bytes are not of that
/// form.
pub(crate) fn get_sections(bytes: &Bytes) -> Option<Vec<(String, Bytes)>> {
    let mut reader = model::wire::Reader::new(bytes);
    let mut part = || -> Option<Bytes> {
        let length = usize::try_from(reader.varint().ok()?).ok()?;
        let start = reader.offset();
        reader.skip(length)?;
        Some(bytes.slice(start..start + length))
    };
    let mut sections = Vec::new();
    let mut taken = 0;
    while taken < bytes.len() {
        let name = part()?;
        let content = part()?;
        taken = content.as_ptr() as usize + content.len() - bytes.as_ptr() as usize;
        sections.push((String::from_utf8(name.to_vec()).ok()?, content));
    }
    Some(sections)
}

fn field(spec: &ColumnSpec) -> Result<Arc<Type>, ParquetError> {
    let (physical, logical, width) = match spec.kind {
        Kind::Int => (Physical::INT64, None, 0),
        Kind::Double => (Physical::DOUBLE, None, 0),
        Kind::Bool => (Physical::BOOLEAN, None, 0),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String), 0),
        Kind::Bytes => (Physical::BYTE_ARRAY, None, 0),
        Kind::Fixed(width) => (Physical::FIXED_LEN_BYTE_ARRAY, None, i32::from(width)),
    };
    let repetition = if spec.optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let field = Type::primitive_type_builder(&spec.name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_length(width)
        .build()?;
    Ok(Arc::new(field))
}

/// Writes one column of one row group.
struct ChunkWriter<'a> {
    spec: &'a ColumnSpec,
    description: ColumnDescPtr,
    level: i32,
    compressor: &'a mut Compressor<'static>,
    raw: &'a mut Vec<u8>,
    /// Whether strings are compressed as random digits, once their first page was tried.
    is_digits: Option<bool>,
}

/// Where a chunk's bytes went.
#[derive(Default)]
struct Sizes {
    uncompressed: usize,
    dictionary: Option<u64>,
    data: Option<u64>,
}

impl ChunkWriter<'_> {
    fn write(
        &mut self,
        builder: &mut ColumnBuilder,
        block_ends: &[u32],
    ) -> Result<(Bytes, ColumnCloseResult), StorageError> {
        let rows = block_ends.last().copied().unwrap_or(0) as usize;
        builder.present.resize(rows, false);
        assert!(
            self.spec.optional || builder.value_count() == rows,
            "bug: column {} has {} values for {rows} rows",
            self.spec.name,
            builder.value_count(),
        );
        let dictionary = IntDictionary::of(&builder.values);
        let mut chunk = TrackedWrite::new(Vec::new());
        let mut sizes = Sizes::default();
        let mut index = OffsetIndexBuilder::new();
        let mut encodings = vec![Encoding::RLE];
        self.raw.clear();
        if let Some((count, in_use)) = self.put_dictionary(builder, dictionary.as_ref()) {
            encodings.push(Encoding::PLAIN);
            let page = self.dictionary_page(count)?;
            let spec = write_page(&mut chunk, page, in_use)?;
            sizes.dictionary = Some(spec.0);
            sizes.uncompressed += spec.2;
        }
        let mut value = 0;
        let mut row = 0;
        for &end in block_ends {
            let end = end as usize;
            self.raw.clear();
            let present = &builder.present[row..end];
            let count = present.iter().filter(|&&present| present).count();
            if self.spec.optional {
                page::put_levels(self.raw, present.iter().copied());
            }
            let encoding =
                self.put_values(&builder.values, value..value + count, dictionary.as_ref());
            let page = self.data_page(end - row, encoding)?;
            let raw_bytes = self.raw.len();
            let (offset, bytes, uncompressed) = write_page(&mut chunk, page, raw_bytes)?;
            index.append_offset_and_size(offset as i64, bytes as i32);
            index.append_row_count((end - row) as i64);
            sizes.data.get_or_insert(offset);
            sizes.uncompressed += uncompressed;
            if !encodings.contains(&encoding) {
                encodings.push(encoding);
            }
            value += count;
            row = end;
        }
        let bytes = chunk
            .into_inner()
            .map_err(|error| StorageError::io("writing a column chunk", error))?;
        let metadata = ColumnChunkMetaData::builder(Arc::clone(&self.description))
            .set_encodings(encodings)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(self.level).unwrap_or_default()))
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(sizes.uncompressed as i64)
            .set_data_page_offset(sizes.data.unwrap_or(0) as i64)
            .set_dictionary_page_offset(sizes.dictionary.map(|offset| offset as i64))
            .set_statistics(statistics(builder, rows))
            .build()
            .map_err(failed)?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(index.build()),
        };
        Ok((bytes.into(), close))
    }

    /// Puts the dictionary's page content into `raw`; answers its entries and size.
    fn put_dictionary(
        &mut self,
        builder: &ColumnBuilder,
        ints: Option<&IntDictionary>,
    ) -> Option<(usize, usize)> {
        if let Some(ints) = ints {
            for word in &ints.words {
                self.raw.extend_from_slice(&word.to_le_bytes());
            }
            return Some((ints.words.len(), self.raw.len()));
        }
        let Values::Dictionary { strings, numbers } = &builder.values else { return None };
        if numbers.is_empty() {
            return None;
        }
        match self.spec.kind {
            Kind::Fixed(_) => self.raw.extend_from_slice(&strings.strings.data),
            _ => {
                let strings: &SpansBuilder = &strings.strings;
                page::put_plain_strings(
                    self.raw,
                    (0..strings.len()).map(|index| strings.get(index)),
                );
            }
        }
        Some((strings.len(), self.raw.len()))
    }

    fn put_values(
        &mut self,
        values: &Values,
        range: std::ops::Range<usize>,
        ints: Option<&IntDictionary>,
    ) -> Encoding {
        if let Some(ints) = ints {
            page::put_numbers(self.raw, &ints.numbers[range], ints.words.len());
            return Encoding::RLE_DICTIONARY;
        }
        match values {
            Values::Int(values) => {
                page::put_ints(self.raw, &values[range]);
                Encoding::DELTA_BINARY_PACKED
            }
            Values::Double(values) => {
                page::put_doubles(self.raw, &values[range]);
                Encoding::PLAIN
            }
            Values::Bool(values) => {
                page::put_bools(self.raw, &values[range]);
                Encoding::PLAIN
            }
            Values::Dictionary { strings, numbers } if !numbers.is_empty() => {
                page::put_numbers(self.raw, &numbers[range], strings.len());
                Encoding::RLE_DICTIONARY
            }
            Values::Dictionary { .. } => self.put_strings(&SpansBuilder::default(), 0..0),
            Values::Plain(values) => self.put_strings(values, range),
        }
    }

    fn put_strings(&mut self, values: &SpansBuilder, range: std::ops::Range<usize>) -> Encoding {
        let first = if range.start == 0 { 0 } else { values.ends[range.start - 1] };
        let ends = &values.ends[range];
        if matches!(self.spec.kind, Kind::Fixed(_)) {
            let last = ends.last().copied().unwrap_or(first);
            self.raw.extend_from_slice(&values.data[first as usize..last as usize]);
            return Encoding::PLAIN;
        }
        page::put_strings(self.raw, &values.data, ends, first);
        Encoding::DELTA_LENGTH_BYTE_ARRAY
    }

    fn compress(&mut self) -> Result<Bytes, StorageError> {
        let compressed = self
            .compressor
            .compress(self.raw)
            .map_err(|error| StorageError::io("compressing a page", error))?;
        Ok(compressed.into())
    }

    /// Compresses a page of strings in the way that is best for the first one.
    fn compress_strings(&mut self) -> Result<Bytes, StorageError> {
        match self.is_digits {
            Some(true) => self.compress_digits(),
            Some(false) => self.compress(),
            None if !may_be_digits(self.raw) => {
                self.is_digits = Some(false);
                self.compress()
            }
            None => {
                let (usual, digits) = (self.compress()?, self.compress_digits()?);
                let is_digits = digits.len() < usual.len();
                self.is_digits = Some(is_digits);
                Ok(if is_digits { digits } else { usual })
            }
        }
    }

    fn compress_digits(&mut self) -> Result<Bytes, StorageError> {
        self.set_level(DIGITS_LEVEL, DIGITS_MATCH_MIN)?;
        let compressed = self.compress();
        self.set_level(self.level, 0)?;
        compressed
    }

    /// `match_min` 0 is that of the level.
    fn set_level(&mut self, level: i32, match_min: u32) -> Result<(), StorageError> {
        for parameter in [CParameter::CompressionLevel(level), CParameter::MinMatch(match_min)] {
            self.compressor
                .set_parameter(parameter)
                .map_err(|error| StorageError::io("compressing a page", error))?;
        }
        Ok(())
    }

    fn dictionary_page(&mut self, count: usize) -> Result<Page, StorageError> {
        Ok(Page::DictionaryPage {
            buf: self.compress()?,
            num_values: count as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        })
    }

    fn data_page(&mut self, rows: usize, encoding: Encoding) -> Result<Page, StorageError> {
        let buf = match encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => self.compress_strings()?,
            _ => self.compress()?,
        };
        Ok(Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })
    }
}

/// Whether the end of a page, where its strings are, has few different bytes.
fn may_be_digits(page: &[u8]) -> bool {
    let sample = page.get(page.len().saturating_sub(DIGITS_SAMPLE_BYTES)..).unwrap_or_default();
    let mut met = [false; 256];
    sample.iter().for_each(|&byte| met[usize::from(byte)] = true);
    met.iter().filter(|&&met| met).count() <= DIGITS_MAX
}

/// Answers the page's offset, its bytes with the header, and the same before compression.
fn write_page(
    chunk: &mut TrackedWrite<Vec<u8>>,
    page: Page,
    raw_bytes: usize,
) -> Result<(u64, usize, usize), StorageError> {
    let compressed = page.buffer().len();
    let written = SerializedPageWriter::new(chunk)
        .write_page(CompressedPage::new(page, raw_bytes))
        .map_err(failed)?;
    let bytes = written.bytes_written as usize;
    Ok((written.offset, bytes, bytes - compressed + raw_bytes))
}

/// Least and greatest, for other tools to prune by; our own blocks have an index.
fn statistics(builder: &ColumnBuilder, rows: usize) -> Statistics {
    let nulls = Some((rows - builder.value_count()) as u64);
    match &builder.values {
        Values::Int(values) => Statistics::int64(
            values.iter().copied().min(),
            values.iter().copied().max(),
            None,
            nulls,
            false,
        ),
        Values::Double(_) => Statistics::double(None, None, None, nulls, false),
        Values::Bool(_) => Statistics::boolean(None, None, None, nulls, false),
        _ if matches!(builder.kind(), Kind::Fixed(_)) => {
            Statistics::fixed_len_byte_array(None, None, None, nulls, false)
        }
        _ => Statistics::byte_array(None, None, None, nulls, false),
    }
}

/// Few different integers (or doubles, by their bits) and which value is which of them.
struct IntDictionary {
    words: Vec<u64>,
    numbers: Vec<u32>,
}

impl IntDictionary {
    /// Nothing where the values are no integers or too many different ones.
    fn of(values: &Values) -> Option<IntDictionary> {
        match values {
            Values::Int(values) => Self::build(values.iter().map(|&value| value as u64)),
            Values::Double(values) => Self::build(values.iter().map(|value| value.to_bits())),
            _ => None,
        }
    }

    fn build(values: impl ExactSizeIterator<Item = u64>) -> Option<IntDictionary> {
        let count_max = INT_DICTIONARY_MAX.min(values.len() / 8);
        const SLOTS: usize = 4 * INT_DICTIONARY_MAX;
        let mut slots = vec![0u16; SLOTS];
        let mut words: Vec<u64> = Vec::new();
        let mut numbers = Vec::with_capacity(values.len());
        for word in values {
            let mut at = (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % SLOTS;
            let number = loop {
                match slots[at] {
                    0 if words.len() >= count_max => return None,
                    0 => {
                        words.push(word);
                        slots[at] = words.len() as u16;
                        break words.len() - 1;
                    }
                    known if words[known as usize - 1] == word => break known as usize - 1,
                    _ => at = (at + 1) % SLOTS,
                }
            };
            numbers.push(number as u32);
        }
        Some(IntDictionary { words, numbers }).filter(|dictionary| !dictionary.words.is_empty())
    }
}
