//! D3 to D5 and H1 to H7: connections, TLS, who comes in, and what they can make us do.

mod access;
mod egress;
mod logins;
mod secrets;
mod sockets;
mod tls;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ring::digest::{SHA256, digest};

use crate::row::{Row, Tier};
use crate::server::Server;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "D3",
        fault: "idle connections, slow headers, slow bodies, slow readers, too many connections",
        expected: "slow ones get 408 or are closed in time, healthy requests are answered, above \
                   the limit connections are refused",
        tier: Tier::Fast,
        run: sockets::slow,
    },
    Row {
        id: "D4",
        fault: "HTTP/2 rapid reset, CONTINUATION and empty DATA floods, 1 MB of headers, two \
                lengths, TLS on a plain port",
        expected: "GOAWAY or close, 431, 400 and close, close; no core kept busy, nobody else \
                   notices",
        tier: Tier::Fast,
        run: sockets::floods,
    },
    Row {
        id: "D5",
        fault: "TLS: handshake stalled, TLS 1.1, wrong or no client certificate, renewal under load",
        expected: "refused within 10 s, accepting goes on, the new certificate within 60 s and no \
                   request failed",
        tier: Tier::Fast,
        run: tls::handshakes,
    },
    Row {
        id: "H1",
        fault: "hostile tenants and parameters on every route",
        expected: "400 for tenants, never 5xx, no file outside the data folder",
        tier: Tier::Fast,
        run: access::hostile_names,
    },
    Row {
        id: "H2",
        fault: "no credentials, lesser roles, other tenants on every route",
        expected: "401, 403, 403, and never another tenant's data",
        tier: Tier::Fast,
        run: access::every_route,
    },
    Row {
        id: "H3",
        fault: "wrong, huge and expired credentials, guessing, JWT tricks, keys gone and rotated",
        expected: "401, then 429; no name told apart by time; rotation followed, outage outlived",
        tier: Tier::Fast,
        run: logins::tricks,
    },
    Row {
        id: "H4",
        fault: "secrets planted in settings, environment, headers and files",
        expected: "none in the log at level trace, settings, status, stats or errors",
        tier: Tier::Fast,
        run: secrets::planted,
    },
    Row {
        id: "H5",
        fault: "keys of an issuer at loopback, link-local, mapped and decimal addresses, file:",
        expected: "no connection is made, the answer tells nothing",
        tier: Tier::Fast,
        run: egress::inward,
    },
    Row {
        id: "H7",
        fault: "posts and reads from other sites, GET that changes, framing, Host, public without \
                authentication",
        expected: "403 or 405, no Access-Control-Allow-Origin, DENY, no start",
        tier: Tier::Fast,
        run: access::browsers,
    },
];

/// Somebody with a token.
struct Someone {
    token: String,
    table: String,
}

impl Someone {
    fn new(name: &str, role: &str, tenants: &[&str]) -> Someone {
        Someone::until(name, role, tenants, "never")
    }

    fn until(name: &str, role: &str, tenants: &[&str], expires: &str) -> Someone {
        let token = format!("tct_{name}-0123456789abcdef0123456789abcdef");
        let hash = sha256(&token);
        let table = format!(
            "[[auth.tokens]]\nname = {name:?}\nhash = \"sha256:{hash}\"\nrole = {role:?}\n\
             tenants = {tenants:?}\nexpires = {expires:?}\n\n"
        );
        Someone { token, table }
    }
}

/// In hex.
fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A settings file.
fn settings(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("tercet.toml");
    std::fs::write(&path, text).expect("the settings can be written");
    path
}

/// A server with settings of its own; its data lies beside them.
async fn serve(folder: &Path, text: &str, flags: &[&str]) -> Server {
    let path = settings(folder, text);
    let path = path.to_str().expect("a path of text");
    let flags = [&["--config", path], flags].concat();
    Server::start(&folder.join("data"), &flags).await
}

/// Runs the binary to its end with something on its standard input; exit code and all output.
fn tercet(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = std::process::Command::new(crate::server::binary())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut pipe = child.stdin.take().expect("piped");
    pipe.write_all(input.as_bytes()).expect("it reads");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// The table of a user, made by the binary itself.
fn user(name: &str, password: &str, role: &str, tenants: &str) -> String {
    let arguments = ["user", "hash", "--name", name, "--role", role, "--tenants", tenants];
    let (code, output) = tercet(&arguments, &format!("{password}\n"));
    assert_eq!(code, Some(0), "{output}");
    format!("{output}\n")
}
