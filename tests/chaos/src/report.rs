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

/// Begins the line that counts.
const RESULT: &str = "Result: ";
/// Begins the line that names rows whose line is of a later run.
const AGAIN: &str = "Run again by themselves: ";
const HEAD: &str = "| row | fault | expected | came | seed |";

/// The page of a run.
#[must_use]
pub fn page(lines: &[Line], date: &str, tier: Tier) -> String {
    let rounds = match tier {
        Tier::Fast => "the fast tier, which `make test` runs: few rounds of each row",
        Tier::Full => "the full tier: as many rounds as the matrix asks for",
    };
    let intro = format!(
        "# Reliability\n\nWhat is done to Tercet on purpose, what must come of it, and what came. \
         Written by `make chaos`; do not edit.\n\nA row that this machine could not run is skipped \
         and says why. `chaos --row A1 --seed 0x...` runs one again with the same choices.\n\n\
         Run of {date}, {rounds}."
    );
    assembled(&intro, "", lines.iter().map(table_row).collect())
}

/// A page with the rows that were run again in place of what they had; those that it lacks come last.
#[must_use]
pub fn page_again(page: &str, lines: &[Line], date: &str) -> String {
    let is_row = |line: &&str| line.starts_with("| ") && *line != HEAD;
    let mut rows: Vec<String> = page.lines().filter(is_row).map(str::to_owned).collect();
    let named = page.lines().find_map(|line| line.strip_prefix(AGAIN)).unwrap_or_default();
    let mut again: Vec<String> = named
        .trim_end_matches('.')
        .split(", ")
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    for line in lines {
        let start = format!("| {} |", line.row.id);
        match rows.iter_mut().find(|row| row.starts_with(&start)) {
            Some(row) => *row = table_row(line),
            None => rows.push(table_row(line)),
        }
        again.retain(|name| name.split(' ').next() != Some(line.row.id));
        again.push(format!("{} ({date})", line.row.id));
    }
    let intro = page.split(RESULT).next().unwrap_or_default().trim_end();
    assembled(intro, &again.join(", "), rows)
}

fn assembled(intro: &str, again: &str, rows: Vec<String>) -> String {
    let came = |row: &String, word: &str| row.contains(&format!(" | {word}: "));
    let count = |word: &str| rows.iter().filter(|row| came(row, word)).count();
    let (broken, skipped) = (count(BROKEN), count(SKIPPED));
    let held = rows.len() - broken - skipped;
    let mut page = format!("{intro}\n\n{RESULT}{held} held, {broken} broken, {skipped} skipped.\n");
    if !again.is_empty() {
        let _infallible = writeln!(page, "\n{AGAIN}{again}.");
    }
    let _infallible = writeln!(page, "\n{HEAD}\n|---|---|---|---|---|\n{}", rows.join("\n"));
    page
}

const BROKEN: &str = "**broken**";
const SKIPPED: &str = "skipped";

/// A line of the page's table.
fn table_row(line: &Line) -> String {
    let temporary = std::env::temp_dir();
    let cell =
        |text: &str| without_folders(text, &temporary).replace('|', "\\|").replace('\n', " ");
    let came = match &line.came {
        Came::Held(came) => cell(came),
        Came::Skipped(why) => format!("{SKIPPED}: {}", cell(why)),
        // Where its data lies is of use on that machine only.
        Came::Broken(what) => {
            format!("{BROKEN}: {}", cell(what.split(DATA).next().unwrap_or_default()))
        }
    };
    let Row { id, fault, expected, .. } = line.row;
    format!("| {id} | {} | {} | {came} | `{:#x}` |", cell(fault), cell(expected), line.seed)
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

    #[test]
    fn rows_that_are_run_again_take_the_place_of_what_they_had() {
        let run =
            |_: Case| -> crate::row::Running { Box::pin(async { Outcome::Held(String::new()) }) };
        let line = |id, came| Line {
            row: Row { id, fault: "a", expected: "b", tier: Tier::Fast, run },
            came,
            seed: 1,
            took: Duration::ZERO,
        };
        let lines = [
            line("A1", Came::Broken("lost".to_owned())),
            line("A10", Came::Held("ten".to_owned())),
            line("I7", Came::Skipped("why".to_owned())),
        ];
        let first = page(&lines, "2026-11-21", Tier::Full);
        assert!(first.contains("\nResult: 1 held, 1 broken, 1 skipped.\n"), "{first}");
        let mended =
            [line("A1", Came::Held("one".to_owned())), line("B1", Came::Held("new".to_owned()))];
        let page = page_again(&first, &mended, "2026-11-22");
        assert!(page.contains("\nResult: 3 held, 0 broken, 1 skipped.\n"), "{page}");
        assert!(
            page.contains("\nRun again by themselves: A1 (2026-11-22), B1 (2026-11-22).\n"),
            "{page}"
        );
        assert!(page.starts_with(first.split("Result: ").next().unwrap()), "{page}");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(rows.len(), 4);
        assert!(rows[0].contains("| one |") && rows[1].contains("| ten |"), "{page}");
        let later = page_again(&page, &mended[..1], "2026-11-23");
        assert!(later.contains("themselves: B1 (2026-11-22), A1 (2026-11-23).\n"), "{later}");
    }
}
