//! All rows, in the order of the matrix: a file for each of its chapters.

mod crash;
mod limits;
mod overload;

use crate::row::Row;

/// Every row. A new one is an entry in its chapter's list.
#[must_use]
pub fn all() -> Vec<Row> {
    [crash::ROWS, limits::ROWS, overload::ROWS].concat()
}
