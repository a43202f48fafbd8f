//! The whole of LogQL against conformance data, on records in memory.
//!
//! What does not pass yet is listed by name in `testdata/logql-not-yet.txt`. A listed case that
//! passes and an unlisted one that fails are both errors, so the list can only shrink.

mod cases;
mod engine;
mod memory;
mod parsing;
mod script;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::ast::Expr;
use super::error::Result;
use crate::limits::ParseLimits;

/// The folder of conformance data, or nothing (with a word about it) where there is none.
pub(super) fn conformance() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut places =
        vec![root.join("../../shared/conformance"), root.join("../../../shared/conformance")];
    #[expect(clippy::disallowed_methods, reason = "tests have no settings file")]
    if let Ok(place) = std::env::var("TERCET_CONFORMANCE") {
        places.insert(0, PathBuf::from(place));
    }
    let found = places.into_iter().find(|place| place.join("logql").is_dir());
    if found.is_none() {
        println!("conformance data not found: set TERCET_CONFORMANCE; nothing was tested");
    }
    found
}

/// The bounds that a server has unless told otherwise.
pub(super) fn limits() -> ParseLimits {
    ParseLimits::of(&model::Limits::default())
}

/// Reads a query under them.
pub(super) fn parse(query: &str) -> Result<Expr> {
    super::parse::parse(query, limits())
}

/// Collects the outcome of one corpus and holds it against the list.
pub(super) struct Score {
    corpus: &'static str,
    total: usize,
    failed: Vec<(String, String)>,
}

impl Score {
    pub(super) fn new(corpus: &'static str) -> Score {
        Score { corpus, total: 0, failed: Vec::new() }
    }

    pub(super) fn record(
        &mut self,
        name: impl Into<String>,
        outcome: std::result::Result<(), String>,
    ) {
        self.total += 1;
        if let Err(why) = outcome {
            self.failed.push((name.into(), why));
        }
    }

    pub(super) fn settle(self) {
        let list = include_str!("../../../testdata/logql-not-yet.txt");
        let prefix = format!("{} ", self.corpus);
        let listed: BTreeSet<&str> =
            list.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).collect();
        let failed: BTreeSet<&str> = self.failed.iter().map(|(name, _)| name.as_str()).collect();
        println!("{}: {} of {} pass", self.corpus, self.total - failed.len(), self.total);
        for (name, why) in &self.failed {
            if !listed.contains(name.as_str()) {
                println!("FAIL {} {name}\n     {why}", self.corpus);
            }
        }
        let new: Vec<&&str> = failed.difference(&listed).collect();
        let fixed: Vec<&&str> = listed.difference(&failed).collect();
        assert!(new.is_empty(), "{} cases fail that are not listed", new.len());
        assert!(fixed.is_empty(), "these pass and are still listed: {fixed:?}");
    }
}

/// The rows of a file of JSON lines.
pub(super) fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
