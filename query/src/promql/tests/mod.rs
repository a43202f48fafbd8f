//! The referee: Prometheus' own scripts and corpora, run unmodified against an in-memory source.

mod compliance;
mod corpus;
mod memory;
mod notation;
mod notation_nhcb;
mod script;

use std::path::PathBuf;

use storage::Budget;

use super::engine::{Engine, EngineOptions};
use memory::MemorySource;

/// The folder of conformance data, if this machine has it.
#[expect(clippy::disallowed_methods, reason = "tests find their data by the environment")]
pub(super) fn conformance(path: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var("TERCET_CONFORMANCE").ok().map(PathBuf::from);
    let near = ["../../shared/conformance", "../../../shared/conformance"].map(|p| root.join(p));
    let found = named.into_iter().chain(near).map(|base| base.join(path)).find(|p| p.exists());
    if found.is_none() {
        println!("conformance data {path} is not here; nothing is tested");
    }
    found
}

/// An engine over a source with the settings of the upstream runner.
pub(super) fn engine<'a>(
    source: &'a MemorySource,
    budget: &'a Budget,
    limits: &'a model::Limits,
    delayed_names: bool,
) -> Engine<'a> {
    let options = EngineOptions { lookback_ms: 300_000, subquery_step_ms: 60_000, delayed_names };
    Engine { options, limits, source, budget }
}
