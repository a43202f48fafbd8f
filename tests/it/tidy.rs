//! What ARCHITECTURE.md promises about the code and can be checked by reading it.

use std::fs;
use std::path::{Path, PathBuf};

use tercet::config::{Config, SETTINGS};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of a crate's dependencies, those for tests left out.
fn dependencies(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = read(manifest).parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

/// All Rust files below a folder of the project.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn is_test(path: &Path) -> bool {
    let is_test = |part: &std::ffi::OsStr| {
        let part = part.to_string_lossy();
        part == "tests"
            || part == "benches"
            || part == "sim"
            || part == "fakes.rs"
            || part.starts_with("test")
    };
    path.strip_prefix(root()).unwrap().iter().any(is_test)
}

#[test]
fn crates_import_whom_they_may() {
    let members = ["model", "ingest", "storage", "query", "tercet"];
    for (name, may) in [
        ("model", &[][..]),
        ("ingest", &["model"]),
        ("storage", &["model"]),
        ("query", &["model", "storage"]),
    ] {
        for dependency in dependencies(&format!("{name}/Cargo.toml")) {
            let is_ours = members.contains(&dependency.as_str());
            assert!(!is_ours || may.contains(&dependency.as_str()), "{name} imports {dependency}");
        }
    }
}

#[test]
fn what_segments_are_made_of_stays_in_storage() {
    let inside = ["arrow", "parquet", "tantivy", "object_store", "pco", "roaring"];
    for manifest in ["Cargo.toml", "model/Cargo.toml", "ingest/Cargo.toml", "query/Cargo.toml"] {
        for dependency in dependencies(manifest) {
            let is_inside = inside.iter().any(|name| dependency.starts_with(name));
            assert!(!is_inside, "{manifest} imports {dependency}");
        }
    }
    for dependency in
        dependencies("model/Cargo.toml").iter().chain(&dependencies("storage/Cargo.toml"))
    {
        assert!(!["axum", "hyper", "http"].contains(&dependency.as_str()), "{dependency}");
    }
}

#[test]
fn the_three_signals_have_the_same_rooms() {
    for signal in ["metrics", "logs", "traces"] {
        for room in ["schema", "memtable", "encode", "index", "scan", "merge"] {
            let path = format!("storage/src/signal/{signal}/{room}.rs");
            assert!(root().join(&path).is_file(), "{path} is missing");
        }
    }
}

#[test]
fn only_the_components_ask_for_time_and_chance() {
    let allowed = ["src/components.rs"];
    for folder in ["model/src", "ingest/src", "storage/src", "query/src", "src"] {
        for path in sources(folder).into_iter().filter(|path| !is_test(path)) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            if allowed.contains(&name.as_str())
                || name.ends_with("/measure.rs")
                || name.ends_with("/bench.rs")
            {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for word in ["SystemTime::now", "Instant::now", "Utc::now", "Local::now", "rand::rng"] {
                assert!(!code.contains(word), "{name} asks {word} and not a component");
            }
        }
    }
}

#[test]
fn files_fit_a_head() {
    const LINES_MAX: usize = 800;
    for folder in ["model/src", "ingest/src", "storage/src", "query/src", "src", "tests"] {
        for path in sources(folder) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= LINES_MAX, "{}: {lines} lines", path.display());
        }
    }
}

#[test]
fn the_map_names_places_that_are_there() {
    let map = read("ARCHITECTURE.md");
    let mut named = 0;
    for word in map.split('`').skip(1).step_by(2) {
        let is_path = !word.contains([' ', '*', '{', '<', '(', '$'])
            && !word.starts_with(['/', '-'])
            && !word.contains("::")
            && !word.contains("://")
            && (word.ends_with(".rs") || word.ends_with(".md") || word.ends_with('/'));
        if is_path {
            named += 1;
            assert!(root().join(word).exists(), "ARCHITECTURE.md names {word}, which is not there");
        }
    }
    assert!(named > 20, "only {named} paths are named");
    for folder in fs::read_dir(root()).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().to_string_lossy().into_owned();
        let is_built = ["target", "node_modules", "tercet-data"].contains(&name.as_str());
        if folder.path().is_dir() && !name.starts_with('.') && !is_built {
            assert!(map.contains(&format!("`{name}/")), "ARCHITECTURE.md does not name {name}/");
        }
    }
}

#[test]
fn the_settings_are_documented_as_they_are() {
    let page = read("docs/settings.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted: Vec<String> = SETTINGS
        .iter()
        .map(|setting| {
            let (flag, variable) = (setting.flag(), setting.variable());
            let default = (setting.get)(&Config::default()).replace('|', "\\|");
            let doc = setting.doc.replace('|', "\\|");
            format!("| `{}` | `--{flag}` | `{variable}` | {default} | {doc} |", setting.name)
        })
        .collect();
    for row in &wanted {
        assert!(rows.contains(&row.as_str()), "docs/settings.md lacks the row\n{row}");
    }
    assert_eq!(rows.len(), wanted.len(), "docs/settings.md has rows of settings that are none");
}

#[test]
fn every_refusal_is_explained() {
    let page = read("docs/errors.md");
    let explained: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(id, _)| id))
        .collect();
    let reasons = model::Reason::ALL.into_iter().map(model::Reason::as_str);
    let ids = model::ErrorId::ALL.into_iter().map(model::ErrorId::as_str);
    let wanted: Vec<&str> = reasons.chain(ids).collect();
    assert_eq!(explained, wanted, "docs/errors.md and the code, in order");
    for path in ["ingest/src", "storage/src", "query/src", "src"].into_iter().flat_map(sources) {
        if is_test(&path) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for said in text.split("tercet-err-").skip(1) {
            let id: String =
                said.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let is_known = id.is_empty() || wanted.contains(&id.as_str());
            assert!(is_known, "{}: {id} is no model::ErrorId", path.display());
        }
    }
}
