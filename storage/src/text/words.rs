//! The word index of a merged segment: which blocks hold which words.
//!
//! A tantivy index in which a document is a block. Besides whole words it answers for fragments of
//! words, by a walk over its dictionary. Tokens with digits are in it as their *skeleton*, every run
//! of digits written as one `0`: what is a part of a token has a skeleton that is a part of the
//! token's, so fragments still find them and the dictionary stays small. Tokens of hexadecimal digits
//! with at least one decimal digit among them, and very long ones, are not in it at all.

use std::path::Path;

use bytes::Bytes;
use tantivy::directory::{Directory, RamDirectory};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{
    DocSet, Index, IndexSettings, InvertedIndexReader, SegmentReader, TERMINATED, TantivyDocument,
    Term,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::StorageError;
use crate::columns::{get_sections, put_section};
use crate::unpack::decompress;

/// Longer tokens are not in the dictionary. Units: bytes.
pub(super) const WORD_BYTES_MAX: usize = 64;
/// A block with more different words than this is not in the index: it always may hold a fragment.
pub(super) const WORDS_PER_BLOCK_MAX: usize = 16 << 10;
/// A fragment that is in more words than this prunes nothing.
const WORDS_PER_FRAGMENT_MAX: usize = 4096;
/// Memory that tantivy may use while it builds. Units: bytes.
const BUILD_BYTES: usize = 15_000_000;
/// An index that claims to be larger than this is corrupt. Units: bytes.
const WORDS_BYTES_MAX: usize = 256 << 20;

const FIELD_NAME: &str = "word";
const META_FILE: &str = "meta.json";
const OPEN_BLOCKS: &str = "open_blocks";

/// What kind of token this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// In the dictionary as it is.
    Word,
    /// In the dictionary as its skeleton, and in the filters.
    Mixed,
    /// In the filters alone.
    Identifier,
    /// In the filters alone, and too long to be sure of: its block is open to every fragment.
    Long,
}

pub(super) fn class(token: &[u8]) -> Class {
    if token.len() > WORD_BYTES_MAX {
        return Class::Long;
    }
    let mut digit = false;
    let mut other = false;
    for byte in token {
        digit |= byte.is_ascii_digit();
        other |= !byte.is_ascii_hexdigit();
    }
    match (digit, other) {
        (false, _) => Class::Word,
        (true, true) => Class::Mixed,
        (true, false) => Class::Identifier,
    }
}

/// Appends `token` with every run of digits as one `0`.
pub(super) fn put_skeleton(out: &mut Vec<u8>, token: &[u8]) {
    let mut in_digits = false;
    for &byte in token {
        let digit = byte.is_ascii_digit();
        if !digit || !in_digits {
            out.push(if digit { b'0' } else { byte });
        }
        in_digits = digit;
    }
}

/// A part of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    End,
    Start,
    Anywhere,
}

fn failed(error: impl std::fmt::Display) -> StorageError {
    StorageError::io("building a word index", error)
}

/// Builds a word index block by block.
pub(super) struct WordsBuilder {
    writer: tantivy::SingleSegmentIndexWriter,
    directory: RamDirectory,
    field: Field,
    /// One byte a block: 1 for those that are not, or not wholly, in the index.
    open: Vec<u8>,
}

impl std::fmt::Debug for WordsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WordsBuilder").field("blocks", &self.open.len()).finish_non_exhaustive()
    }
}

impl WordsBuilder {
    /// Errors: Io.
    pub(super) fn new() -> Result<WordsBuilder, StorageError> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        let options = TextOptions::default().set_indexing_options(indexing);
        let field = schema.add_text_field(FIELD_NAME, options);
        let directory = RamDirectory::create();
        let settings =
            IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
        let writer = Index::builder()
            .schema(schema.build())
            .settings(settings)
            .single_segment_index_writer(directory.clone(), BUILD_BYTES)
            .map_err(failed)?;
        Ok(WordsBuilder { writer, directory, field, open: Vec::new() })
    }

    /// Adds a block: its different words, and whether all of its tokens are among them.
    ///
    /// Errors: Io.
    pub(super) fn block<'a>(
        &mut self,
        words: impl Iterator<Item = &'a [u8]>,
        open: bool,
    ) -> Result<(), StorageError> {
        let mut open = open;
        let mut tokens = Vec::new();
        for word in words {
            match std::str::from_utf8(word) {
                Ok(text) => tokens.push(Token {
                    position: tokens.len(),
                    text: text.to_owned(),
                    ..Token::default()
                }),
                Err(_) => open = true,
            }
        }
        let mut document = TantivyDocument::default();
        document
            .add_pre_tokenized_text(self.field, PreTokenizedString { text: String::new(), tokens });
        self.open.push(u8::from(open));
        self.writer.add_document(document).map_err(failed)
    }

    /// The index in one piece.
    ///
    /// Errors: Io.
    pub(super) fn finish(self) -> Result<Vec<u8>, StorageError> {
        let index = self.writer.finalize().map_err(failed)?;
        let mut files: Vec<_> = index.directory().list_managed_files().into_iter().collect();
        files.retain(|path| path != Path::new(META_FILE));
        files.push(META_FILE.into());
        files.sort();
        let mut packed = Vec::new();
        put_section(&mut packed, OPEN_BLOCKS, &self.open);
        for path in files {
            if !self.directory.exists(&path).map_err(failed)? {
                continue;
            }
            let file = self.directory.open_read(&path).map_err(failed)?;
            let bytes = file.read_bytes().map_err(failed)?;
            put_section(&mut packed, &path.to_string_lossy(), &bytes);
        }
        let mut out = xxh3_64(&packed).to_le_bytes().to_vec();
        out.extend(zstd::bulk::compress(&packed, 3).map_err(failed)?);
        Ok(out)
    }
}

/// An open word index.
pub(super) struct Words {
    segment: SegmentReader,
    field: Field,
    open: Bytes,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words").field("blocks", &self.open.len()).finish_non_exhaustive()
    }
}

impl Words {
    /// Opens what [`WordsBuilder::finish`] made, for as many blocks; nothing where it is not that.
    pub(super) fn open(bytes: &[u8], blocks: usize) -> Option<Words> {
        let (hash, packed) = bytes.split_first_chunk::<8>()?;
        let size = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
        let size = usize::try_from(size).ok().filter(|&size| size <= WORDS_BYTES_MAX)?;
        let packed: Bytes = decompress(packed, size).ok()?.into();
        // Tantivy trusts its files.
        if xxh3_64(&packed) != u64::from_le_bytes(*hash) {
            return None;
        }
        let directory = RamDirectory::create();
        let mut open = Bytes::new();
        for (name, content) in get_sections(&packed)? {
            if name == OPEN_BLOCKS {
                open = content;
            } else {
                directory.atomic_write(Path::new(&name), &content).ok()?;
            }
        }
        let index = Index::open(directory).ok()?;
        let field = index.schema().get_field(FIELD_NAME).ok()?;
        let segments = index.searchable_segments().ok()?;
        let segment = SegmentReader::open(segments.first()?).ok()?;
        (open.len() == blocks && segment.max_doc() as usize == blocks).then_some(Words {
            segment,
            field,
            open,
        })
    }

    /// Whether a block is not, or not wholly, in the index.
    pub(super) fn is_open(&self, block: usize) -> bool {
        self.open.get(block).is_none_or(|&open| open != 0)
    }

    /// Marks the blocks that hold a word.
    ///
    /// Errors: Corrupt.
    pub(super) fn mark_word(&self, word: &[u8], holds: &mut [bool]) -> Result<(), StorageError> {
        let mut read = || -> Option<()> {
            let inverted = self.segment.inverted_index(self.field).ok()?;
            let Ok(text) = std::str::from_utf8(word) else { return Some(()) };
            let term = Term::from_field_text(self.field, text);
            if let Some(info) = inverted.get_term_info(&term).ok()? {
                mark(&inverted, &info, holds)?;
            }
            Some(())
        };
        read().ok_or_else(|| StorageError::corrupt("a word index", "a word cannot be looked up"))
    }

    /// Marks the blocks that hold a token of which `part` is a part; answers whether that says
    /// anything.
    ///
    /// Errors: Corrupt.
    pub(super) fn mark_part(
        &self,
        part: &[u8],
        place: Part,
        holds: &mut [bool],
    ) -> Result<bool, StorageError> {
        if part.iter().all(u8::is_ascii_hexdigit) {
            // It may be a part of an identifier.
            return Ok(false);
        }
        let mut skeleton = Vec::with_capacity(part.len());
        put_skeleton(&mut skeleton, part);
        let mut read = || -> Option<bool> {
            let inverted = self.segment.inverted_index(self.field).ok()?;
            let finder = memchr::memmem::Finder::new(&skeleton);
            let mut words = inverted.terms().stream().ok()?;
            let mut hits = 0;
            while words.advance() {
                let word = words.key();
                let hit = match place {
                    Part::End => word.ends_with(&skeleton),
                    Part::Start => word.starts_with(&skeleton),
                    Part::Anywhere => finder.find(word).is_some(),
                };
                if hit {
                    hits += 1;
                    if hits > WORDS_PER_FRAGMENT_MAX {
                        return Some(false);
                    }
                    mark(&inverted, words.value(), holds)?;
                }
            }
            Some(true)
        };
        read().ok_or_else(|| StorageError::corrupt("a word index", "its words cannot be walked"))
    }
}

fn mark(
    inverted: &InvertedIndexReader,
    info: &tantivy::postings::TermInfo,
    holds: &mut [bool],
) -> Option<()> {
    let mut postings = inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic).ok()?;
    let mut block = postings.doc();
    while block != TERMINATED {
        if let Some(holds) = holds.get_mut(block as usize) {
            *holds = true;
        }
        block = postings.advance();
    }
    Some(())
}
