//! How fast spans are kept and found, and what they weigh.
//!
//! `cargo bench -p storage --features bench --bench traces -- [spans]`

use std::time::Instant;

#[expect(clippy::print_stdout, reason = "it is what a bench is for")]
#[expect(clippy::disallowed_methods, reason = "a bench measures the system's time")]
fn main() {
    let spans = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let start = Instant::now();
    let now_ns = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    storage::bench_traces(spans, &now_ns, &mut |line| println!("{line}"));
}
