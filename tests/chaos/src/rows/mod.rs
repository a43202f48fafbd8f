//! All rows, in the order of the matrix: a file for each of its chapters.

mod backup;
mod bucket;
mod clock;
mod crash;
mod doors;
mod faults;
mod hostile;
mod limits;
mod mixture;
mod network;
mod overload;
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
        limits::ROWS,
        overload::ROWS,
        mixture::ROWS,
        doors::ROWS,
        &hostile,
        backup::ROWS,
        clock::ROWS,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_row_has_a_number_of_its_own() {
        let mut seen = BTreeSet::new();
        for row in all() {
            assert!(seen.insert(row.id), "two rows are {}", row.id);
        }
    }
}
