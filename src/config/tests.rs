use std::collections::BTreeMap;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tercet.toml");
    std::fs::write(&path, "[storage]\nretention = \"1d\"\ngc_grace = \"1h\"\ndata = \"/f\"\n")
        .unwrap();
    let config = read(
        &map(&[("storage.retention", "3d")]),
        &map(&[("TERCET_RETENTION", "2d"), ("TERCET_STORAGE_GC_GRACE", "2h"), ("HOME", "/x")]),
        Some(&path),
    )
    .unwrap();
    assert_eq!(config.storage.retention_ns, 3 * 86_400_000_000_000);
    assert_eq!(config.storage.gc_grace_ns, 2 * 3_600_000_000_000);
    assert_eq!(config.storage.data_dir, PathBuf::from("/f"));
}

#[test]
fn every_wrong_setting_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tercet.toml");
    std::fs::write(&path, "[storage]\nretension = \"1d\"\nthreads = -1\n").unwrap();
    let problems = read(
        &map(&[("server.http", "nonsense")]),
        &map(&[("TERCET_RETENTION", "soon"), ("TERCET_NO_SUCH", "1")]),
        Some(&path),
    )
    .unwrap_err();
    for part in [
        "storage.retension: no such setting",
        "storage.threads: \"-1\" is not a whole number",
        "--http: \"nonsense\" is not ADDRESS:PORT",
        "TERCET_RETENTION: \"soon\" is not a duration",
        "TERCET_NO_SUCH: no such setting",
    ] {
        assert!(problems.contains(part), "{part} is not in:\n{problems}");
    }
}

#[test]
fn a_kubernetes_service_called_tercet_is_no_setting() {
    let environment = map(&[
        ("TERCET_SERVICE_HOST", "10.0.0.1"),
        ("TERCET_SERVICE_PORT_OTLP", "4317"),
        ("TERCET_PORT", "tcp://10.0.0.1:4319"),
        ("TERCET_PORT_4317_TCP_ADDR", "10.0.0.1"),
    ]);
    assert!(read(&BTreeMap::new(), &environment, None).is_ok());
}

#[test]
fn a_public_address_needs_a_word() {
    let public = map(&[("server.http", "0.0.0.0:4319")]);
    let refused = read(&public, &BTreeMap::new(), None).unwrap_err();
    assert!(refused.contains("--insecure"), "{refused}");
    let mut allowed = public;
    allowed.insert("server.insecure".to_owned(), "true".to_owned());
    assert!(read(&allowed, &BTreeMap::new(), None).is_ok());
}

#[test]
fn a_default_reads_back_as_itself() {
    let default = Config::default();
    for setting in SETTINGS {
        let mut config = Config::default();
        let text = (setting.get)(&default);
        (setting.set)(&mut config, &text)
            .unwrap_or_else(|problem| panic!("{}: {text:?}: {problem}", setting.name));
        assert_eq!((setting.get)(&config), text, "{}", setting.name);
    }
}
