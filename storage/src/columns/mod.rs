//! Attributes and records as Parquet columns: what segments of logs and of spans have in common.
//!
//! A segment's main file is plain Parquet (zstd), written page by page by our own encoders so that
//! pages of all columns break at the same rows: such a run of rows is a *block*, the unit of pruning
//! and decoding. Metadata is read and written by the `parquet` crate. This room knows columns, pages
//! and attributes; it knows neither logs nor spans, and nothing of indexes.
//! Format: FORMAT.md, "Parquet files of logs and traces".

// Bytes from disk are read here: they are looked at with `get`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod assemble;
mod attributes;
mod builder;
mod delta;
mod file;
mod packing;
mod page;
mod rows;
mod sections;
mod shapes;
mod spans;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use assemble::{AttributeFile, AttributesBlock};
pub(crate) use attributes::{
    AttributePart, AttributePlan, AttributePlanner, AttributesBuilder, AttributesRemap,
};
pub(crate) use builder::{ColumnBuilder, Met, Remap};
pub(crate) use file::{BlockAt, ColumnFile, ReadScratch};
pub(crate) use page::{BlockValues, ColumnBlock};
pub(crate) use sections::{SectionFile, SectionFileWriter};

pub(crate) use spans::Interner;
pub(crate) use writer::{ColumnFileWriter, get_sections, put_section};

/// Rows of a block at most.
pub(crate) const BLOCK_ROWS: usize = 8192;
/// Raw bytes after which a block ends early, so that long lines do not make huge pages.
pub(crate) const BLOCK_BYTES: usize = 4 << 20;
/// Rows of a row group at most.
pub(crate) const ROW_GROUP_ROWS: usize = 16 * BLOCK_ROWS;
/// Raw bytes after which a row group ends early, or before where memory is small.
pub(crate) const ROW_GROUP_BYTES: usize = 64 << 20;
/// A page that claims to be larger than this when decompressed is corrupt. Units: bytes.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 30;

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Int,
    Double,
    Bool,
    /// UTF-8.
    Text,
    Bytes,
    /// This many bytes each.
    Fixed(u16),
}

/// One column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnSpec {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether rows may lack a value.
    pub(crate) optional: bool,
}

impl ColumnSpec {
    pub(crate) fn required(name: &str, kind: Kind) -> Self {
        ColumnSpec { name: name.to_owned(), kind, optional: false }
    }

    pub(crate) fn optional(name: &str, kind: Kind) -> Self {
        ColumnSpec { name: name.to_owned(), kind, optional: true }
    }
}

/// Cuts rows into blocks and says when the row group is full.
#[derive(Debug)]
pub(crate) struct BlockCutter {
    /// Raw bytes after which a row group ends early.
    group_bytes_max: usize,
    /// Ends of the finished blocks. Units: rows of the row group.
    ends: Vec<u32>,
    rows: usize,
    block_rows: usize,
    block_bytes: usize,
    bytes: usize,
}

impl BlockCutter {
    pub(crate) fn new(group_bytes_max: usize) -> BlockCutter {
        BlockCutter {
            group_bytes_max,
            ends: Vec::new(),
            rows: 0,
            block_rows: 0,
            block_bytes: 0,
            bytes: 0,
        }
    }

    /// Counts one row of about `bytes`. Answers whether the row group is full with it.
    pub(crate) fn push(&mut self, bytes: usize) -> bool {
        self.rows += 1;
        self.block_rows += 1;
        self.block_bytes += bytes;
        self.bytes += bytes;
        if self.block_rows >= BLOCK_ROWS || self.block_bytes >= BLOCK_BYTES {
            self.ends.push(self.rows as u32);
            self.block_rows = 0;
            self.block_bytes = 0;
        }
        self.rows >= ROW_GROUP_ROWS || self.bytes >= self.group_bytes_max
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Ends of all blocks, the last one included; starts anew.
    pub(crate) fn finish(&mut self) -> Vec<u32> {
        let mut ends = std::mem::take(&mut self.ends);
        if self.block_rows > 0 {
            ends.push(self.rows as u32);
        }
        *self = BlockCutter::new(self.group_bytes_max);
        ends
    }
}
