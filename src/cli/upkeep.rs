//! `tercet backup`, `tercet restore` and `tercet retention`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use parking_lot::Mutex;
use storage::{
    Backup, BackupReport, Clock, Components, ErrorKind, Folder, Place, Progress, Restore,
    RestoreReport, StorageError, Which,
};

use super::{
    EXIT_FAILED, EXIT_PROBLEMS, EXIT_SETTINGS, complain, components, on_runtime, say, secret,
    with_config, with_settings,
};
use crate::canary::Access;
use crate::config::Config;
use crate::upkeep::{Remote, RemoteBackup};

/// Between two lines about how far it has come. Units: ns.
const SAY_NS: u64 = 2_000_000_000;

fn arg(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn with_access(command: Command) -> Command {
    command
        .arg(arg("token", "TOKEN", "Bearer token, or @FILE that holds it").conflicts_with("user"))
        .arg(arg("user", "NAME:PASSWORD", "Basic authentication, or @FILE that holds it"))
}

pub(super) fn commands() -> [Command; 3] {
    let backup = with_access(with_settings(Command::new("backup")))
        .about("Copies everything that was acknowledged into another folder or a bucket")
        .long_about(
            "Copies everything that was acknowledged before it begins into another folder or a \
             bucket. With --from it reads from a running server, which goes on serving; without, \
             from the data folder of the settings, which no server may use meanwhile. What an \
             earlier backup in the same place has brought is not copied again. Exit code 0: all is \
             in it; 2: all but what is damaged at the source, which is named; 1: there is no new \
             backup.",
        )
        .arg(arg("to", "PLACE", "A folder, or s3://bucket/prefix, gs://, az://").required(true))
        .arg(arg("from", "URL", "The running server, such as http://127.0.0.1:4319"))
        .arg(
            arg("keep", "COUNT", "Finished backups that stay in the place; 0 keeps all")
                .default_value("0")
                .value_parser(clap::value_parser!(u32)),
        );
    let restore = with_settings(Command::new("restore"))
        .about("Checks a backup and writes it into an empty data folder")
        .long_about(
            "Reads and checks every file of a backup, and writes it into the empty data folder (and \
             bucket) of the settings only if all of it is whole. Exit code 0: restored; 2: the backup \
             is not whole, nothing was written; 1: it could not be done.",
        )
        .arg(arg("from", "PLACE", "Where the backups are").required(true))
        .arg(arg("backup", "ID", "One of --list [default: the newest]"))
        .arg(
            arg("check", "", "Checks the backup and writes nothing")
                .action(ArgAction::SetTrue)
                .conflicts_with("list"),
        )
        .arg(arg("list", "", "Lists the backups").action(ArgAction::SetTrue));
    let retention = with_access(Command::new("retention"))
        .about("Shows what retention asks about, and confirms it")
        .long_about(
            "Retention drops no more than a quarter of the data at once where the clock or the \
             setting has leapt. This shows what waits. Exit code 0: nothing waits, or it was \
             confirmed; 2: something waits; 1: it could not be found out.",
        )
        .arg(arg("server", "URL", "The running server").default_value("http://127.0.0.1:4319"))
        .arg(
            arg("confirm", "", "The clock and the setting are right: drop what waits")
                .action(ArgAction::SetTrue),
        );
    [backup, restore, retention]
}

fn text(matches: &ArgMatches, name: &str) -> String {
    matches.get_one::<String>(name).cloned().unwrap_or_default()
}

fn access(matches: &ArgMatches) -> Result<Access, String> {
    let (token, user) = (text(matches, "token"), text(matches, "user"));
    match (secret("token", &token)?, secret("user", &user)?) {
        (Some(token), _) => Ok(Access::Token(token)),
        (None, Some(user)) => {
            let (name, password) =
                user.split_once(':').ok_or("--user: write NAME:PASSWORD, or @FILE")?;
            Ok(Access::User(name.to_owned(), password.to_owned()))
        }
        (None, None) => Ok(Access::Open),
    }
}

fn remote(matches: &ArgMatches, name: &str) -> Result<Remote, String> {
    let url = text(matches, name);
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!(
            "--{name}: {url:?} is no URL: write for example http://127.0.0.1:4319"
        ));
    }
    Remote::new(&url, access(matches)?)
}

/// A place for backups. Buckets get the settings of the store's own bucket.
fn place(address: &str, config: &Config) -> Place {
    match address.split_once("://") {
        None => Place::Folder(PathBuf::from(address)),
        Some(("file", path)) => Place::Folder(PathBuf::from(path)),
        Some(_) => Place::Bucket {
            address: address.to_owned(),
            options: config.storage.bucket_options.clone(),
        },
    }
}

fn wrong(problem: &str) -> ExitCode {
    complain(problem);
    ExitCode::from(EXIT_SETTINGS)
}

fn failed(error: &StorageError) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(if error.kind() == ErrorKind::Corrupt { EXIT_PROBLEMS } else { EXIT_FAILED })
}

/// Says from time to time how far something has come.
struct Teller {
    what: &'static str,
    clock: Arc<dyn Clock>,
    started_ns: u64,
    said_ns: Mutex<u64>,
}

impl Teller {
    fn new(what: &'static str, components: &Components) -> Teller {
        let clock = Arc::clone(&components.clock);
        let started_ns = clock.monotonic_ns();
        Teller { what, clock, started_ns, said_ns: Mutex::new(started_ns) }
    }

    fn tell(&self, progress: Progress) {
        let now_ns = self.clock.monotonic_ns();
        let mut said_ns = self.said_ns.lock();
        if now_ns.saturating_sub(*said_ns) < SAY_NS {
            return;
        }
        *said_ns = now_ns;
        drop(said_ns);
        say(&format!(
            "{}: {} of {} files, {} of {}",
            self.what,
            progress.files_done,
            progress.files,
            size(progress.bytes_done),
            size(progress.bytes),
        ));
    }

    /// Bytes, time and speed of the whole.
    fn figures(&self, bytes: u64) -> String {
        let seconds = self.clock.monotonic_ns().saturating_sub(self.started_ns) as f64 / 1e9;
        let speed = bytes as f64 / 1e6 / seconds.max(0.001);
        format!("{} in {seconds:.1} s ({speed:.0} MB/s)", size(bytes))
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

pub(super) fn run_backup(matches: &ArgMatches) -> ExitCode {
    let from = match matches.contains_id("from").then(|| remote(matches, "from")).transpose() {
        Ok(from) => from,
        Err(problem) => return wrong(&problem),
    };
    let to = text(matches, "to");
    let keep = matches.get_one::<u32>("keep").copied().unwrap_or(0) as usize;
    with_config(matches, async move |config| {
        let components = components();
        let to = place(&to, &config);
        let backup = Backup { to: &to, keep, components: &components };
        let teller = Teller::new("backup", &components);
        let say_progress = |progress| teller.tell(progress);
        let outcome = match from {
            Some(remote) => {
                let source = match RemoteBackup::begin(remote).await {
                    Ok(source) => source,
                    Err(problem) => {
                        complain(&problem);
                        return ExitCode::from(EXIT_FAILED);
                    }
                };
                let outcome = backup.run(&source, &say_progress).await;
                source.end().await;
                outcome
            }
            None => match Folder::open(&config.storage, &components).await {
                Ok(source) => backup.run(&source, &say_progress).await,
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(report) => backed_up(&report, &teller),
            Err(error) => {
                complain(&error.to_string());
                ExitCode::from(EXIT_FAILED)
            }
        }
    })
}

fn backed_up(report: &BackupReport, teller: &Teller) -> ExitCode {
    let BackupReport { id, files, bytes, files_kept, bytes_copied, missing, removed } = report;
    say(&format!(
        "backup {id}: {files} files, {}; {files_kept} were there; copied {}",
        size(*bytes),
        teller.figures(*bytes_copied)
    ));
    for id in removed {
        say(&format!("removed backup {id}"));
    }
    lacking(missing)
}

/// Says what a backup lacks.
fn lacking(missing: &[String]) -> ExitCode {
    if missing.is_empty() {
        return ExitCode::SUCCESS;
    }
    for what in missing {
        complain(&format!("not whole at the source: {what}"));
    }
    ExitCode::from(EXIT_PROBLEMS)
}

pub(super) fn run_restore(matches: &ArgMatches) -> ExitCode {
    let from = text(matches, "from");
    let which = matches.get_one::<String>("backup").cloned().map_or(Which::Newest, Which::Named);
    let (check, list) = (matches.get_flag("check"), matches.get_flag("list"));
    with_config(matches, async move |config| {
        let components = components();
        let from = place(&from, &config);
        let restore = Restore { from: &from, which, components: &components };
        if list {
            return match restore.list().await {
                Ok(ids) => {
                    ids.iter().for_each(|id| say(id));
                    ExitCode::SUCCESS
                }
                Err(error) => failed(&error),
            };
        }
        let teller = Teller::new(if check { "check" } else { "restore" }, &components);
        let say_progress = |progress| teller.tell(progress);
        let outcome = if check {
            restore.check(&say_progress).await
        } else {
            restore.run(&config.storage, &say_progress).await
        };
        match outcome {
            Ok(RestoreReport { id, files, bytes, missing, .. }) => {
                let done = if check { "is whole" } else { "is restored" };
                say(&format!("backup {id} {done}: {files} files, {}", teller.figures(bytes)));
                lacking(&missing)
            }
            Err(error) => failed(&error),
        }
    })
}

pub(super) fn run_retention(matches: &ArgMatches) -> ExitCode {
    let remote = match remote(matches, "server") {
        Ok(remote) => remote,
        Err(problem) => return wrong(&problem),
    };
    let confirm = matches.get_flag("confirm");
    on_runtime(async move {
        let (method, path, key) = if confirm {
            (reqwest::Method::POST, "/-/retention/confirm", "dropped")
        } else {
            (reqwest::Method::GET, "/-/retention", "waiting")
        };
        let answer = match remote.json(method, path).await {
            Ok(answer) => answer,
            Err(problem) => {
                complain(&problem);
                return ExitCode::from(EXIT_FAILED);
            }
        };
        let rows = answer[key].as_array().cloned().unwrap_or_default();
        for row in &rows {
            let figure = |name: &str| row[name].as_u64().unwrap_or_default();
            let leap_ns = row["leapNs"].as_str().and_then(|leap| leap.parse::<i64>().ok());
            say(&format!(
                "{key}: {} segments of {}, {} of {}: the clock or the setting has leapt by {} h",
                figure("segments"),
                row["signal"].as_str().unwrap_or_default(),
                size(figure("bytes")),
                size(figure("ofBytes")),
                leap_ns.unwrap_or_default() / 3_600_000_000_000,
            ));
        }
        match (rows.is_empty(), confirm) {
            (true, _) => {
                say("retention asks about nothing");
                ExitCode::SUCCESS
            }
            (false, true) => ExitCode::SUCCESS,
            (false, false) => {
                say("if the clock and limits.retention are right: tercet retention --confirm");
                ExitCode::from(EXIT_PROBLEMS)
            }
        }
    })
}
