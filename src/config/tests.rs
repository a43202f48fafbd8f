use std::collections::BTreeMap;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tercet.toml");
    std::fs::write(
        &path,
        "[limits]\nretention = \"1d\"\n[storage]\ngc_grace = \"1h\"\ndata = \"/f\"\n",
    )
    .unwrap();
    let config = read(
        &map(&[("limits.retention", "3d")]),
        &map(&[("TERCET_RETENTION", "2d"), ("TERCET_STORAGE_GC_GRACE", "2h"), ("HOME", "/x")]),
        Some(&path),
    )
    .unwrap();
    assert_eq!(config.limits.retention_ns, 3 * 86_400_000_000_000);
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

fn read_text(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tercet.toml");
    std::fs::write(&path, text).unwrap();
    read(&map(&[]), &map(&[]), Some(&path))
}

const USER: &str = "[[auth.users]]\nname = \"ann\"\nrole = \"read\"\ntenants = [\"a\"]\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$vUoSdLrnVpwfp/ytvegQ6g$xSExpNyjZaiJfvKjh2aS0hxokR21JjltADWKGBwW8Mo\"\n";

#[test]
fn users_and_tokens_are_read_from_lists() {
    let hash = "0".repeat(64);
    let token = format!(
        "[[auth.tokens]]\nname = \"t\"\nhash = \"sha256:{hash}\"\nrole = [\"read\", \"write\"]\n\
         tenants = [\"a\", \"b\"]\nexpires = 2027-01-31\n"
    );
    let config = read_text(&format!("{USER}{token}[server]\nhttp = \"0.0.0.0:1\"\n")).unwrap();
    assert!(config.auth.is_on());
    assert_eq!(config.auth.users[0].name, "ann");
    assert_eq!(config.auth.tokens[0].expires_ns, Some(1_801_439_999_000_000_000));
    assert!(!format!("{config:?}").contains("argon2id"));
}

#[test]
fn what_is_wrong_in_a_list_is_named_without_its_secrets() {
    let check = |text: &str, want: &str| {
        let problems = read_text(text).unwrap_err();
        assert!(problems.contains(want), "{problems}");
        assert!(!problems.contains("vUoSdLrnVpwfp"), "{problems}");
    };
    check(&USER.replace("argon2id", "argon2i"), "auth.users[0].password_hash: is no argon2id hash");
    check(&USER.replace("m=19456", "m=9999999"), "more than 256 MiB");
    check(&USER.replace("\"read\"", "\"root\""), "auth.users[0].role: \"root\" is no role");
    check(&USER.replace("\"read\"", "\"admin\""), "admin is for the whole server");
    check(&USER.replace("tenants", "tenant"), "auth.users[0].tenants: is missing");
    check(&format!("{USER}colour = 1\n"), "auth.users[0].colour: no such setting");
    check(&format!("{USER}{USER}"), "\"ann\" is there twice");
    check(&format!("{USER}[x\n"), "is not TOML: line");
    check(
        "[[auth.tokens]]\nname = \"t\"\nhash = \"sha256:1\"\n",
        "auth.tokens[0].hash: is not sha256:",
    );
    check("[auth]\nusers = 1\n", "auth.users: is a list");
    check(
        "[auth.oidc]\nissuer = \"http://id.example\"\naudience = \"x\"\n",
        "is no https:// address",
    );
    check("[auth.oidc]\nissuer = \"https://id.example\"\n", "auth.oidc.audience: is missing");
    check("[auth.oidc]\nalgorithms = \"HS256\"\n", "\"HS256\" is none of");
    check("[tls]\ncert = \"x\"\n", "one does not work without the other");
}
