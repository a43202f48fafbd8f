//! Figures as Markdown.

use std::fmt::Write as _;

use crate::server::Cost;

/// A product's figures for one load.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) product: &'static str,
    pub(crate) records: u64,
    pub(crate) cost: Cost,
}

impl Row {
    fn per_cpu_second(&self) -> f64 {
        self.records as f64 / self.cost.cpu_seconds
    }

    fn bytes_per_record(&self) -> f64 {
        self.cost.bytes as f64 / self.records as f64
    }
}

/// One row a product; the last column compares the first row, which is ours, with it.
pub(crate) fn table(unit: &str, rows: &[Row]) -> String {
    let mut out = format!(
        "| product | {unit}s per CPU s | CPU s (until the last answer) | wall s | peak RSS MB | B per {unit} | data MB (whole folder) | ours: {unit}s per CPU s, RSS, bytes |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for row in rows {
        let cost = &row.cost;
        let ours = &rows[0];
        let _infallible = writeln!(
            out,
            "| {} | {:.0} | {:.2} ({:.2}) | {:.1} | {:.0} | {:.3} | {:.1} ({:.1}) | {:.2}x, {:.2}x, {:.2}x |",
            row.product,
            row.per_cpu_second(),
            cost.cpu_seconds,
            cost.ingest_cpu_seconds,
            cost.wall_seconds,
            cost.rss_bytes as f64 / 1e6,
            row.bytes_per_record(),
            cost.bytes as f64 / 1e6,
            cost.bytes_all as f64 / 1e6,
            ours.per_cpu_second() / row.per_cpu_second(),
            ours.cost.rss_bytes as f64 / cost.rss_bytes.max(1) as f64,
            ours.bytes_per_record() / row.bytes_per_record(),
        );
    }
    out
}
