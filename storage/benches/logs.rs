//! What does a log record cost from memtable to merged segment, and what do the usual questions
//! cost over a million of them? `cargo bench -p storage --features bench --bench logs [rows]`.

#![expect(clippy::print_stdout, reason = "a bench prints its findings")]

fn main() {
    let rows = std::env::args().filter_map(|argument| argument.parse().ok()).next();
    storage::measure_logs(rows.unwrap_or(1_000_000), &mut |line| println!("{line}"));
}
