//! `tercet token create` and `tercet user hash`: what goes into the settings, and what does not.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use storage::{Clock as _, Random};

use super::{EXIT_SETTINGS, complain, say};
use crate::doors::{Roles, Scope, create_token, hash_password};
use crate::units::parse_duration_ns;
use crate::{SystemClock, SystemRandom};

/// How long a new token is good.
const TTL: &str = "90d";

fn named(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn grant_arguments(command: Command, role: &'static str) -> Command {
    command.arg(named("role", "ROLE", "read, write, read,write or admin").default_value(role)).arg(
        named("tenants", "NAMES", "Tenants, commas between; * for all").default_value("default"),
    )
}

pub(super) fn token_command() -> Command {
    let create = Command::new("create")
        .about("Makes a bearer token and prints what to paste into the settings")
        .arg(named("name", "NAME", "Who will use it, for the audit log").default_value("collector"))
        .arg(
            named("ttl", "DURATION", "How long it is good, such as 90d; never for ever")
                .default_value(TTL),
        );
    Command::new("token")
        .about("Bearer tokens")
        .subcommand_required(true)
        .subcommand(grant_arguments(create, "write"))
}

pub(super) fn user_command() -> Command {
    let hash = Command::new("hash")
        .about("Reads a password, one line, and prints what to paste into the settings")
        .arg(named("name", "NAME", "The user's name").default_value("ann"));
    Command::new("user")
        .about("Users with passwords")
        .subcommand_required(true)
        .subcommand(grant_arguments(hash, "read"))
}

fn text<'m>(matches: &'m ArgMatches, name: &str) -> &'m str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// Role and tenants as lines of TOML.
fn grant_lines(matches: &ArgMatches) -> Result<String, String> {
    let (role, tenants) = (text(matches, "role"), text(matches, "tenants"));
    let roles = Roles::parse(role).map_err(|why| format!("--role: {why}"))?;
    let scope = Scope::parse(tenants.split(',')).map_err(|why| format!("--tenants: {why}"))?;
    if roles.is_admin() && !scope.is_every() {
        return Err("--tenants: admin is for the whole server: --tenants '*'".to_owned());
    }
    let list = |names: &str| {
        let names: Vec<String> = names.split(',').map(|name| quote(name.trim())).collect();
        names.join(", ")
    };
    Ok(format!("role = [{}]\ntenants = [{}]", list(role), list(tenants)))
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub(super) fn run_token(matches: &ArgMatches) -> ExitCode {
    let Some(("create", matches)) = matches.subcommand() else { return ExitCode::SUCCESS };
    finish(token(matches, &SystemRandom, SystemClock::new().now_ns()))
}

fn token(matches: &ArgMatches, random: &dyn Random, now_ns: i64) -> Result<String, String> {
    let grant = grant_lines(matches)?;
    let expires = match text(matches, "ttl") {
        "never" => "never".to_owned(),
        ttl => {
            let ttl_ns = parse_duration_ns(ttl).map_err(|why| format!("--ttl: {why}"))?;
            let end = chrono::DateTime::from_timestamp_nanos(now_ns.saturating_add(ttl_ns));
            end.format("%Y-%m-%dT%H:%M:%SZ").to_string()
        }
    };
    let (token, hash) = create_token(random);
    let name = quote(text(matches, "name"));
    Ok(format!(
        "# The token, which is shown only now. Send it as: Authorization: Bearer <token>\n\
         # {token}\n\
         # For the file of tercet serve --config:\n\n\
         [[auth.tokens]]\nname = {name}\nhash = \"{hash}\"\n{grant}\nexpires = \"{expires}\""
    ))
}

pub(super) fn run_user(matches: &ArgMatches) -> ExitCode {
    let Some(("hash", matches)) = matches.subcommand() else { return ExitCode::SUCCESS };
    let input = std::io::stdin();
    if input.is_terminal() {
        complain("type the password and Enter (it is shown; pipe it in to avoid that)");
    }
    let mut password = String::new();
    let read = input.lock().read_line(&mut password).map_err(|error| error.to_string());
    finish(read.and_then(|_| user(matches, password.trim_end_matches(['\r', '\n']))))
}

fn user(matches: &ArgMatches, password: &str) -> Result<String, String> {
    let grant = grant_lines(matches)?;
    let hash = hash_password(password, &SystemRandom)?;
    let name = quote(text(matches, "name"));
    Ok(format!("[[auth.users]]\nname = {name}\npassword_hash = \"{hash}\"\n{grant}"))
}

fn finish(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(lines) => {
            say(&lines);
            ExitCode::SUCCESS
        }
        Err(problem) => {
            complain(&problem);
            ExitCode::from(EXIT_SETTINGS)
        }
    }
}
