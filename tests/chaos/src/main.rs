//! `chaos`: runs the matrix against the `tercet` beside it, or that of `TERCET_BIN`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a program for the terminal that takes real time"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chaos::report::{Came, DATA, Line, page, page_again};
use chaos::row::{Case, Outcome, Row, Tier};
use chaos::rows;
use clap::{Arg, ArgAction, ArgMatches, Command};

fn command() -> Command {
    Command::new("chaos")
        .about("Breaks things around tercet on purpose and checks that its promises hold")
        .arg(
            Arg::new("full")
                .long("full")
                .action(ArgAction::SetTrue)
                .help("Every row with as many rounds as the matrix asks for (under 3 hours)"),
        )
        .arg(
            Arg::new("row")
                .long("row")
                .value_name("ID")
                .action(ArgAction::Append)
                .help("Only this row, or all whose number begins so; may be repeated"),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("NUMBER")
                .help("Makes the same choices again, decimal or 0x..."),
        )
        .arg(
            Arg::new("page")
                .long("page")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help(
                    "Writes the table there; with --row puts those rows into the table that is there",
                ),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Lists the rows and runs none"),
        )
}

fn seed_of(matches: &ArgMatches) -> Result<u64, String> {
    let Some(text) = matches.get_one::<String>("seed") else {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        return Ok(since.as_nanos() as u64);
    };
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("--seed {text}: {error}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let matches = command().get_matches();
    let seed = match seed_of(&matches) {
        Ok(seed) => seed,
        Err(problem) => {
            println!("chaos: {problem}");
            return ExitCode::from(2);
        }
    };
    let tier = if matches.get_flag("full") { Tier::Full } else { Tier::Fast };
    let wanted: Vec<&String> = matches.get_many("row").unwrap_or_default().collect();
    let all = rows::all();
    // `A1` is one row, and does not mean A10 as well.
    let is_meant = |row: &Row, id: &str| {
        row.id == id || row.id.starts_with(id) && all.iter().all(|row| row.id != id)
    };
    let rows: Vec<Row> = all
        .iter()
        .copied()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|id| is_meant(row, id)))
        .filter(|row| !wanted.is_empty() || row.tier <= tier)
        .collect();
    if matches.get_flag("list") {
        for row in &rows {
            println!("{}: {} | expected: {}", row.id, row.fault, row.expected);
        }
        return ExitCode::SUCCESS;
    }
    let mut lines = Vec::new();
    for row in rows {
        let line = run(row, tier, seed).await;
        println!("{}", line.text());
        lines.push(line);
    }
    if let Some(file) = matches.get_one::<PathBuf>("page") {
        let date = chrono::Utc::now().format("%Y-%m-%d").to_string();
        let page = match std::fs::read_to_string(file) {
            Ok(before) if !wanted.is_empty() => page_again(&before, &lines, &date),
            _ => page(&lines, &date, tier),
        };
        std::fs::write(file, page).expect("the page can be written");
    }
    let count = |is: fn(&Came) -> bool| lines.iter().filter(|line| is(&line.came)).count();
    let broken = count(|came| matches!(came, Came::Broken(_)));
    println!(
        "test result: {}. {} passed; {broken} failed; {} skipped",
        if broken == 0 { "ok" } else { "FAILED" },
        count(|came| matches!(came, Came::Held(_))),
        count(|came| matches!(came, Came::Skipped(_))),
    );
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one row in a task of its own, so that a broken promise ends only itself.
async fn run(row: Row, tier: Tier, seed: u64) -> Line {
    let folder = tempfile::Builder::new().prefix("chaos-").tempdir().expect("a folder");
    let case = Case { tier, seed, folder: folder.path().to_owned() };
    let start = Instant::now();
    let came = match tokio::spawn((row.run)(case)).await {
        Ok(Outcome::Held(came)) => Came::Held(came),
        Ok(Outcome::Skipped(why)) => Came::Skipped(why),
        Err(error) => {
            let panic = error.try_into_panic().map(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            });
            let what = panic.ok().flatten().unwrap_or_else(|| "it ended early".to_owned());
            Came::Broken(format!("{what}{DATA}{})", folder.keep().display()))
        }
    };
    Line { row, came, seed, took: start.elapsed() }
}
