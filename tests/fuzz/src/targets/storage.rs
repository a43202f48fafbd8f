//! Readers of files, settings among them.

use bytes::Bytes;
use model::{Batch, Encoding, Limits, Protocol, Signal, Wire};
use storage::fuzzing::{
    backup_manifest, catalog_object, checksum_table, endless, id_index, opened, rows_of, segment,
    segments_of, text_index, wal_file,
};
use storage::{IdQuery, Snapshot};

use super::{JSON_WORDS, MIB, join, size, split, texts, way};
use crate::Target;
use crate::mutate::Shape;

/// Readers keep buffers of blocks and pages.
const READ_BYTES: usize = 64 * MIB;

const CATALOG: Shape = Shape::Text(&[
    JSON_WORDS,
    &[
        "-1",
        "1e99",
        "version",
        "sequence",
        "added",
        "files",
        "checksums",
        "stats",
        "zz",
        "segments",
        "wal",
        "removed",
        "signal",
        "metrics",
        "traces",
    ],
]);

const SETTINGS: Shape = Shape::Text(&[&[
    "=", "[", "]", "\"", "'''", "\n", "limits", "storage", "ingest", ".", "ms", "GiB", "KiB", "h",
    "%", "true", "inf", "{", "}", "[[", "#", "0x", "_",
]]);

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "wal-file",
        shape: Shape::Bytes,
        heap_bytes: 4 * MIB,
        seeds: wal_files,
        run: |case| size(wal_file(case)) << 8 | size(case.len()),
    },
    Target {
        name: "catalog",
        shape: CATALOG,
        heap_bytes: 8 * MIB,
        seeds: catalog,
        run: |case| size(catalog_object(case)),
    },
    Target {
        name: "backup",
        shape: CATALOG,
        heap_bytes: 8 * MIB,
        seeds: manifests,
        run: |case| size(backup_manifest(case)),
    },
    Target {
        name: "checksums",
        shape: Shape::Text(&[&["0", "f", "zz", "\0"]]),
        heap_bytes: 4 * MIB,
        seeds: checksums,
        run: try_checksums,
    },
    Target {
        name: "segment-metrics",
        shape: Shape::Bytes,
        heap_bytes: READ_BYTES,
        seeds: || seeds(Signal::Metrics),
        run: |case| read(Signal::Metrics, 1, case),
    },
    Target {
        name: "segment-logs",
        shape: Shape::Bytes,
        heap_bytes: READ_BYTES,
        seeds: || seeds(Signal::Logs),
        run: |case| read(Signal::Logs, 2, case),
    },
    Target {
        name: "segment-traces",
        shape: Shape::Bytes,
        heap_bytes: READ_BYTES,
        seeds: || seeds(Signal::Traces),
        run: |case| read(Signal::Traces, 3, case),
    },
    Target {
        name: "id-index",
        shape: Shape::Bytes,
        heap_bytes: 16 * MIB,
        seeds: id_indexes,
        run: try_id_index,
    },
    Target {
        name: "word-index",
        shape: Shape::Bytes,
        heap_bytes: READ_BYTES,
        seeds: word_indexes,
        run: try_word_index,
    },
    Target {
        name: "settings",
        shape: SETTINGS,
        heap_bytes: 16 * MIB,
        seeds: settings,
        run: try_settings,
    },
];

/// Reads a segment whole and asks it for IDs.
fn read(signal: Signal, files: usize, case: &[u8]) -> u64 {
    let snapshot = segment(signal, split(case, files));
    size(rows_of(&snapshot)) << 16 | asked(&snapshot)
}

fn asked(snapshot: &Snapshot) -> u64 {
    let mut found = 0;
    for text in ["req-11", "structured", "0af7651916cd43dd8448eb211c80319c", "303030"] {
        let id =
            IdQuery { text: text.to_owned(), trace_id: Some([0x33; 16]), span_id: Some([7; 8]) };
        if let Ok(all) = snapshot.lookup(&id, 100, &endless()) {
            found = found << 4 | size(all.spans.len() + all.logs.len() + all.exemplars.len()) & 15;
        }
    }
    let _unread = snapshot.traces().trace(&[0x33; 16], &endless());
    found
}

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../storage/testdata/v1/");
    std::fs::read(format!("{folder}{name}")).unwrap_or_default()
}

/// The files of a segment that the decoder's own seeds make.
fn made(signal: Signal, level: u8) -> Vec<Bytes> {
    let (protocol, seeds) = match signal {
        Signal::Logs => (Protocol::OtlpLogsProtobuf, chaos::load::logs(1, 40, 1_790_000_000 << 30)),
        Signal::Traces => {
            (Protocol::OtlpTracesProtobuf, chaos::load::traces(1, 40, 1_790_000_000 << 30))
        }
        Signal::Metrics => (Protocol::RemoteWrite1, chaos::load::metrics(1, 40, 1_790_000_000_000)),
    };
    // Metrics come compressed from there.
    let encoding = if signal == Signal::Metrics { Encoding::Snappy } else { Encoding::Identity };
    let wire = Wire { protocol, encoding, bytes: seeds.into(), received_ns: 1_790_000_000 << 30 };
    let limits = Limits { future_max_ns: 0, ..Limits::default() };
    let taken = ingest::fuzzing::decoded(&ingest::Decoder::new(limits), &wire, 16 * MIB);
    let batch: Option<Batch> = taken.ok().map(|taken| taken.batch);
    let segments = batch.and_then(|batch| segments_of(batch, level).ok()).unwrap_or_default();
    segments.into_iter().next().unwrap_or_default()
}

fn seeds(signal: Signal) -> Vec<Vec<u8>> {
    let golden: Vec<Vec<u8>> = match signal {
        Signal::Metrics => vec![golden("sample.metrics")],
        Signal::Logs => vec![golden("logs.parquet"), golden("logs.index")],
        Signal::Traces => {
            vec![golden("traces.parquet"), golden("traces.traces.parquet"), golden("traces.index")]
        }
    };
    let parts: Vec<&[u8]> = golden.iter().map(Vec::as_slice).collect();
    let mut seeds = vec![join(&parts)];
    for level in [0, 2] {
        let files = made(signal, level);
        let parts: Vec<&[u8]> = files.iter().map(|file| &file[..]).collect();
        if parts.len() == golden.len() {
            assert!(rows_of(&opened(signal, vec![files.clone()])) > 0, "a seed has no rows");
            seeds.push(join(&parts));
        }
    }
    seeds
}

fn wal_files() -> Vec<Vec<u8>> {
    // A header and two frames as FORMAT.md has them; their checksums are made by the target.
    let mut file = b"TERCWAL\x01saltsalt".to_vec();
    file.extend_from_slice(&1u64.to_le_bytes());
    file.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    for (sequence, body) in [(1u64, &b"body"[..]), (2, b"TFRM in a body")] {
        file.extend_from_slice(b"TFRM\0\0\0\0");
        file.extend_from_slice(&(body.len() as u32).to_le_bytes());
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&[1, 0, 7, 0, 0, 0, 0, 0]);
        file.extend_from_slice(&sequence.to_le_bytes());
        file.extend_from_slice(&[0; 24]);
        file.extend_from_slice(b"default");
        file.extend_from_slice(body);
    }
    let zeros = [file.clone(), vec![0; 4096]].concat();
    vec![file, zeros, vec![0; 512]]
}

fn catalog() -> Vec<Vec<u8>> {
    let meta = r#"{"id":"s1","signal":"traces","tenant":"default","level":0,"rows":1,"time_min_ns":0,"time_max_ns":5,"received_max_ns":1,"files":[{"extension":"metrics","bytes":3,"checksums":"0011223344556677"}],"stats":"0001","wal_sequence_max":1}"#;
    let mark = r#"{"instance":{"sequence":9,"holes":[[3,4]]}}"#;
    vec![
        format!(r#"{{"version":1,"sequence":1,"writer":"w","nonce":1,"time_ns":1,"added":[{meta}],"removed":["x"],"wal":{mark}}}"#).into_bytes(),
        format!(r#"{{"version":1,"sequence":1,"time_ns":1,"segments":[{meta},{meta}],"removed":{{"a":1}},"wal":{{}}}}"#).into_bytes(),
        format!(r#"{{"version":1,"meta":{meta},"siblings":[],"replaces":[],"writer":"w","wal":{{"sequence":0}}}}"#).into_bytes(),
        b"catalog/00000000000000000001.json".to_vec(),
    ]
}

fn manifests() -> Vec<Vec<u8>> {
    let file = r#"{"path":"segments/t-default/logs/01-02.logs.parquet","bytes":3,"checksum":"00"}"#;
    let extra = r#"{"path":"wal/logs/1-2.log","bytes":3,"checksum":"00"}"#;
    let manifest = |files: &str| {
        format!(r#"{{"version":1,"id":"fuzz","began_ns":1,"sequence":2,"files":[{files}],"missing":["x"]}}"#)
            .into_bytes()
    };
    vec![
        manifest(""),
        manifest(&format!("{file},{extra}")),
        manifest(&file.replace("t-default", "..")),
        manifest(&extra.replace("wal/", "/wal/")),
    ]
}

fn checksums() -> Vec<Vec<u8>> {
    texts(&["0011223344556677\ncontent", "\n", "zz\n\0", "001122\nx"])
}

fn try_checksums(case: &[u8]) -> u64 {
    let end = case.iter().position(|&byte| byte == b'\n').unwrap_or(case.len());
    let (table, content) = case.split_at(end);
    size(checksum_table(&String::from_utf8_lossy(table), content)) << 8 | size(table.len())
}

fn id_indexes() -> Vec<Vec<u8>> {
    // Sections lie one after the other; the target looks for the first that opens.
    vec![golden("traces.index"), golden("logs.index")]
}

fn try_id_index(case: &[u8]) -> u64 {
    let hashes = [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15, 1 << 32, 1 << 63];
    let starts = case.windows(4).enumerate().filter(|(_, four)| *four == b"TIDX").map(|(at, _)| at);
    let mut found = 0;
    for start in starts.take(4).chain([0]) {
        found += id_index(Bytes::copy_from_slice(&case[start..]), &hashes);
    }
    size(found)
}

fn word_indexes() -> Vec<Vec<u8>> {
    let merged = made(Signal::Logs, 2).pop().unwrap_or_default();
    vec![golden("logs.index"), merged.to_vec()]
}

fn try_word_index(case: &[u8]) -> u64 {
    let mut came = 0;
    for needle in ["orders", " rows, pool ", "user_1", "a b", "%"] {
        came = came << 6 | size(text_index(Bytes::copy_from_slice(case), needle.as_bytes()));
    }
    came
}

fn settings() -> Vec<Vec<u8>> {
    texts(&[
        "http = \"127.0.0.1:4319\"\n[limits.ingest]\nmax_line_bytes = \"256 KiB\"\nmax_age = \"1h30m\"\n",
        "[storage]\nretention = '30d'\n[limits.query]\ntimeout = 5\nmax_samples = 1_000\n",
        "a.b.c = [1, 2, {x = 'y'}]\n",
    ])
}

fn try_settings(case: &[u8]) -> u64 {
    // One file for all cases of this process.
    let file = std::env::temp_dir().join(format!("tercet-fuzz-settings-{}", std::process::id()));
    if std::fs::write(&file, case).is_err() {
        return 0;
    }
    let nothing = Default::default();
    let from_file = tercet::config::read(&nothing, &nothing, Some(&file));
    let text = String::from_utf8_lossy(case);
    let flags = text.lines().filter_map(|line| line.split_once('='));
    let flags = flags.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    let from_flags = tercet::config::read(&flags.collect(), &nothing, None);
    way(&format!("{:?}{:?}", from_file.err(), from_flags.err()))
}
