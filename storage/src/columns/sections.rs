//! A file of named sections that are read one by one: the index of a segment.
//!
//! Layout: the sections one after the other; then the directory, for each section
//! `varint(len) name varint(offset) varint(length)`; then the directory's length (u32, little endian)
//! and eight bytes of magic.

use std::sync::Arc;

use bytes::Bytes;
use model::wire::{Reader, put_varint};

use crate::StorageError;
use crate::segment::SegmentSource;

const MAGIC: &[u8; 8] = b"TERCIDX1";
const TRAILER_BYTES: u64 = 12;
/// A directory may not claim to be larger than this. Units: bytes.
const DIRECTORY_BYTES_MAX: u64 = 1 << 20;

/// Collects sections.
#[derive(Debug, Default)]
pub(crate) struct SectionFileWriter {
    bytes: Vec<u8>,
    directory: Vec<u8>,
}

impl SectionFileWriter {
    /// Appends a section.
    pub(crate) fn push(&mut self, name: &str, content: &[u8]) {
        put_varint(&mut self.directory, name.len() as u64);
        self.directory.extend_from_slice(name.as_bytes());
        put_varint(&mut self.directory, self.bytes.len() as u64);
        put_varint(&mut self.directory, content.len() as u64);
        self.bytes.extend_from_slice(content);
    }

    /// The file.
    pub(crate) fn finish(mut self) -> Bytes {
        let length = self.directory.len() as u32;
        self.bytes.append(&mut self.directory);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(MAGIC);
        self.bytes.into()
    }
}

/// An open file of sections.
#[derive(Debug, Clone)]
pub(crate) struct SectionFile {
    source: Arc<dyn SegmentSource>,
    /// Name, offset, length.
    sections: Vec<(String, u64, u64)>,
}

impl SectionFile {
    /// Reads the directory.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn open(source: Arc<dyn SegmentSource>) -> Result<SectionFile, StorageError> {
        let corrupt = || StorageError::corrupt(source.name(), "its directory cannot be read");
        let end = source.len().checked_sub(TRAILER_BYTES).ok_or_else(corrupt)?;
        let trailer = source.read(end..source.len())?;
        let (length, magic) = trailer.split_first_chunk::<4>().ok_or_else(corrupt)?;
        if magic != MAGIC {
            return Err(corrupt());
        }
        let length = u64::from(u32::from_le_bytes(*length));
        let start = end
            .checked_sub(length)
            .filter(|_| length <= DIRECTORY_BYTES_MAX)
            .ok_or_else(corrupt)?;
        let directory = source.read(start..end)?;
        let sections = parse_directory(&directory, start).ok_or_else(corrupt)?;
        Ok(SectionFile { source, sections })
    }

    pub(crate) fn name(&self) -> &str {
        self.source.name()
    }

    /// Length of a section, if there is one of that name. Units: bytes.
    pub(crate) fn len(&self, name: &str) -> Option<u64> {
        self.sections.iter().find(|(known, ..)| known == name).map(|(.., length)| *length)
    }

    /// Where a section lies in the file, if there is one of that name.
    pub(crate) fn place(&self, name: &str) -> Option<std::ops::Range<u64>> {
        let (_, offset, length) = self.sections.iter().find(|(known, ..)| known == name)?;
        Some(*offset..offset + length)
    }

    /// A section as a whole, if there is one of that name.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Bytes>, StorageError> {
        match self.len(name) {
            Some(length) => self.read_range(name, 0, length).map(Some),
            None => Ok(None),
        }
    }

    /// `length` bytes of a section from `start`.
    ///
    /// Errors: Corrupt when they lie outside of it, Io.
    pub(crate) fn read_range(
        &self,
        name: &str,
        start: u64,
        length: u64,
    ) -> Result<Bytes, StorageError> {
        let outside = || StorageError::corrupt(self.name(), format!("section {name} is too short"));
        let (_, offset, size) =
            self.sections.iter().find(|(known, ..)| known == name).ok_or_else(outside)?;
        let end = start.checked_add(length).filter(|end| end <= size).ok_or_else(outside)?;
        self.source.read(offset + start..offset + end)
    }
}

fn parse_directory(bytes: &[u8], file_end: u64) -> Option<Vec<(String, u64, u64)>> {
    let mut reader = Reader::new(bytes);
    let mut sections = Vec::new();
    while !reader.is_empty() {
        let length = usize::try_from(reader.varint().ok()?).ok()?;
        let start = reader.offset();
        reader.skip(length)?;
        let name = std::str::from_utf8(bytes.get(start..start + length)?).ok()?;
        let offset = reader.varint().ok()?;
        let size = reader.varint().ok()?;
        offset.checked_add(size).filter(|&end| end <= file_end)?;
        sections.push((name.to_owned(), offset, size));
    }
    Some(sections)
}
