//! Finds blocks by the words in them.
//!
//! Logs and traces share it. A segment that was just flushed has filters alone: for each block the
//! hashes of its tokens. A merged segment has a word index too: a tantivy index in which a document
//! is a block and holds the block's different words once. Tokens that look like identifiers stay
//! in the filters. Both may say "maybe", neither ever says "no" where the text is: whoever asks
//! verifies on the data. Format: FORMAT.md, "Text index".

// Bytes from disk are read here: they are looked at with `get`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod filter;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

use std::sync::OnceLock;

use crate::StorageError;
use crate::columns::{Interner, SectionFile, SectionFileWriter};
use filter::{Filters, filter_hash};
pub(crate) use tokens::{NeedleTokens, in_token};
use tokens::{for_each_token, token_hash};
use words::{Class, Part, WORDS_PER_BLOCK_MAX, Words, WordsBuilder, class, put_skeleton};

const FILTERS_SECTION: &str = "filters";
const WORDS_SECTION: &str = "words";

/// Collects the tokens of the blocks of a segment.
#[derive(Debug)]
pub(crate) struct TextIndexBuilder {
    /// Hashes of the block's different tokens.
    met: HashSet64,
    filters: Vec<Vec<u32>>,
    /// Of a segment that was just flushed there is no word index.
    words: Option<BlockWords>,
}

/// The words of the current block, and the index of those before it.
#[derive(Debug)]
struct BlockWords {
    builder: WordsBuilder,
    /// Hashes of the tokens that go to the filter.
    filter: Vec<u32>,
    words: Interner,
    skeleton: Vec<u8>,
    open: bool,
}

impl TextIndexBuilder {
    /// `level` 0 spends as little as possible.
    ///
    /// Errors: Io.
    pub(crate) fn new(level: u8) -> Result<TextIndexBuilder, StorageError> {
        let words = match level {
            0 => None,
            _ => Some(BlockWords {
                builder: WordsBuilder::new()?,
                filter: Vec::new(),
                words: Interner::default(),
                skeleton: Vec::new(),
                open: false,
            }),
        };
        Ok(TextIndexBuilder { met: HashSet64::default(), filters: Vec::new(), words })
    }

    /// Adds a text of the current block.
    #[inline]
    pub(crate) fn add(&mut self, text: &[u8]) {
        for_each_token(text, |range| {
            let token = text.get(range).unwrap_or_default();
            let hash = token_hash(token);
            if self.met.insert(hash)
                && let Some(words) = &mut self.words
            {
                words.add(token, hash);
            }
        });
    }

    /// Ends the current block; blocks are numbered from 0.
    ///
    /// Errors: Io.
    pub(crate) fn end_block(&mut self) -> Result<(), StorageError> {
        let hashes = self.met.take();
        match &mut self.words {
            None => self.filters.push(hashes.into_iter().map(filter_hash).collect()),
            Some(words) => self.filters.push(words.end_block()?),
        }
        Ok(())
    }

    /// Writes the sections.
    ///
    /// Errors: Io.
    pub(crate) fn finish(self, out: &mut SectionFileWriter) -> Result<(), StorageError> {
        let bits = match &self.words {
            None => filter::BITS_PER_TOKEN,
            Some(_) => filter::BITS_PER_IDENTIFIER,
        };
        out.push(FILTERS_SECTION, &filter::build(&self.filters, bits));
        if let Some(words) = self.words {
            out.push(WORDS_SECTION, &words.builder.finish()?);
        }
        Ok(())
    }
}

impl BlockWords {
    /// Adds a token that the block has not had yet.
    fn add(&mut self, token: &[u8], hash: u64) {
        let class = class(token);
        if class != Class::Word {
            self.filter.push(filter_hash(hash));
        }
        self.open |= class == Class::Long;
        if matches!(class, Class::Identifier | Class::Long) {
            return;
        }
        if self.words.len() >= WORDS_PER_BLOCK_MAX {
            self.open = true;
            if class == Class::Word {
                self.filter.push(filter_hash(hash));
            }
            return;
        }
        self.skeleton.clear();
        put_skeleton(&mut self.skeleton, token);
        self.words.intern(&self.skeleton);
    }

    fn end_block(&mut self) -> Result<Vec<u32>, StorageError> {
        let words = std::mem::take(&mut self.words).finish();
        self.builder.block(words.iter(), std::mem::take(&mut self.open))?;
        Ok(std::mem::take(&mut self.filter))
    }
}

/// The text index of an open segment.
#[derive(Debug)]
pub(crate) struct TextIndex {
    file: SectionFile,
    blocks: usize,
    filters: Option<Filters>,
    /// Opened when first asked for.
    words: OnceLock<Option<Words>>,
}

impl TextIndex {
    /// Reads what every question needs.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn open(file: SectionFile, blocks: usize) -> Result<TextIndex, StorageError> {
        let filters = Filters::open(&file, FILTERS_SECTION, blocks)?;
        Ok(TextIndex { file, blocks, filters, words: OnceLock::new() })
    }

    /// Clears the blocks in `candidates` that hold no text with these tokens.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn retain(
        &self,
        needle: &NeedleTokens,
        candidates: &mut [bool],
    ) -> Result<(), StorageError> {
        for token in &needle.whole {
            if !candidates.contains(&true) {
                return Ok(());
            }
            self.retain_token(token, candidates)?;
        }
        for (part, place) in [
            (&needle.first, Part::End),
            (&needle.last, Part::Start),
            (&needle.inside, Part::Anywhere),
        ] {
            if let Some(part) = part
                && candidates.contains(&true)
            {
                self.retain_part(part, place, candidates)?;
            }
        }
        Ok(())
    }

    /// The word index, if the segment has one.
    ///
    /// Errors: Corrupt, Io.
    fn words(&self) -> Result<Option<&Words>, StorageError> {
        if let Some(words) = self.words.get() {
            return Ok(words.as_ref());
        }
        let words = match self.file.read(WORDS_SECTION)? {
            None => None,
            Some(bytes) => Some(Words::open(&bytes, self.blocks).ok_or_else(|| {
                StorageError::corrupt(self.file.name(), "its word index cannot be opened")
            })?),
        };
        Ok(self.words.get_or_init(|| words).as_ref())
    }

    fn retain_token(&self, token: &[u8], candidates: &mut [bool]) -> Result<(), StorageError> {
        let Some(filters) = self.filters else { return Ok(()) };
        let words = self.words()?.filter(|_| class(token) == Class::Word);
        let Some(words) = words else {
            return filters.retain(&self.file, filter_hash(token_hash(token)), candidates);
        };
        let mut holds = vec![false; candidates.len()];
        words.mark_word(token, &mut holds)?;
        let mut by_filter: Vec<bool> =
            (0..candidates.len()).map(|block| words.is_open(block)).collect();
        if by_filter.contains(&true) {
            filters.retain(&self.file, filter_hash(token_hash(token)), &mut by_filter)?;
        }
        for ((candidate, holds), by_filter) in candidates.iter_mut().zip(holds).zip(by_filter) {
            *candidate &= holds || by_filter;
        }
        Ok(())
    }

    fn retain_part(
        &self,
        part: &[u8],
        place: Part,
        candidates: &mut [bool],
    ) -> Result<(), StorageError> {
        let Some(words) = self.words()? else { return Ok(()) };
        let mut holds = vec![false; candidates.len()];
        if words.mark_part(part, place, &mut holds)? {
            for (block, (candidate, holds)) in candidates.iter_mut().zip(holds).enumerate() {
                *candidate &= holds || words.is_open(block);
            }
        }
        Ok(())
    }
}

/// A set of hashes that is emptied once a block.
#[derive(Debug, Default)]
struct HashSet64 {
    /// Open addressing, a power of two; 0 is empty.
    slots: Vec<u64>,
    list: Vec<u64>,
}

#[expect(clippy::indexing_slicing, reason = "a hash is masked by the number of slots")]
impl HashSet64 {
    /// Whether `hash` is new.
    #[inline]
    fn insert(&mut self, hash: u64) -> bool {
        if self.list.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => break,
                known if known == hash => return false,
                _ => at = (at + 1) & mask,
            }
        }
        self.slots[at] = hash;
        self.list.push(hash);
        true
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1 << 14);
        self.slots.clear();
        self.slots.resize(size, 0);
        for &hash in &self.list {
            let mut at = hash as usize & (size - 1);
            while self.slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = hash;
        }
    }

    fn take(&mut self) -> Vec<u64> {
        self.slots.fill(0);
        std::mem::take(&mut self.list)
    }
}
