//! One row of the matrix: a fault, what must come of it, and the code that finds out.

use std::path::PathBuf;
use std::pin::Pin;

/// When a row runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// In `make test`: seconds.
    Fast,
    /// In `make chaos` only: minutes.
    Full,
}

/// What a case of a row has to work with.
#[derive(Clone, Debug)]
pub struct Case {
    /// A fast run makes few rounds, a full one as many as the matrix asks for.
    pub tier: Tier,
    /// The same seed makes the same choices.
    pub seed: u64,
    /// A folder of its own; kept when the case fails.
    pub folder: PathBuf,
}

impl Case {
    /// `fast` rounds in `make test`, `full` in `make chaos`.
    #[must_use]
    pub fn rounds(&self, fast: u64, full: u64) -> u64 {
        if self.tier == Tier::Fast { fast } else { full }
    }
}

/// How a case ended without a broken promise; a broken one panics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What came, with its figures.
    Held(String),
    /// Why this machine cannot run it.
    Skipped(String),
}

/// A case under way.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One row of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number in the matrix, with a name of its own where a row has many cases: `A1`, `A2-ext4`.
    pub id: &'static str,
    /// What is done.
    pub fault: &'static str,
    /// What must come of it.
    pub expected: &'static str,
    /// The lowest tier that it runs in.
    pub tier: Tier,
    pub run: fn(Case) -> Running,
}
