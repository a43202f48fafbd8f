//! Settings that change while the server runs: limits, tenants' own limits, the translation of OTLP,
//! who may come in.
//!
//! The same flags, variables and file are read again. What is wrong changes nothing and is said;
//! what only a start can change is named and waits for it. A change of what judges records is an
//! epoch of its own (`src/epochs.rs`): it is on disk before its time comes, and both the decoder of
//! a request and replay choose by the time of arrival alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use ingest::Ingest;
use model::LimitTable;
use storage::Components;

use crate::config::{self, Config, SETTINGS};
use crate::doors::Doors;
use crate::epochs::Epochs;
use crate::wiring::decoder_of;

/// A new epoch begins so long after it was decided, so that it is on disk before. Units: ns.
const NOTICE_NS: i64 = model::NS_PER_S;
/// A disk that takes longer to note an epoch is asked so often.
const NOTES_MAX: usize = 10;
/// How often the settings' file is looked at.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// What a reload did. Names of settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Count from now on.
    pub changed: Vec<String>,
    /// Have changed too, and count after the next start.
    pub at_start: Vec<String>,
}

/// See the module's docs.
#[derive(Debug)]
pub(crate) struct Reloader {
    /// What was read last, of what can change; the rest as it was at the start.
    current: ArcSwap<Config>,
    epochs: Arc<Epochs>,
    limits: Arc<LimitTable>,
    ingest: Arc<Ingest>,
    doors: Arc<Doors>,
    components: Components,
    one_at_a_time: tokio::sync::Mutex<()>,
    is_successful: AtomicBool,
    succeeded_ns: AtomicI64,
}

/// Whether a setting changes while the server runs.
pub(crate) fn is_hot(name: &str) -> bool {
    ["limits.", "otlp.", "auth."].iter().any(|room| name.starts_with(room))
}

/// What differs between two configurations.
fn compare(old: &Config, new: &Config) -> Reloaded {
    let mut reloaded = Reloaded::default();
    for setting in SETTINGS {
        if (setting.get)(old) != (setting.get)(new) {
            let list =
                if is_hot(setting.name) { &mut reloaded.changed } else { &mut reloaded.at_start };
            list.push(setting.name.to_owned());
        }
    }
    let (lists, others) = (&old.auth, &new.auth);
    for (name, is_same) in [
        ("auth.users", lists.users == others.users),
        ("auth.tokens", lists.tokens == others.tokens),
        ("auth.certificates", lists.certificates == others.certificates),
    ] {
        if !is_same {
            reloaded.changed.push(name.to_owned());
        }
    }
    let ids = old.tenants.keys().chain(new.tenants.keys());
    for id in ids.collect::<std::collections::BTreeSet<_>>() {
        let given = |config: &Config| config.tenants.get(id).map(|tenant| tenant.given.clone());
        let (before, after) = (given(old).unwrap_or_default(), given(new).unwrap_or_default());
        let names = before.keys().chain(after.keys());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            if before.get(name) != after.get(name) {
                reloaded.changed.push(format!("tenants.{id}.{name}"));
            }
        }
    }
    reloaded
}

impl Reloader {
    /// `config` as it was read, before anything was settled.
    pub(crate) fn new(
        config: Config,
        epochs: Arc<Epochs>,
        limits: Arc<LimitTable>,
        ingest: Arc<Ingest>,
        doors: Arc<Doors>,
        components: Components,
    ) -> Arc<Reloader> {
        Arc::new(Reloader {
            succeeded_ns: AtomicI64::new(components.clock.now_ns()),
            current: ArcSwap::from_pointee(config),
            epochs,
            limits,
            ingest,
            doors,
            components,
            one_at_a_time: tokio::sync::Mutex::default(),
            is_successful: AtomicBool::new(true),
        })
    }

    /// The settings that count: those that can change as they are now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// Whether the last reload succeeded, and when one last did. Units: ns.
    pub(crate) fn last(&self) -> (bool, i64) {
        (self.is_successful.load(Ordering::Relaxed), self.succeeded_ns.load(Ordering::Relaxed))
    }

    /// Reads everything again and lets count what can.
    ///
    /// Errors: every wrong setting, one a line; all stays as it was then.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<Reloaded, String> {
        let _alone = self.one_at_a_time.lock().await;
        let outcome = self.reload_alone().await;
        self.is_successful.store(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            Ok(Reloaded { changed, at_start }) => {
                self.succeeded_ns.store(self.components.clock.now_ns(), Ordering::Relaxed);
                if !changed.is_empty() {
                    tracing::info!(?changed, "settings are reloaded");
                }
                if !at_start.is_empty() {
                    tracing::warn!(settings = ?at_start, "changed, and count after the next start");
                }
            }
            Err(problems) => {
                for problem in problems.lines() {
                    tracing::error!(problem, "settings are not reloaded, the old ones stay");
                }
            }
        }
        outcome
    }

    async fn reload_alone(self: &Arc<Self>) -> Result<Reloaded, String> {
        let old = self.config();
        let sources = &old.sources;
        let (flags, environment) = (sources.flags.clone(), sources.environment.clone());
        let file = sources.file.clone();
        let read = move || config::read(&flags, &environment, file.as_deref());
        let new = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())??;
        let reloaded = compare(&old, &new);
        if reloaded.changed.is_empty() {
            return Ok(reloaded);
        }
        let new = Config {
            limits: new.limits,
            tenants: new.tenants,
            translation: new.translation,
            sources: new.sources,
            auth: new.auth,
            ..Config::clone(&old)
        };
        // What counts from now on must fit what waits for a start.
        let mut problems = Vec::new();
        config::check(&new, &mut problems);
        if old.auth.is_on() && !new.auth.is_on() {
            // A file that is being written may be empty for a moment.
            problems
                .push("auth: nobody is named any more; only a start lets everybody in".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        let changes_doors = reloaded.changed.iter().any(|name| name.starts_with("auth."));
        let known = changes_doors.then(|| self.doors.know(&new.auth)).transpose()?;
        let new = Arc::new(new);
        if self.epochs.differs(&new) {
            let from_ns = self.note(&new).await?;
            self.ingest.decode_by(Arc::new(decoder_of(&new)), from_ns);
            // The next epoch is decided when this one has begun.
            while self.components.clock.now_ns() < from_ns {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if let Some(known) = known {
            self.doors.replace(known);
        }
        self.limits.replace(new.tenant_limits());
        self.current.store(new);
        Ok(reloaded)
    }

    /// Notes an epoch that begins soon; returns when. Units: ns.
    async fn note(self: &Arc<Self>, config: &Arc<Config>) -> Result<i64, String> {
        for _ in 0..NOTES_MAX {
            let from_ns = self.components.clock.now_ns().saturating_add(NOTICE_NS);
            let (reloader, config) = (Arc::clone(self), Arc::clone(config));
            let write = move || {
                let files = reloader.components.files.as_ref();
                reloader.epochs.change(files, &config, from_ns)
            };
            let noted = tokio::task::spawn_blocking(write).await;
            noted.map_err(|error| error.to_string())?.map_err(|error| {
                format!("the change cannot be noted in the data folder: {error}")
            })?;
            if self.components.clock.now_ns() < from_ns {
                return Ok(from_ns);
            }
        }
        Err("the change cannot be noted in the data folder in time".to_owned())
    }

    /// Reloads when the file has changed, and has stayed so from one look to the next: whoever
    /// writes it may do so in pieces. Until it is aborted.
    pub(crate) async fn watch_file(self: Arc<Self>) {
        let Some(file) = self.config().sources.file.clone() else { return };
        let look = move || -> Option<(SystemTime, u64)> {
            let found = std::fs::metadata(&file).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        let mut loaded = look();
        let mut seen = loaded;
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            let before = std::mem::replace(&mut seen, look());
            if seen == before && seen != loaded && seen.is_some() {
                loaded = seen;
                // What is wrong with it has been logged.
                let _logged = self.reload().await;
            }
        }
    }
}
