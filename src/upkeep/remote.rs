//! A running server, as the command line asks it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::StatusCode;
use storage::{BackupSource, ErrorKind, StorageError};

use crate::canary::Access;

/// Until the first byte of an answer: a backup begins with a flush of everything in memory.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(600);
/// Of a piece of a file, or of a short answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Tries of one piece.
const TRIES_MAX: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// An answer that is longer is none of ours. Units: bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Kept of a refusal in a message. Units: characters.
const SHOWN: usize = 500;

/// See the module's docs.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    base: String,
    client: reqwest::Client,
    access: Access,
}

impl Remote {
    /// Errors: the client cannot be made.
    pub(crate) fn new(base: &str, access: Access) -> Result<Remote, String> {
        let client = reqwest::Client::builder().build().map_err(|error| error.to_string())?;
        Ok(Remote { base: base.trim_end_matches('/').to_owned(), client, access })
    }

    async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        query: &[(&str, String)],
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let url = format!("{}{path}", self.base);
        let request = self.client.request(method, &url).query(query).timeout(timeout);
        let context = |error: reqwest::Error| {
            use std::error::Error as _;
            let error = error.without_url();
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{}: {error}{cause}", self.base)
        };
        let answer = self.access.apply(request).send().await.map_err(context)?;
        let status = answer.status();
        let mut body = BytesMut::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece.map_err(context)?);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(format!("{}: its answer to {path} is too long", self.base));
            }
        }
        Ok((status, body.freeze()))
    }

    /// The JSON of an answer.
    ///
    /// Errors: there is none, or a refusal, in words.
    pub(crate) async fn json(
        &self,
        method: reqwest::Method,
        path: &str,
    ) -> Result<serde_json::Value, String> {
        let (status, body) = self.ask(method, path, &[], BEGIN_TIMEOUT).await?;
        if !status.is_success() {
            return Err(self.refusal(path, status, &body));
        }
        let parsed = serde_json::from_slice(&body);
        parsed.map_err(|error| format!("{}{path}: {error}", self.base))
    }

    fn refusal(&self, path: &str, status: StatusCode, body: &[u8]) -> String {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN).collect();
        format!("{}{path} answers {status}: {text}", self.base)
    }
}

/// A backup of a running server that is under way.
#[derive(Debug)]
pub(crate) struct RemoteBackup {
    remote: Remote,
    path: String,
    unread: Vec<String>,
}

impl RemoteBackup {
    /// Errors: the server cannot be reached or refuses, in words.
    pub(crate) async fn begin(remote: Remote) -> Result<RemoteBackup, String> {
        let begun = remote.json(reqwest::Method::POST, "/-/backup").await?;
        let id = begun["id"].as_str().filter(|id| id.bytes().all(|c| c.is_ascii_alphanumeric()));
        let id = id.ok_or_else(|| format!("{} gives no name to the backup", remote.base))?;
        let unread = begun["unread"].as_array().into_iter().flatten();
        let unread = unread.filter_map(|part| part.as_str().map(str::to_owned)).collect();
        Ok(RemoteBackup { path: format!("/-/backup/{id}"), remote, unread })
    }

    /// Tells the server that nothing more is read.
    pub(crate) async fn end(&self) {
        let ended = self.remote.ask(reqwest::Method::DELETE, &self.path, &[], TIMEOUT).await;
        if let Err(problem) = ended {
            tracing::warn!(problem, "the server lets go of the backup by itself in some minutes");
        }
    }

    async fn fetch(&self, path: &str, offset: u64) -> Result<Option<Bytes>, StorageError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let query = [("path", path.to_owned()), ("offset", offset.to_string())];
            let answer = self.remote.ask(reqwest::Method::GET, &self.path, &query, TIMEOUT).await;
            let problem = match answer {
                Ok((StatusCode::OK, piece)) => return Ok(Some(piece)),
                Ok((StatusCode::GONE, _)) => return Ok(None),
                Ok((status, body)) if status.is_client_error() => {
                    let why = self.remote.refusal(&self.path, status, &body);
                    return Err(StorageError::new(ErrorKind::Invalid, why));
                }
                Ok((status, body)) => self.remote.refusal(&self.path, status, &body),
                Err(problem) => problem,
            };
            if tries == TRIES_MAX {
                return Err(StorageError::io(path, problem));
            }
            tokio::time::sleep(PAUSE * (1 << tries)).await;
        }
    }
}

impl BackupSource for RemoteBackup {
    fn extras(&self) -> &[String] {
        &[]
    }

    fn unread(&self) -> &[String] {
        &self.unread
    }

    fn piece<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StorageError>> {
        Box::pin(self.fetch(path, offset))
    }
}
