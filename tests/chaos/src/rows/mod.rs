//! All rows, in the order of the matrix: a file for each of its chapters.

mod bucket;
mod crash;
mod doors;
mod faults;
mod storage;

use crate::row::Row;

/// Every row. A new one is an entry in its chapter's list.
#[must_use]
pub fn all() -> Vec<Row> {
    [crash::ROWS, storage::ROWS, faults::ROWS, bucket::ROWS, doors::ROWS].concat()
}
