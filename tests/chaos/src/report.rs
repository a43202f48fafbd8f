//! What came of the rows, as lines while they run and as the page `docs/reliability.md`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::row::{Row, Tier};

/// Stands before the folder that a broken row leaves.
pub const DATA: &str = " (its data: ";

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    Held(String),
    Skipped(String),
    Broken(String),
}

/// One row with what came of it.
#[derive(Clone, Debug)]
pub struct Line {
    pub row: Row,
    pub came: Came,
    pub seed: u64,
    pub took: Duration,
}

impl Line {
    /// As it is printed: verdict, number, fault, expected, what came, seed.
    #[must_use]
    pub fn text(&self) -> String {
        let (word, came) = match &self.came {
            Came::Held(came) => ("held", came),
            Came::Skipped(why) => ("SKIPPED", why),
            Came::Broken(what) => ("BROKEN", what),
        };
        format!(
            "{word} {}: {} | expected: {} | came: {came} | seed {:#x} | {:.1} s",
            self.row.id,
            self.row.fault,
            self.row.expected,
            self.seed,
            self.took.as_secs_f64()
        )
    }
}

/// The page of a run.
#[must_use]
pub fn page(lines: &[Line], date: &str, tier: Tier) -> String {
    let mut page = String::from(
        "# Reliability\n\nWhat is done to Tercet on purpose, what must come of it, and what came. \
         Written by `make chaos`; do not edit.\n\nA row that this machine could not run is skipped \
         and says why. `chaos --row A1 --seed 0x...` runs one again with the same choices.\n\n",
    );
    let rounds = match tier {
        Tier::Fast => "the fast tier, which `make test` runs: few rounds of each row",
        Tier::Full => "the full tier: as many rounds as the matrix asks for",
    };
    let count = |wanted: fn(&Came) -> bool| lines.iter().filter(|line| wanted(&line.came)).count();
    let _infallible = writeln!(
        page,
        "Run of {date}, {rounds}: {} held, {} broken, {} skipped.\n\n| row | fault | expected | came | seed \
         |\n|---|---|---|---|---|",
        count(|came| matches!(came, Came::Held(_))),
        count(|came| matches!(came, Came::Broken(_))),
        count(|came| matches!(came, Came::Skipped(_))),
    );
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    for line in lines {
        let came = match &line.came {
            Came::Held(came) => cell(came),
            Came::Skipped(why) => format!("skipped: {}", cell(why)),
            // Where its data lies is of use on that machine only.
            Came::Broken(what) => {
                format!("**broken**: {}", cell(what.split(DATA).next().unwrap_or_default()))
            }
        };
        let _infallible = writeln!(
            page,
            "| {} | {} | {} | {came} | `{:#x}` |",
            line.row.id,
            cell(line.row.fault),
            cell(line.row.expected),
            line.seed
        );
    }
    page
}
