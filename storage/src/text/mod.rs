//! Finds blocks by the words in them.
//!
//! Logs and traces share it. A segment that was just flushed has filters alone: for each block the
//! hashes of its tokens. A merged segment has a word index too: a tantivy index in which a document
//! is a block and holds the block's different words once. Tokens that look like identifiers stay
//! in the filters. Both may say "maybe", neither ever says "no" where the text is: whoever asks
//! verifies on the data. Format: FORMAT.md, "Text index".

mod filter;
#[cfg(test)]
mod tests;
mod tokens;

use crate::StorageError;
use crate::columns::{SectionFile, SectionFileWriter};
use filter::Filters;
pub(crate) use tokens::{NeedleTokens, in_token};
use tokens::{for_each_token, token_hash};

const FILTERS_SECTION: &str = "filters";

/// Collects the tokens of the blocks of a segment.
#[derive(Debug, Default)]
pub(crate) struct TextIndexBuilder {
    block: HashSet32,
    filters: Vec<Vec<u32>>,
}

impl TextIndexBuilder {
    /// `level` 0 spends as little as possible.
    pub(crate) fn new(_level: u8) -> TextIndexBuilder {
        TextIndexBuilder::default()
    }

    /// Adds a text of the current block.
    #[inline]
    pub(crate) fn add(&mut self, text: &[u8]) {
        for_each_token(text, |range| {
            self.block.insert(token_hash(&text[range]));
        });
    }

    /// Ends the current block; blocks are numbered from 0.
    pub(crate) fn end_block(&mut self) {
        self.filters.push(self.block.take());
    }

    /// Writes the sections.
    pub(crate) fn finish(self, out: &mut SectionFileWriter) {
        out.push(FILTERS_SECTION, &filter::build(&self.filters));
    }
}

/// The text index of an open segment.
#[derive(Debug)]
pub(crate) struct TextIndex {
    file: SectionFile,
    filters: Option<Filters>,
}

impl TextIndex {
    /// Reads what every question needs.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn open(file: SectionFile, blocks: usize) -> Result<TextIndex, StorageError> {
        let filters = Filters::open(&file, FILTERS_SECTION, blocks)?;
        Ok(TextIndex { file, filters })
    }

    /// Clears the blocks in `candidates` that hold no text with these tokens.
    ///
    /// Errors: Corrupt, Io.
    pub(crate) fn retain(
        &self,
        needle: &NeedleTokens,
        candidates: &mut [bool],
    ) -> Result<(), StorageError> {
        let Some(filters) = self.filters else { return Ok(()) };
        for token in &needle.whole {
            if !candidates.contains(&true) {
                break;
            }
            filters.retain(&self.file, token_hash(token), candidates)?;
        }
        Ok(())
    }
}

/// A set of hashes that is emptied once a block.
#[derive(Debug, Default)]
struct HashSet32 {
    /// Open addressing, a power of two; 0 is empty.
    slots: Vec<u32>,
    list: Vec<u32>,
}

impl HashSet32 {
    /// Whether `hash` is new.
    #[inline]
    fn insert(&mut self, hash: u32) -> bool {
        if self.list.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash.max(1);
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

    fn take(&mut self) -> Vec<u32> {
        self.slots.fill(0);
        std::mem::take(&mut self.list)
    }
}
