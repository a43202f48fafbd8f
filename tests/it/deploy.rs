//! What `deploy/` promises: nobody's rights, pinned bases, no secrets, units that systemd takes.

use std::fs;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Instructions of a Dockerfile with their arguments; continued lines are one.
fn instructions(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = lines.filter_map(|line| line.split_once(char::is_whitespace));
    split.map(|(name, rest)| (name.to_uppercase(), rest.trim().to_owned())).collect()
}

/// What is wrong with a Dockerfile.
fn faults(text: &str) -> Vec<String> {
    let all = instructions(text);
    let last = all.iter().rposition(|(name, _)| name == "FROM").unwrap_or(0);
    let mut faults = Vec::new();
    let mut stages = Vec::new();
    for (name, rest) in &all {
        let words: Vec<&str> = rest.split_whitespace().collect();
        match name.as_str() {
            "FROM" => {
                let image = words.first().copied().unwrap_or_default();
                let tag = image.rsplit('/').next().and_then(|part| part.split_once([':', '@']));
                let pinned = tag.is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest");
                if !pinned && !stages.contains(&image) {
                    faults.push(format!("{image} names no version"));
                }
                stages.extend(words.get(2));
            }
            "ADD" => faults.push("ADD fetches and unpacks: COPY does not".to_owned()),
            "ENV" | "ARG" => {
                let secret = ["password", "secret", "token", "apikey", "api_key", "credential"];
                let lower = rest.to_lowercase();
                if secret.iter().any(|word| lower.contains(word)) {
                    faults.push(format!("{name} {rest}: it would stay in the image"));
                }
            }
            "RUN" if rest.contains("curl ") || rest.contains("wget ") || rest.contains("sudo ") => {
                faults.push(format!("RUN {rest}: unpinned, or more rights than needed"));
            }
            _ => {}
        }
    }
    let user = all[last..].iter().rev().find(|(name, _)| name == "USER").map(|(_, user)| user);
    let user = user.and_then(|user| user.split(':').next()?.parse::<u32>().ok());
    if user.is_none_or(|user| user == 0) {
        faults
            .push("the last stage runs as root, or as a name that Kubernetes cannot check".into());
    }
    let entry = all[last..].iter().filter(|(name, _)| name == "ENTRYPOINT" || name == "CMD");
    for (name, rest) in entry {
        if !rest.starts_with('[') {
            faults.push(format!("{name} {rest}: a shell stands between it and its signals"));
        }
    }
    faults
}

#[test]
fn the_image_runs_as_nobody_from_pinned_bases() {
    assert_eq!(faults(&read("deploy/docker/Dockerfile")), [""; 0]);
    let bad =
        "FROM alpine\nARG API_TOKEN\nADD http://x /x\nRUN curl x | sh\nUSER root\nCMD tercet\n";
    assert_eq!(faults(bad).len(), 6, "{:?}", faults(bad));
}

#[test]
fn the_composed_server_may_nothing() {
    let text = read("deploy/compose/compose.yaml");
    let start = text.find("  tercet:\n").unwrap();
    let end = text.find("\n  grafana:").unwrap();
    let service = &text[start..end];
    for wanted in ["read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "127.0.0.1:4319"]
    {
        assert!(service.contains(wanted), "the service lacks {wanted}");
    }
    for line in text.lines().filter(|line| line.trim().starts_with("image:")) {
        assert!(line.matches(':').count() >= 2 && !line.contains(":latest"), "{line}");
    }
    for line in text.lines().filter(|line| line.trim().starts_with("ports:")) {
        for port in line.split('"').skip(1).step_by(2) {
            assert!(port.starts_with("127.0.0.1:"), "{port} is open to other machines");
        }
    }
}

#[test]
fn systemd_takes_the_unit_and_finds_it_confined() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("tercet.service");
    // The program is not installed where tests run.
    let text = read("deploy/systemd/tercet.service").replace("=/usr/bin/tercet", "=/bin/true");
    fs::write(&unit, text).unwrap();
    let analyze = |args: &[&str]| {
        Command::new("systemd-analyze").args(args).arg(&unit).env("SYSTEMD_PAGER", "").output()
    };
    let Ok(verified) = analyze(&["verify", "--man=no"]) else {
        println!("SKIPPED systemd-analyze: not installed");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.trim().is_empty(), "{said}");
    // An exposure of 2.0 of 10 at most; `--offline` came with systemd 250.
    let judged = analyze(&["security", "--offline=true", "--threshold=20"]).unwrap();
    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
    if said.contains("unrecognized option") {
        println!("SKIPPED systemd-analyze security: this systemd is too old");
        return;
    }
    let table = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.status.success(), "{table}{said}");
}
