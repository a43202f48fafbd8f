//! TLS of the listeners: certificates from files, taken up again when the files change or a SIGHUP
//! comes. Connections that are open keep what they began with; no request fails for a renewal.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{RootCertStore, crypto};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Names of one client's certificate.
const NAMES_MAX: usize = 64;

/// Certificates that can be replaced while they serve.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    /// What the files held when they were read last.
    read: Mutex<Contents>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// The bytes of certificate, key and authorities.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(model::Secret::REDACTED)
    }
}

impl Tls {
    /// Reads the files that the settings name; nothing where they name none.
    ///
    /// Errors: which file is missing or wrong, and how.
    pub(crate) fn open(files: &TlsFiles) -> Result<Option<Arc<Tls>>, String> {
        let Some(contents) = read(files)? else { return Ok(None) };
        let current = ArcSwap::from_pointee(build(files, &contents)?);
        Ok(Some(Arc::new(Tls {
            files: files.clone(),
            current,
            read: Mutex::new(contents),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })))
    }

    /// Shakes hands; the stream, and the names in the client's certificate.
    ///
    /// Errors: those of the handshake.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Vec<String>)> {
        let stream = TlsAcceptor::from(self.current.load_full()).accept(stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let names = certificate.map(names_of).unwrap_or_default();
        Ok((stream, names))
    }

    /// Takes up the files if they have changed. What does not fit together, as while a renewal has
    /// written one file of two, is left for the next look.
    ///
    /// Errors: what is wrong with the files; the old certificate serves on.
    fn reload(&self) -> Result<bool, String> {
        let Some(contents) = read(&self.files)? else { return Ok(false) };
        if *self.read.lock() == contents {
            return Ok(false);
        }
        self.current.store(Arc::new(build(&self.files, &contents)?));
        *self.read.lock() = contents;
        Ok(true)
    }

    /// Looks at the files until `stop` turns true.
    pub(crate) fn watch(self: &Arc<Self>, mut stop: watch::Receiver<bool>) -> JoinHandle<()> {
        let tls = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
            let mut complained = String::new();
            loop {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    _ = hangup.recv() => complained.clear(),
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let reading = Arc::clone(&tls);
                let outcome = tokio::task::spawn_blocking(move || reading.reload()).await;
                match outcome.unwrap_or_else(|error| Err(error.to_string())) {
                    Ok(false) => complained.clear(),
                    Ok(true) => {
                        complained.clear();
                        tls.reloads.fetch_add(1, Ordering::Relaxed);
                        tracing::info!(target: "audit", action = "tls certificate", "taken up");
                    }
                    Err(why) if why == complained => {}
                    Err(why) => {
                        tls.failures.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(%why, "the TLS files cannot be used; the old ones serve on");
                        complained = why;
                    }
                }
            }
        })
    }

    /// Certificates taken up, and tries that failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.reloads.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}

fn read(files: &TlsFiles) -> Result<Option<Contents>, String> {
    let (Some(cert), Some(key)) = (&files.cert, &files.key) else { return Ok(None) };
    let client_ca = match &files.client_ca {
        Some(path) => Some(read_file("tls.client_ca", path)?),
        None => None,
    };
    let cert = read_file("tls.cert", cert)?;
    Ok(Some(Contents { cert, key: read_file("tls.key", key)?, client_ca }))
}

fn read_file(setting: &str, path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |why: String| format!("{setting}: cannot read {}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|error| wrong(error.to_string()))
}

fn certificates(setting: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(format!("{setting}: holds no certificate (PEM)")),
        Err(error) => Err(format!("{setting}: {error}")),
    }
}

fn build(files: &TlsFiles, contents: &Contents) -> Result<ServerConfig, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let chain = certificates("tls.cert", &contents.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|error| format!("tls.key: holds no private key (PEM): {error}"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &contents.client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("tls.client_ca", pem)? {
                roots.add(authority).map_err(|error| format!("tls.client_ca: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if files.client_required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| format!("tls.client_ca: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("tls.cert, tls.key: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// DNS names and URIs of a certificate.
fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let dns = certificate.valid_dns_names();
    dns.chain(certificate.valid_uri_names()).take(NAMES_MAX).map(str::to_owned).collect()
}
