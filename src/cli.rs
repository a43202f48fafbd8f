//! The command line: `serve`, `demo`, `verify`, `version`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgMatches, Command};
use storage::{Components, Store};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, LogFormat, SETTINGS};
use crate::{Server, StartError, SystemClock, SystemRandom, demo};

/// Exit code for wrong settings or arguments (sysexits' EX_CONFIG).
const EXIT_SETTINGS: u8 = 78;
/// Exit code when something could not be opened, bound or flushed.
const EXIT_FAILED: u8 = 1;
/// Exit code when another process works on the data folder (sysexits' EX_CANTCREAT).
const EXIT_FOLDER: u8 = 73;
/// Exit code of `verify` when it found something wrong.
const EXIT_PROBLEMS: u8 = 2;

/// Reads the command line of the process and does what it says.
#[must_use]
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("serve", matches)) => with_config(matches, serve),
        Some(("verify", matches)) => with_config(matches, verify),
        Some(("demo", matches)) => run_demo(matches),
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
        .subcommand(Command::new("version").about("Prints the version"))
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
        Ok(runtime) => runtime.block_on(body),
        Err(error) => {
            complain(&format!("cannot start the runtime: {error}"));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn start_log(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| format!("--log-level: {:?}: {error}", config.log_filter))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn components() -> Components {
    Components::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
}

async fn serve(config: Config) -> ExitCode {
    let data = config.storage.data_dir.display().to_string();
    // Taken before anything is served: a signal that comes early must not kill us half-way.
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(terminate), Ok(interrupt), Ok(hangup)] = signals.map(signal) else {
        complain("cannot listen for signals");
        return ExitCode::from(EXIT_FAILED);
    };
    let server = match Server::start(config, components()).await {
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

/// Waits for SIGTERM or SIGINT; SIGHUP reloads the settings.
async fn until_stopped(server: Server, signals: [Signal; 3]) -> ExitCode {
    let [mut terminate, mut interrupt, mut hangup] = signals;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                // What is wrong has been logged.
                let _logged = server.reload().await;
            }
        }
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

fn greet(server: &Server, data: &str) {
    say(&format!(
        "tercet {version} keeps its data in {data}\n\
         page       http://{http}\n\
         otlp/http  http://{otlp_http}   (OTEL_EXPORTER_OTLP_ENDPOINT=http://{otlp_http})\n\
         otlp/grpc  http://{otlp_grpc}   (OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=http://{otlp_grpc})\n\
         try        tercet demo --to http://{otlp_http}",
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
    for problem in &verified.problems {
        say(problem);
    }
    say(&format!(
        "{} files, {} bytes, {} log entries read: {} problems",
        verified.files,
        verified.bytes,
        verified.log_entries,
        verified.problems.len()
    ));
    if verified.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_PROBLEMS) }
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
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn complain(problems: &str) {
    let mut out = std::io::stderr().lock();
    for problem in problems.lines() {
        let _closed = writeln!(out, "tercet: {problem}");
    }
}
