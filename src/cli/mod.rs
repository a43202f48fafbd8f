//! The command line: `serve`, `verify`, `backup`, `restore`, `retention`, `canary`, `demo`, `token`, `user`, `version`.

mod credentials;
mod upkeep;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use storage::{Components, Fatal, Faults, Store, Tally, Verified};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, LogFormat, SETTINGS};
use crate::terminal::{Stderr, printable};
use crate::{Server, StartError, SystemClock, SystemRandom, canary, demo, descriptors};

/// Exit code for wrong settings or arguments (sysexits' EX_CONFIG).
const EXIT_SETTINGS: u8 = 78;
/// Exit code when something could not be opened, bound or flushed.
const EXIT_FAILED: u8 = 1;
/// Exit code when another process works on the data folder (sysexits' EX_CANTCREAT).
const EXIT_FOLDER: u8 = 73;
/// Exit code of `verify` when it found something wrong.
const EXIT_PROBLEMS: u8 = 2;
/// Exit code of `serve` when the disk failed in a way that only a new start can judge (sysexits'
/// EX_SOFTWARE).
const EXIT_DISK: u8 = 70;
/// Exit code of `serve` when another process has taken its place (sysexits' EX_TEMPFAIL).
const EXIT_REPLACED: u8 = 75;
/// How long the threads of a process that ends early are waited for.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// Reads the command line of the process and does what it says.
#[must_use]
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("serve", matches)) => with_config(matches, serve),
        Some(("verify", matches)) => with_config(matches, verify),
        Some(("canary", matches)) => run_canary(matches),
        Some(("demo", matches)) => run_demo(matches),
        Some(("backup", matches)) => upkeep::run_backup(matches),
        Some(("restore", matches)) => upkeep::run_restore(matches),
        Some(("retention", matches)) => upkeep::run_retention(matches),
        Some(("token", matches)) => credentials::run_token(matches),
        Some(("user", matches)) => credentials::run_user(matches),
        _ => {
            say(&format!("tercet {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

fn command() -> Command {
    Command::new("tercet")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Logs, traces and metrics in one binary: paste an ID, see everything that happened.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            with_settings(Command::new("serve"))
                .about("Takes in telemetry, keeps it, and answers queries")
                .long_about(
                    "Takes in telemetry, keeps it, and answers queries.\n\nEvery setting can come \
                     from its flag, from the environment (TERCET_ and the flag in capitals, dashes \
                     as underscores) or from the TOML file given with --config, in this order.",
                ),
        )
        .subcommand(
            with_settings(Command::new("verify"))
                .about("Checks every checksum of a data folder that is not being served"),
        )
        .subcommands(upkeep::commands())
        .subcommand(canary_command())
        .subcommand(
            Command::new("demo")
                .about("Sends the telemetry of a small shop, one fault included, until stopped")
                .arg(
                    Arg::new("to")
                        .long("to")
                        .value_name("URL")
                        .default_value("http://127.0.0.1:4318")
                        .help("Where OTLP over HTTP is taken"),
                )
                .arg(
                    Arg::new("rate")
                        .long("rate")
                        .value_name("COUNT")
                        .default_value("5")
                        .value_parser(clap::value_parser!(u32).range(1..=1000))
                        .help("Checkouts a second"),
                )
                .arg(
                    Arg::new("for")
                        .long("for")
                        .value_name("DURATION")
                        .help("Stops by itself after this time, such as 30s"),
                ),
        )
        .subcommand(credentials::token_command())
        .subcommand(credentials::user_command())
        .subcommand(Command::new("version").about("Prints the version"))
}

fn canary_command() -> Command {
    let arg = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let count = |most: i64| clap::value_parser!(u32).range(1..=most);
    Command::new("canary")
        .about("Writes records, reads them back, and says when something acknowledged is not there")
        .long_about(
            "Writes records of all three signals into a running server, keeps a ledger of what was \
             acknowledged, reads everything back through the public endpoints, and says when \
             something is missing, doubled, changed or was never sent. Exit code 0: every promise \
             held; 2: one was broken; 1: it could not be found out.",
        )
        .arg(arg("to", "URL", "Where OTLP and remote write are taken").required(true))
        .arg(arg("read", "URL", "Where the query APIs are [default: as --to]"))
        .arg(
            arg("rate", "COUNT", "Requests a second, of all writers together")
                .default_value("20")
                .value_parser(count(100_000)),
        )
        .arg(
            arg("records", "COUNT", "Records of one request")
                .default_value("10")
                .value_parser(count(i64::from(canary::RECORDS_MAX))),
        )
        .arg(
            arg("writers", "COUNT", "Requests under way at a time")
                .default_value("4")
                .value_parser(count(1000)),
        )
        .arg(arg("for", "DURATION", "Ends with the verdict after this time, such as 2h"))
        .arg(
            arg("recheck", "DURATION", "Records older than this are not looked at again")
                .default_value("1d"),
        )
        .arg(arg("tenant", "NAME", "X-Scope-OrgID of everything").default_value("default"))
        .arg(arg("ledger", "FILE", "Keeps the ledger there, and goes on from it"))
        .arg(arg("token", "TOKEN", "Bearer token, or @FILE that holds it").conflicts_with("user"))
        .arg(arg("user", "NAME:PASSWORD", "Basic authentication, or @FILE that holds it"))
        .arg(arg("json", "", "Prints JSON, an object a line").action(clap::ArgAction::SetTrue))
}

fn with_settings(command: Command) -> Command {
    let command = command
        .arg(Arg::new("config").long("config").value_name("FILE").help("TOML file with settings"));
    SETTINGS.iter().fold(command, |command, setting| {
        let default = (setting.get)(&Config::default());
        let help = if default.is_empty() {
            setting.doc.to_owned()
        } else {
            format!("{} [default: {default}]", setting.doc)
        };
        let arg = Arg::new(setting.name)
            .long(setting.flag())
            .value_name(setting.value)
            .help(help)
            .allow_hyphen_values(true);
        let boolean = setting.value == "BOOL";
        command.arg(if boolean { arg.num_args(0..=1).default_missing_value("true") } else { arg })
    })
}

/// Reads the settings and runs `body` with them on a runtime.
fn with_config<F>(matches: &ArgMatches, body: impl FnOnce(Config) -> F) -> ExitCode
where
    F: Future<Output = ExitCode>,
{
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let file = matches
        .get_one::<String>("config")
        .or_else(|| environment.get("TERCET_CONFIG"))
        .map(PathBuf::from);
    let flags = SETTINGS
        .iter()
        .filter_map(|setting| {
            Some((setting.name.to_owned(), matches.get_one::<String>(setting.name)?.clone()))
        })
        .collect();
    let config = match config::read(&flags, &environment, file.as_deref()) {
        Ok(config) => config,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    if let Err(problem) = start_log(&config) {
        complain(&problem);
        return ExitCode::from(EXIT_SETTINGS);
    }
    on_runtime(body(config))
}

fn on_runtime(body: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(body);
            runtime.shutdown_timeout(LAST_WAIT);
            code
        }
        Err(error) => {
            complain(&format!("cannot start the runtime: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn start_log(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| format!("--log-level: {:?}: {error}", config.log_filter))?;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Stderr).with_ansi(false);
    match config.log {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn components() -> Components {
    Components::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
}

/// With the panics that `TERCET_FAULTS` asks for, for tests: it is no setting, so that no file and no
/// flag can bring one about.
#[expect(clippy::disallowed_methods, reason = "it must not be a setting")]
fn faulty(components: Components) -> Result<Components, String> {
    let Ok(text) = std::env::var("TERCET_FAULTS") else { return Ok(components) };
    let faults = Faults::parse(&text).map_err(|problem| format!("TERCET_FAULTS: {problem}"))?;
    if faults.is_any() {
        tracing::error!(faults = text, "TERCET_FAULTS: this process panics on purpose");
    }
    Ok(Components { faults: Arc::new(faults), ..components })
}

async fn serve(config: Config) -> ExitCode {
    let data = config.storage.data_dir.display().to_string();
    // Taken before anything is served: a signal that comes early must not kill us half-way.
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(terminate), Ok(interrupt), Ok(hangup)] = signals.map(signal) else {
        complain("cannot listen for signals");
        return ExitCode::from(EXIT_FAILED);
    };
    // A file that may not grow (ulimit -f) is an error of that write, and not the end of the process.
    let _listened_to = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    let components = match faulty(components()) {
        Ok(components) => components,
        Err(problem) => {
            complain(&problem);
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    descriptors::raise_limit();
    let server = match Server::start(config, components).await {
        Ok(server) => server,
        Err(problem) => {
            complain(&problem.to_string());
            return ExitCode::from(match problem {
                StartError::FolderInUse(_) => EXIT_FOLDER,
                StartError::Failed(_) => EXIT_FAILED,
            });
        }
    };
    greet(&server, &data);
    until_stopped(server, [terminate, interrupt, hangup]).await
}

/// Waits for SIGTERM or SIGINT; SIGHUP reloads the settings, and nothing waits for that.
async fn until_stopped(server: Server, signals: [Signal; 3]) -> ExitCode {
    let [mut terminate, mut interrupt, hangup] = signals;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = reload_at(hangup, &server) => {}
        fatal = server.store().until_fatal() => return end_early(&fatal),
    }
    tracing::info!("stopping: no new requests; the rest is being finished and flushed");
    let stopped = tokio::select! {
        stopped = server.stop() => stopped,
        _ = terminate.recv() => Err("stopped by a second signal; the log has everything".to_owned()),
        _ = interrupt.recv() => Err("stopped by a second signal; the log has everything".to_owned()),
    };
    match stopped {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&problem);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Reloads the settings at each signal, for ever.
async fn reload_at(mut signal: Signal, server: &Server) {
    while signal.recv().await.is_some() {
        // What is wrong has been logged.
        let _logged = server.reload().await;
    }
    std::future::pending::<()>().await;
}

/// Ends without flushing: the log has everything.
fn end_early(fatal: &Fatal) -> ExitCode {
    match fatal {
        Fatal::Sync(why) => {
            complain(&format!(
                "the log could not be synced: {why}; everything acknowledged is in it: start again"
            ));
            ExitCode::from(EXIT_DISK)
        }
        Fatal::Replaced => {
            complain(
                "another process has taken over this data folder's name in the bucket; what this \
                 one acknowledged since is in its own log",
            );
            ExitCode::from(EXIT_REPLACED)
        }
    }
}

fn greet(server: &Server, data: &str) {
    say(&format!(
        "tercet {version} keeps its data in {data}\n\
         page       {scheme}://{http}\n\
         otlp/http  {scheme}://{otlp_http}   (OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{otlp_http})\n\
         otlp/grpc  {scheme}://{otlp_grpc}   (OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{otlp_grpc})\n\
         try        tercet demo --to {scheme}://{otlp_http}",
        scheme = if server.has_tls() { "https" } else { "http" },
        version = env!("CARGO_PKG_VERSION"),
        http = server.http,
        otlp_http = server.otlp_http,
        otlp_grpc = server.otlp_grpc,
    ));
}

async fn verify(config: Config) -> ExitCode {
    let verified = match Store::verify(&config.storage).await {
        Ok(verified) => verified,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let settings_fit = crate::epochs::is_whole(&config.storage.data_dir);
    say(&report(&verified, settings_fit));
    let is_whole = verified.damage.is_empty() && settings_fit;
    if is_whole { ExitCode::SUCCESS } else { ExitCode::from(EXIT_PROBLEMS) }
}

/// What verification found, for people: each kind of file, then each damage with what it means.
fn report(verified: &Verified, settings_fit: bool) -> String {
    let mut lines = Vec::new();
    for (kind, tally) in &verified.kinds {
        let damaged = verified.damage.iter().filter(|damage| damage.kind == *kind).count();
        let Tally { files, bytes } = tally;
        let name = kind.as_str();
        lines.push(format!("{name}: {files} files, {bytes} bytes, {damaged} damaged"));
    }
    for damage in &verified.damage {
        lines.push(format!("DAMAGED {}: {}", damage.file, damage.what));
        lines.push(format!("    {}", damage.meaning));
    }
    if !settings_fit {
        lines.push("DAMAGED settings.json: its checksum does not fit".to_owned());
        lines.push("    the log is replayed by today's settings, which may refuse more".to_owned());
    }
    lines.extend(verified.notes.iter().map(|note| format!("note: {note}")));
    let damaged = verified.damage.len() + usize::from(!settings_fit);
    let entries = verified.log_entries;
    lines.push(match damaged {
        0 => format!("all checksums fit; {entries} requests are in the log"),
        _ => format!("{damaged} damaged; nothing was changed or removed"),
    });
    lines.join("\n")
}

fn run_canary(matches: &ArgMatches) -> ExitCode {
    let (options, watch) = match canary_options(matches) {
        Ok(options) => options,
        Err(problem) => {
            complain(&problem);
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    on_runtime(async move {
        let Components { clock, random, .. } = components();
        match canary::watch_over(options, &watch, clock, &*random, &mut say).await {
            Ok(canary::Outcome::Held) => ExitCode::SUCCESS,
            Ok(canary::Outcome::Broken) => ExitCode::from(EXIT_PROBLEMS),
            Ok(canary::Outcome::Unknown) => ExitCode::from(EXIT_FAILED),
            Err(problem) => {
                complain(&problem);
                ExitCode::from(EXIT_FAILED)
            }
        }
    })
}

fn canary_options(matches: &ArgMatches) -> Result<(canary::Options, canary::Watch), String> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let duration = |name: &str, none: i64| match text(name).as_str() {
        "" => Ok(none),
        text => {
            let parsed = crate::units::parse_duration_ns(text);
            parsed.map_err(|problem| format!("--{name}: {problem}"))
        }
    };
    let url = |name: &str| {
        let url = text(name);
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        let wrong =
            || format!("--{name}: {url:?} is no URL: write for example http://127.0.0.1:4319");
        if is_url { Ok(url.clone()) } else { Err(wrong()) }
    };
    let to = url("to")?;
    let read = if text("read").is_empty() { to.clone() } else { url("read")? };
    let tenant = text("tenant");
    model::TenantId::parse(&tenant).map_err(|error| format!("--tenant: {error}"))?;
    let count = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or(1);
    let access = match (secret("token", &text("token"))?, secret("user", &text("user"))?) {
        (Some(token), _) => canary::Access::Token(token),
        (None, Some(user)) => {
            let (name, password) =
                user.split_once(':').ok_or("--user: write NAME:PASSWORD, or @FILE")?;
            canary::Access::User(name.to_owned(), password.to_owned())
        }
        (None, None) => canary::Access::Open,
    };
    let options = canary::Options {
        tenant,
        writers: u16::try_from(count("writers")).unwrap_or(u16::MAX),
        records: count("records"),
        rate: count("rate"),
        access,
        ledger: matches.get_one::<String>("ledger").map(PathBuf::from),
        ..canary::Options::default()
    };
    let (for_ns, recheck_ns) = (duration("for", i64::MAX)?, duration("recheck", i64::MAX)?);
    let json = matches.get_flag("json");
    Ok((options, canary::Watch { to, read, for_ns, recheck_ns, json }))
}

/// A secret as given, or the first line of the file that `@FILE` names.
fn secret(name: &str, text: &str) -> Result<Option<String>, String> {
    let Some(file) = text.strip_prefix('@') else {
        return Ok((!text.is_empty()).then(|| text.to_owned()));
    };
    let content = std::fs::read_to_string(file);
    let content = content.map_err(|error| format!("--{name}: {file}: {error}"))?;
    Ok(Some(content.lines().next().unwrap_or_default().to_owned()))
}

fn run_demo(matches: &ArgMatches) -> ExitCode {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let for_ns = match text("for").as_str() {
        "" => Ok(i64::MAX),
        duration => crate::units::parse_duration_ns(duration),
    };
    let for_ns = match for_ns {
        Ok(for_ns) => for_ns,
        Err(problem) => {
            complain(&format!("--for: {problem}"));
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    let rate = matches.get_one::<u32>("rate").copied().unwrap_or(5);
    let options = demo::Options { to: text("to"), rate, for_ns };
    on_runtime(async move {
        let components = components();
        match demo::run(&options, &*components.clock, &*components.random, &mut say).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                complain(&problem);
                ExitCode::from(EXIT_FAILED)
            }
        }
    })
}

/// Writes a line for people to standard output; whoever closed it does not want to know.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{}", printable(line)).and_then(|()| out.flush());
}

fn complain(problems: &str) {
    let mut out = std::io::stderr().lock();
    for problem in problems.lines() {
        let _closed = writeln!(out, "tercet: {}", printable(problem));
    }
}
