//! `fuzz`: tries the targets for a while, or one case.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use fuzz::campaign::{Bad, Plan, check, listen_to_panics, run};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("fuzz")
        .about("Tries decoders, parsers and readers on bytes that nobody vouches for")
        .arg(Arg::new("list").long("list").action(ArgAction::SetTrue).help("Lists the targets"))
        .arg(text("target", "NAME", "The target; all of them, one after the other, by default"))
        .arg(text("seconds", "N", "How long, each").default_value("10"))
        .arg(text("seed", "N", "Makes the same cases again").default_value("1"))
        .arg(text("cases", "N", "At most so many cases").default_value("18446744073709551615"))
        .arg(text("careful", "FILE", "Writes every case there before it is tried"))
        .arg(text("bad", "FOLDER", "Where bad cases are written").default_value("."))
        .arg(text("case", "FILE", "Tries this case alone"))
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let get = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let number = |name: &str| get(name).parse::<u64>().unwrap_or(1);
    let wanted = get("target");
    let targets: Vec<_> = fuzz::targets()
        .into_iter()
        .filter(|target| wanted.is_empty() || target.name == wanted)
        .collect();
    if matches.get_flag("list") || targets.is_empty() {
        targets.iter().for_each(|target| println!("{}", target.name));
        return ExitCode::SUCCESS;
    }
    listen_to_panics();
    let mut good = true;
    for target in targets {
        if let Some(file) = matches.get_one::<String>("case") {
            let case = std::fs::read(file).unwrap_or_default();
            let _warm = std::panic::catch_unwind(|| (target.run)(&case));
            println!("{}: {:?}", target.name, check(&target, &case));
            continue;
        }
        let folder = PathBuf::from(get("bad"));
        let plan = Plan {
            seed: number("seed"),
            time: Duration::from_secs(number("seconds")),
            cases_max: number("cases"),
            careful: matches.get_one::<String>("careful").map(PathBuf::from),
            folder: folder.clone(),
        };
        let Some(report) = run(target, plan) else {
            println!("{}: a case hangs, see {}", target.name, folder.join("hang.bin").display());
            return ExitCode::FAILURE;
        };
        let (mut panics, mut slow, mut heap) = (0, 0, 0);
        for (index, (bad, case)) in report.bad.iter().enumerate() {
            let file = folder.join(format!("{}-{index}.bin", target.name));
            let _written = std::fs::write(&file, case);
            println!("BAD {}: {bad:?} ({} bytes, {})", target.name, case.len(), file.display());
            match bad {
                Bad::Panic(_) => panics += 1,
                Bad::Slow(_) => slow += 1,
                Bad::Heap(_) => heap += 1,
            }
        }
        good &= report.bad.is_empty();
        println!(
            "{}: {} cases, {} ways, {panics} panics, {slow} timeouts, {heap} too large",
            target.name, report.cases, report.kept
        );
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
