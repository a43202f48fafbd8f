//! `/metrics`: what the rooms count, in Prometheus' text format, every name prefixed `tercet_`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::admin::Admin;

type Row = (&'static str, Vec<(&'static str, String)>, f64);

/// The whole page.
pub(crate) fn render(admin: &Admin) -> String {
    let store = admin.store.stats();
    let mut counters = store.counters;
    let ingest = admin.ingest.stats();
    counters.extend(ingest.counters);
    counters.extend(admin.query.stats().counters);
    let mut gauges = store.gauges;
    gauges.extend(ingest.gauges);
    gauges.push(("build_info", vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0));
    gauges.push(("start_time_seconds", Vec::new(), admin.started_ns as f64 / 1e9));
    let mut page = String::new();
    write_family(&mut page, "counter", counters);
    write_family(&mut page, "gauge", gauges);
    page
}

fn write_family(page: &mut String, kind: &str, rows: Vec<Row>) {
    let mut families: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for row in rows {
        families.entry(row.0).or_default().push(row);
    }
    for (name, rows) in families {
        // Writing to a String cannot fail.
        let _infallible = writeln!(page, "# TYPE tercet_{name} {kind}");
        for (_, labels, value) in rows {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escape(value)))
                .collect();
            let braces =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _infallible = writeln!(page, "tercet_{name}{braces} {value}");
        }
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_typed_once_and_values_escaped() {
        let mut page = String::new();
        let row = |tenant: &str, value| ("drops_total", vec![("tenant", tenant.to_owned())], value);
        write_family(
            &mut page,
            "counter",
            vec![row("a\"b", 1.0), ("x", Vec::new(), 2.5), row("c", 3.0)],
        );
        assert_eq!(
            page,
            "# TYPE tercet_drops_total counter\n\
             tercet_drops_total{tenant=\"a\\\"b\"} 1\n\
             tercet_drops_total{tenant=\"c\"} 3\n\
             # TYPE tercet_x counter\n\
             tercet_x 2.5\n"
        );
    }
}
