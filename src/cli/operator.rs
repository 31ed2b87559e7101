//! `signalpost operator`: who may use the console. The password is asked for, and never an argument, which other
//! users of the machine could see.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{Context, open_store, output};
use crate::domain::address::EmailAddress;
use crate::domain::id::OperatorId;
use crate::domain::password::{self, Owner, Password};
use crate::store::db;
use crate::store::shown::StoredOperator;

#[derive(Subcommand)]
pub(super) enum Args {
    /// Add one; the password is asked for, or read from standard input
    #[command(after_help = "Example:\n  signalpost operator add ops@acme.example --role owner")]
    Add {
        /// E-mail address
        email: EmailArgument,
        /// What they may do
        #[arg(long, value_enum, default_value = "owner")]
        role: Role,
    },
    /// List all
    #[command(after_help = "Example:\n  signalpost operator list --json")]
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Remove one
    #[command(after_help = "Example:\n  signalpost operator remove ops@acme.example")]
    Remove {
        /// E-mail address
        email: EmailArgument,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Role {
    /// Everything
    Owner,
    /// Everything but integrations, link hosts and origins
    Editor,
    /// Look
    Viewer,
}

/// An address on the command line.
#[derive(Clone)]
pub(super) struct EmailArgument(EmailAddress);

impl std::str::FromStr for EmailArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EmailAddress::parse(text).map(Self)
    }
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add { email, role } => add(context, &email.0, role).await,
        Args::List { json } => list(context, json).await,
        Args::Remove { email } => remove(context, &email.0).await,
    }
}

async fn add(context: &Context, email: &EmailAddress, role: Role) -> anyhow::Result<()> {
    let store = open_store(context).await?;
    let password = ask(email)?;
    let owner = Owner { username: email.as_str(), email: email.as_str(), is_admin: true };
    if let Err(what) = password::check(&password, &owner) {
        bail!("the password {what}");
    }
    let hash = password::hash(&password).context("the password could not be hashed")?;
    let now = context.clock.now();
    let role = role.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let row =
        StoredOperator { id: OperatorId::new_at(now).0, email: email.to_string(), role, created_at: now };
    let mut c = store.write().await?;
    if !db!(c, operators::insert(&row, (&email.key(), &hash)))? {
        bail!("{email} is an operator already");
    }
    output::line(&format!("{email} is an operator, role {}", row.role))?;
    Ok(())
}

/// Twice at a terminal, where nothing is shown; else the first line of standard input.
fn ask(email: &EmailAddress) -> anyhow::Result<Password> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).context("the password could not be read")?;
        return Ok(Password::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let first = rpassword::prompt_password(format!("Password of {email}: "))?;
    let second = rpassword::prompt_password("Once more: ")?;
    if first != second {
        bail!("the two are not the same");
    }
    Ok(Password::new(first))
}

async fn list(context: &Context, as_json: bool) -> anyhow::Result<()> {
    let store = open_store(context).await?;
    let mut c = store.read().await?;
    for one in db!(c, operators::list())? {
        let id = OperatorId(one.id);
        let text = if as_json {
            json!({"id": id, "email": one.email, "role": one.role, "created_at": one.created_at}).to_string()
        } else {
            format!("{id}  {}  {}  {}", one.created_at.format("%F %T"), one.role, one.email)
        };
        output::line(&text)?;
    }
    Ok(())
}

async fn remove(context: &Context, email: &EmailAddress) -> anyhow::Result<()> {
    let store = open_store(context).await?;
    let mut c = store.write().await?;
    if !db!(c, operators::remove(&email.key()))? {
        bail!("there is no operator {email}");
    }
    output::line(&format!("{email} is an operator no more"))?;
    Ok(())
}
