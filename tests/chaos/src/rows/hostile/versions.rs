//! I1: folders of every format that was ever released, and of one that was not yet.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::tercet;
use crate::row::{Case, Outcome, Row, Running, Tier};
use crate::server::Server;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "I1",
        fault: "a data folder of every format version, with segments and with entries in the log",
        expected: "today's binary opens it, and every answer is the golden one",
        tier: Tier::Fast,
        run: old,
    },
    Row {
        id: "I1-newer",
        fault: "a data folder whose catalog, or whose log, a newer version has written",
        expected: "refused within 1 s with what is newer than what; nothing in it has changed",
        tier: Tier::Fast,
        run: newer,
    },
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../storage/testdata")
}

/// Folders `v<N>/folder`, in order.
fn versions() -> Vec<PathBuf> {
    let listed = std::fs::read_dir(golden()).expect("test data").flatten();
    let folders = listed.map(|entry| entry.path().join("folder")).filter(|path| path.is_dir());
    let mut folders: Vec<PathBuf> = folders.collect();
    folders.sort();
    folders
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

/// All files with their bytes and the time of their last change.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            let changed = entry.metadata().and_then(|meta| meta.modified()).expect("a time");
            all.push((path.clone(), std::fs::read(&path).expect("a file"), changed));
        }
    }
    all.sort();
    all
}

/// The settings under which nothing is too old.
const SETTINGS: [&str; 2] = ["--retention", "0"];

/// What is asked of a golden folder: `answers.json` beside it holds what came when it was made.
fn old(case: Case) -> Running {
    Box::pin(async move {
        let mut asked = 0;
        let versions = versions();
        assert!(!versions.is_empty(), "there is no golden folder");
        for folder in &versions {
            let name = folder.parent().and_then(Path::file_name).expect("a version");
            let data = case.folder.join(name);
            copy(folder, &data);
            let file = folder.parent().expect("a version").join("answers.json");
            let answers = std::fs::read_to_string(&file).expect("golden answers");
            let answers: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&answers).expect("JSON");
            assert!(answers.len() >= 6, "{}: few answers", file.display());
            // The second start reads what the first one flushed.
            for start in ["first", "second"] {
                let server = Server::ready(&data, &SETTINGS).await;
                for (path, wanted) in &answers {
                    let came = kept(server.json(path).await);
                    assert_eq!(&came, wanted, "{path} of {}, {start} start", folder.display());
                    asked += 1;
                }
                let (code, _) = server.terminate().await;
                assert_eq!(code, Some(0), "exit code");
            }
            let verify = tercet().arg("verify").arg("--data").arg(&data).output().await;
            let verify = verify.expect("verify runs");
            let said = String::from_utf8_lossy(&verify.stdout).into_owned();
            assert!(verify.status.success(), "{said}");
        }
        Outcome::Held(format!("{} versions, {asked} answers as they were", versions.len()))
    })
}

/// An answer without what depends on the moment: figures of the query's work.
fn kept(mut answer: serde_json::Value) -> serde_json::Value {
    if let Some(data) = answer.get_mut("data").and_then(|data| data.as_object_mut()) {
        data.remove("stats");
    }
    answer
}

fn newer(case: Case) -> Running {
    Box::pin(async move {
        let newest = versions().pop().expect("a golden folder");
        let mut said = Vec::new();
        for (what, wanted) in
            [("catalog", "is a catalog of version 2"), ("wal", "is a log of version 2")]
        {
            let data = case.folder.join(what);
            copy(&newest, &data);
            if what == "catalog" {
                newer_catalog(&data);
            } else {
                newer_log(&data);
            }
            let before = contents(&data);
            let start = Instant::now();
            let output = tercet()
                .args(["serve", "--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"])
                .args(["--otlp-grpc", "127.0.0.1:0", "--data"])
                .arg(&data)
                .args(SETTINGS)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = tokio::time::timeout(Duration::from_secs(30), output).await;
            let output = output.expect("it ends").expect("it starts");
            let took = start.elapsed();
            let told =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success(), "{what}: it ran: {told}");
            assert!(told.contains(wanted), "{what}: {told}");
            assert!(told.contains("nothing was changed"), "{what}: {told}");
            assert!(took <= Duration::from_secs(5), "{what}: {took:?} on a busy machine");
            assert!(contents(&data) == before, "{what}: files were changed");
            said.push(format!("{what} after {took:?}"));
        }
        Outcome::Held(format!("refused: {}; untouched", said.join(", ")))
    })
}

/// The newest commit becomes one of version 2, seal and all.
fn newer_catalog(data: &Path) {
    let folder = data.join("store/catalog");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a catalog")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let newest = files.pop().expect("a commit");
    let sealed = std::fs::read_to_string(&newest).expect("a commit");
    let json =
        sealed.split('\n').next().expect("JSON").replacen("\"version\":1", "\"version\":2", 1);
    let seal = xxhash_rust::xxh3::xxh3_64(json.as_bytes());
    std::fs::write(&newest, format!("{json}\n{seal:016x}\n")).expect("a commit");
}

/// Every log file becomes one of version 2, checksum and all.
fn newer_log(data: &Path) {
    let mut changed = 0;
    for (path, mut bytes, _) in contents(&data.join("wal")) {
        if bytes.starts_with(b"TERCWAL") {
            bytes[7] = 2;
            let crc = crc32fast::hash(&bytes[..28]).to_le_bytes();
            bytes[28..32].copy_from_slice(&crc);
            std::fs::write(&path, bytes).expect("a log");
            changed += 1;
        }
    }
    assert!(changed > 0, "the golden folder has a log");
}
