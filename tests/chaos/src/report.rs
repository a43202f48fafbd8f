//! What came of the rows, as lines while they run and as the page `docs/reliability.md`.

use std::fmt::Write as _;
use std::path::Path;
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
    let temporary = std::env::temp_dir();
    let cell =
        |text: &str| without_folders(text, &temporary).replace('|', "\\|").replace('\n', " ");
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

/// A text in which no folder of one run is named: where it lay is of use on that machine only, and
/// differs each time.
fn without_folders(text: &str, temporary: &Path) -> String {
    let begin = format!("{}/", temporary.to_string_lossy().trim_end_matches('/'));
    let mut parts = text.split(begin.as_str());
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_name = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
        clean.push_str("(folder)");
        clean.push_str(part.trim_start_matches(is_name));
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Case, Outcome};

    #[test]
    fn a_page_names_no_folder_of_its_run() {
        let temporary = std::env::temp_dir();
        let folder = temporary.join("chaos-Ab3dE9");
        let run =
            |_: Case| -> crate::row::Running { Box::pin(async { Outcome::Held(String::new()) }) };
        let row = Row { id: "A1", fault: "a", expected: "b", tier: Tier::Fast, run };
        let line = |came| Line { row, came, seed: 1, took: Duration::ZERO };
        let lost = format!("{}/wal/1.log and {} are gone", folder.display(), folder.display());
        let lines = [
            line(Came::Broken(format!("{lost}{DATA}{})", folder.display()))),
            line(Came::Skipped(lost.clone())),
            line(Came::Held(lost)),
        ];
        let page = page(&lines, "2026-11-21", Tier::Fast);
        assert!(!page.contains(&*temporary.to_string_lossy()), "{page}");
        assert_eq!(page.matches("(folder)/wal/1.log and (folder) are gone").count(), 3, "{page}");
    }
}
