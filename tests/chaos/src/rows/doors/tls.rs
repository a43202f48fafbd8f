//! D5: handshakes that fail, and certificates that change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Someone, serve};
use crate::row::{Case, Outcome, Running};
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

/// An authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("it signs");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn connector(authority: &Authority, client: Option<&Pair>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
    roots.add(root).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![cert], key).expect("a pair")
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// One GET on a connection of its own: the status, and the certificate that the server showed.
async fn get(server: &Server, tls: &TlsConnector, path: &str) -> Result<(u16, Vec<u8>), String> {
    let say = |error: std::io::Error| error.to_string();
    let host = server.http.trim_start_matches("https://");
    let stream = TcpStream::connect(host).await.map_err(say)?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = tls.connect(name, stream).await.map_err(say)?;
    let shown = stream.get_ref().1.peer_certificates().map(|list| list[0].to_vec());
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(say)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(say)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("no status: {answer:?}"))?, shown.unwrap_or_default()))
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

pub(super) fn handshakes(case: Case) -> Running {
    Box::pin(async move {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let first = authority.issue(&["localhost"]);
        let cert = write(&case.folder, "cert.pem", &first.cert);
        let key = write(&case.folder, "key.pem", &first.key);
        let ca = write(&case.folder, "ca.pem", &authority.pem());
        let admin = Someone::new("admin", "admin", &["*"]);
        let settings = format!(
            "[tls]\ncert = {cert:?}\nkey = {key:?}\nclient_ca = {ca:?}\n\n{}\
             [[auth.certificates]]\nsan = \"reader.example\"\nrole = \"read\"\ntenants = [\"a\"]\n",
            admin.table
        );
        let flags = ["--server-tls-handshake-timeout", "2s"];
        let server = serve(&case.folder, &settings, &flags).await;
        let ask = async |client: Option<&Pair>| {
            get(&server, &connector(&authority, client), "/api/v1/labels").await
        };
        let reader = authority.issue(&["reader.example"]);
        let wrong = authority.issue(&["other.example"]);
        let foreign = stranger.issue(&["reader.example"]);
        assert_eq!(ask(Some(&reader)).await.map(|(status, _)| status), Ok(200), "a good one");
        assert_eq!(ask(Some(&wrong)).await.map(|(status, _)| status), Ok(401), "a wrong name");
        assert_eq!(ask(None).await.map(|(status, _)| status), Ok(401), "no certificate");
        assert!(ask(Some(&foreign)).await.is_err(), "a foreign authority");
        let distrusting = get(&server, &connector(&stranger, None), "/-/healthy").await;
        assert!(distrusting.is_err(), "a client sees who vouches for the server");

        // Stalled, plain, and TLS 1.1.
        let host = server.http.trim_start_matches("https://").to_owned();
        let say = async |bytes: &[u8]| {
            let mut stream = TcpStream::connect(&host).await.expect("it listens");
            let start = Instant::now();
            stream.write_all(bytes).await.expect("taken");
            let mut all = Vec::new();
            let _reset = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it closes");
            (start.elapsed(), all)
        };
        let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
        let (stalled, _) = say(b"").await;
        let (half, _) = say(&hello[..20]).await;
        let (_, old) = say(&hello).await;
        assert!(old.first().is_none_or(|&kind| kind == 21), "TLS 1.1 got {old:?}");
        let (_, plain) = say(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
        assert!(!plain.starts_with(b"HTTP"), "plain HTTP is answered");
        let longest = stalled.max(half);
        assert!(longest < Duration::from_secs(10), "a stalled handshake hung for {longest:?}");

        // Renewed under load.
        let (failed, made) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let done = Arc::new(AtomicBool::new(false));
        let tls = connector(&authority, Some(&reader));
        let load = async {
            while !done.load(Ordering::Relaxed) {
                let answer = get(&server, &tls, "/api/v1/labels").await;
                made.fetch_add(1, Ordering::Relaxed);
                if answer.map(|(status, _)| status) != Ok(200) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let renewal = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            // One file, then the other: between them nothing fits.
            let second = authority.issue(&["localhost"]);
            std::fs::write(&cert, &second.cert).expect("a file");
            server.signal("HUP").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            std::fs::write(&key, &second.key).expect("a file");
            let start = Instant::now();
            let new = CertificateDer::from_pem_slice(second.cert.as_bytes()).expect("PEM").to_vec();
            while get(&server, &connector(&authority, None), "/-/healthy").await.expect("it").1
                != new
            {
                assert!(start.elapsed() < PATIENCE, "the new certificate is not taken up");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            done.store(true, Ordering::Relaxed);
            start.elapsed()
        };
        let ((), renewed) = tokio::join!(load, renewal);
        let (failed, made) = (failed.load(Ordering::Relaxed), made.load(Ordering::Relaxed));
        assert_eq!(failed, 0, "of {made} requests while the certificate was renewed");
        Outcome::Held(format!(
            "stalled handshakes ended after {longest:.1?}, five wrong ones refused, renewed in \
             {renewed:.1?} with 0 of {made} requests failed"
        ))
    })
}
