//! All rows, in the order of the matrix: a file for each of its chapters.

mod backup;
mod bucket;
mod clock;
mod crash;
mod doors;
mod faults;
mod hostile;
mod mixture;
mod network;
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
        mixture::ROWS,
        doors::ROWS,
        &hostile,
        backup::ROWS,
        clock::ROWS,
    ]
    .concat()
}
