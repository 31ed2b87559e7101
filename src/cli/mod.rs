//! The command line: what may be said, what each command needs, and how it ends. One file a command. Must not
//! know how anything is done that another part of the program does.

mod api_key;
mod apply;
mod check;
mod dead_letters;
mod destination;
mod dev;
mod explain;
mod export;
mod inbound;
mod input;
mod migrate;
mod operator;
pub mod output;
mod pause;
mod publish;
mod render;
mod reseal;
mod serve;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::{self, Config, KEYS, Needs, Problem, Sources};
use crate::domain::clock::Clock;
use crate::store::Store;

/// The command did not do what it was told.
pub const FAILED: u8 = 1;
/// The command line says something wrong.
pub const WRONG_USE: u8 = 2;
/// The configuration is wrong.
pub const WRONG_CONFIGURATION: u8 = 64;
/// A mail server keeps the message and tries again (`EX_TEMPFAIL`); at anything else it would bounce it.
pub const TRY_AGAIN: u8 = 75;

/// What the command line says that clap could not see to be wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUse(pub String);

/// Something that the command turned out to need is not configured.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongConfiguration(String);

/// Account events become single-use tokens and e-mails.
#[derive(Parser)]
#[command(name = "signalpost", version, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process on embedded parts, mail kept in the console's mailbox
    #[command(after_help = "Example:\n  signalpost dev")]
    Dev,
    /// API, hosted pages and worker in one process
    #[command(after_help = "Example:\n  signalpost serve --migrate\n  signalpost serve --only worker")]
    Serve {
        /// One half only
        #[arg(long, value_enum)]
        only: Option<Half>,
        /// Bring the database's schema up first
        #[arg(long)]
        migrate: bool,
    },
    /// Bring the database to this program's schema
    #[command(
        after_help = "Example:\n  signalpost migrate --database-url postgres://signalpost@db/signalpost"
    )]
    Migrate,
    /// Make a project what a TOML file says; what the file omits stays
    #[command(after_help = "Example:\n  SMTP_PASSWORD=… signalpost apply acme.toml --dry-run")]
    Apply(apply::Args),
    /// Reach the database, the broker and every integration, and tell how each is; changes nothing
    #[command(after_help = "Example:\n  signalpost check --json")]
    Check {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print a project as a TOML file that applies to the same, without its secrets
    #[command(after_help = "Example:\n  signalpost export acme > acme.toml")]
    Export(export::Args),
    /// Let dispatches wait; they are charged no attempt
    #[command(
        after_help = "Example:\n  signalpost pause --project acme\n  signalpost pause --project acme --integration main"
    )]
    Pause(pause::Args),
    /// Let dispatches go on
    #[command(after_help = "Example:\n  signalpost resume --project acme --automation \"Reset password\"")]
    Resume(pause::Args),
    /// Publish an event, to the broker if one is configured, else into the database
    #[command(
        after_help = "Examples:\n  signalpost publish account.password-reset-requested --data '{\"member\":\"elon\"}'\n  \
                            signalpost publish --project acme --file events.jsonl"
    )]
    Publish(publish::Args),
    /// Take one reply from standard input, as the pipe of a mail server: exit 0, or 75 to be tried again
    #[command(after_help = "Example:\n  signalpost inbound --recipient bounces@acme.example < reply.eml\n  \
                            signalpost inbound --dry-run < reply.eml")]
    Inbound(inbound::Args),
    /// Messages that were refused, and e-mails that will not be tried again
    #[command(subcommand, after_help = "Example:\n  signalpost dead-letters list --project acme --json")]
    DeadLetters(dead_letters::Args),
    /// What would become of an event: automations that match or do not and why, and the mails
    #[command(after_help = "Example:\n  signalpost explain event.json --project acme")]
    Explain(explain::Args),
    /// Keys for the HTTP API
    #[command(subcommand, after_help = "Example:\n  signalpost api-key create acme --scope events:write")]
    ApiKey(api_key::Args),
    /// Who may use the console
    #[command(subcommand, after_help = "Example:\n  signalpost operator add ops@acme.example")]
    Operator(operator::Args),
    /// Seal anew, with the current secret key, what older ones sealed
    #[command(after_help = "Example:\n  SIGNALPOST_SECRET_KEYS_OLD=… signalpost reseal --dry-run")]
    Reseal(reseal::Args),
    /// Write every built-in e-mail with sample data
    #[command(after_help = "Example:\n  signalpost render --all --out /tmp/mails")]
    Render(render::Args),
}

#[derive(Clone, Copy, ValueEnum)]
enum Half {
    Http,
    Worker,
}

/// A command line that was understood.
pub struct Invocation {
    command: Command,
    flags: BTreeMap<String, String>,
    file: Option<String>,
}

/// Whether these arguments call the command that a mail server does, even if they are wrong.
pub fn is_piped(arguments: &[OsString]) -> bool {
    let mut rest = arguments.iter().skip(1).map(|argument| argument.to_string_lossy());
    while let Some(argument) = rest.next() {
        match argument.strip_prefix("--") {
            // Every flag before the command takes a value.
            Some(flag) if !flag.contains('=') => _ = rest.next(),
            Some(_) => {}
            None => return argument == "inbound",
        }
    }
    false
}

/// What a command works with.
struct Context {
    config: Config,
    environment: BTreeMap<String, String>,
    clock: Clock,
}

impl Invocation {
    /// Reads the arguments. The error knows its exit code: asking for help is none.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        let cli = Cli::from_arg_matches(&matches)?;
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let flags = KEYS.iter().filter_map(|key| Some((key.flag.to_owned(), text(key.flag)?)));
        Ok(Self { command: cli.command, flags: flags.collect(), file: text("config") })
    }

    /// Reads the configuration that the command needs.
    pub fn configuration(&self, environment: &BTreeMap<String, String>) -> Result<Config, Vec<Problem>> {
        let needs = self.command.needs();
        let read =
            |file| Sources { flags: self.flags.clone(), environment: environment.clone(), file, needs };
        match config::read_named(self.file.as_deref().map(Path::new)) {
            Ok(file) => Config::resolve(&read(file)),
            // The rest is told too.
            Err(problem) => {
                let others = Config::resolve(&read(None)).err().unwrap_or_default();
                Err(std::iter::once(problem).chain(others).collect())
            }
        }
    }

    /// Does it.
    pub async fn run(self, config: Config, environment: BTreeMap<String, String>) -> anyhow::Result<()> {
        let context = Context { config, environment, clock: Clock::system() };
        match self.command {
            Command::Dev => dev::run(&context).await,
            Command::Serve { only, migrate } => {
                let http = !matches!(only, Some(Half::Worker));
                let worker = !matches!(only, Some(Half::Http));
                serve::run(&context, serve::Halves { http, worker }, migrate).await
            }
            Command::Migrate => migrate::run(&context).await,
            Command::Apply(args) => apply::run(&context, args).await,
            Command::Check { json } => check::run(&context, json).await,
            Command::Export(args) => export::run(&context, args).await,
            Command::Pause(args) => pause::run(&context, args, true).await,
            Command::Resume(args) => pause::run(&context, args, false).await,
            Command::Operator(args) => operator::run(&context, args).await,
            Command::Reseal(args) => reseal::run(&context, args).await,
            Command::DeadLetters(args) => dead_letters::run(&context, args).await,
            Command::Publish(args) => publish::run(&context, args).await,
            Command::Inbound(args) => inbound::run(&context, args).await,
            Command::ApiKey(args) => api_key::run(&context, args).await,
            Command::Explain(args) => explain::run(&context, args).await,
            Command::Render(args) => render::run(&args),
        }
    }
}

impl Command {
    fn needs(&self) -> Needs {
        match self {
            // Links go to the public host if the project names no other.
            Self::Apply(_) | Self::Explain(_) | Self::Dev => Needs { secret_key: false, public_url: true },
            Self::Serve { .. } => Needs { secret_key: true, public_url: true },
            _ => Needs::default(),
        }
    }
}

/// The commands, and one global flag for each configuration key.
fn command() -> clap::Command {
    let file = Arg::new("config").long("config").value_name("FILE").global(true);
    let file = file.help("TOML file with the configuration [default: signalpost.toml if it is there]");
    let flags = KEYS.iter().map(|key| {
        let default = key.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
        let help = format!("{}{default} [env: {}]", key.help, key.variable());
        let arg = Arg::new(key.flag).long(key.flag).value_name("VALUE").global(true);
        arg.help(help).help_heading("Configuration").hide_short_help(true)
    });
    Cli::command().arg(file.help_heading("Configuration")).args(flags)
}

/// Reaches the database and makes sure that its schema is this program's.
async fn open_store(context: &Context) -> anyhow::Result<Store> {
    let store = connect(context).await?;
    let missing = store.missing_migrations().await.context("the database's schema could not be looked at")?;
    if missing > 0 {
        bail!("the database's schema is older than this program: run `signalpost migrate` first");
    }
    Ok(store)
}

async fn connect(context: &Context) -> anyhow::Result<Store> {
    let url = &context.config.database_url;
    url.make_directory().with_context(|| format!("the directory of {} could not be made", url.shown()))?;
    Store::connect(url.expose())
        .await
        .with_context(|| format!("the database {} could not be reached", url.shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, clap::Error> {
        Invocation::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_help_has_an_example() {
        fn look(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("signalpost "), "{}", sub.get_name());
                look(sub);
            }
        }
        look(&command());
    }

    #[test]
    fn a_key_is_a_flag_before_and_after_the_command() {
        for line in ["signalpost --prefetch 5 migrate", "signalpost migrate --prefetch=5"] {
            assert_eq!(read(line).ok().unwrap().flags["prefetch"], "5", "{line}");
        }
    }

    #[test]
    fn a_mail_servers_call_is_known_even_if_it_is_wrong() {
        let piped = |line: &str| is_piped(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(piped("signalpost inbound --fly"));
        assert!(piped("signalpost --config x.toml --log=info inbound"));
        assert!(!piped("signalpost publish inbound"));
    }

    #[test]
    fn wrong_use_is_refused() {
        for line in [
            "signalpost",
            "signalpost fly",
            "signalpost serve --only cook",
            "signalpost publish",
            "signalpost publish a.b",
            "signalpost publish a.b --data {} --file x",
            "signalpost api-key",
            "signalpost render --out x",
            "signalpost apply",
        ] {
            assert!(read(line).is_err_and(|error| error.exit_code() == i32::from(WRONG_USE)), "{line}");
        }
    }
}
