//! All rows, in the order of the matrix: a file for each of its chapters.

mod bucket;
mod crash;
mod doors;
mod faults;
mod hostile;
mod mixture;
mod network;
mod panics;
mod protocols;
mod resources;
mod storage;

use crate::row::Row;

/// Every row. A new one is an entry in its chapter's list.
#[must_use]
pub fn all() -> Vec<Row> {
    let hostile = hostile::rows();
    [
        crash::ROWS,
        storage::ROWS,
        faults::ROWS,
        resources::ROWS,
        bucket::ROWS,
        network::ROWS,
        protocols::ROWS,
        panics::ROWS,
        mixture::ROWS,
        doors::ROWS,
        &hostile,
    ]
    .concat()
}
