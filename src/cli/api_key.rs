//! `signalpost api-key`: the key itself is shown once, when it is made.

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;

use super::{Context, open_store, output};
use crate::domain::api_key::{ApiKey, Scope};
use crate::domain::id::{ApiKeyId, ProjectId};
use crate::store::shown::{AuditEntry, StoredKey};
use crate::store::{Store, db};

#[derive(Subcommand)]
pub(super) enum Args {
    /// Make a key and print it alone on the last line; it is never shown again
    #[command(
        after_help = "Example:\n  KEY=$(signalpost api-key create acme --scope events:write --name shop | tail -1)"
    )]
    Create {
        /// Slug of the project
        project: String,
        /// What the key may do; all if none is given
        #[arg(long, value_parser = scope)]
        scope: Vec<Scope>,
        /// Whose it is
        #[arg(long, default_value = "")]
        name: String,
    },
    /// List the keys of a project, the revoked ones too
    #[command(after_help = "Example:\n  signalpost api-key list acme --json")]
    List {
        /// Slug of the project
        project: String,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// End a key
    #[command(after_help = "Example:\n  signalpost api-key revoke key_0198c0ffee0000000000000000000000")]
    Revoke {
        /// As `list` shows it
        id: ApiKeyId,
    },
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let store = open_store(context).await?;
    match args {
        Args::Create { project, scope, name } => create(context, &store, &project, (scope, name)).await,
        Args::List { project, json } => list(&store, &project, json).await,
        Args::Revoke { id } => revoke(context, &store, id).await,
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let names = || Scope::ALL.map(Scope::name).join(", ");
    Scope::from_name(text).ok_or_else(|| format!("the scopes are {}", names()))
}

async fn create(
    context: &Context,
    store: &Store,
    slug: &str,
    (mut scopes, name): (Vec<Scope>, String),
) -> anyhow::Result<()> {
    if scopes.is_empty() {
        scopes = Scope::ALL.to_vec();
    }
    scopes.sort();
    scopes.dedup();
    let names: Vec<_> = scopes.into_iter().map(Scope::name).collect();
    let now = context.clock.now();
    let key = ApiKey::generate(&mut rand::rng());
    let id = ApiKeyId::new_at(now);
    let mut tx = store.begin().await?;
    let project = project(store, slug).await?;
    let stored = StoredKey {
        id: id.0,
        project_id: project.0,
        name,
        scopes: json!(names).to_string(),
        created_at: now,
        revoked_at: None,
    };
    db!(tx, keys::insert(&stored, &key.hash())).context("the key could not be stored")?;
    db!(tx, audit::insert(&AuditEntry::of_command(project, now, "api-key.created", &id.to_string())))?;
    tx.commit().await?;
    output::line(&format!("{id} of project {slug} may: {}", names.join(", ")))?;
    output::line(key.expose())?;
    Ok(())
}

async fn list(store: &Store, slug: &str, as_json: bool) -> anyhow::Result<()> {
    let mut c = store.read().await?;
    let project = project(store, slug).await?;
    for key in db!(c, keys::list(project.0))? {
        let id = ApiKeyId(key.id).to_string();
        let scopes: Vec<String> =
            serde_json::from_str(&key.scopes).context("the stored scopes cannot be read")?;
        let text = if as_json {
            let (created_at, revoked_at) = (key.created_at, key.revoked_at);
            json!({"id": id, "name": key.name, "scopes": scopes, "created_at": created_at, "revoked_at": revoked_at})
                .to_string()
        } else {
            let state =
                key.revoked_at.map_or("good".to_owned(), |at| format!("revoked {}", at.format("%F %T")));
            let name = if key.name.is_empty() { "-" } else { &key.name };
            format!("{id}  {}  {state}  {}  {name}", key.created_at.format("%F %T"), scopes.join(","))
        };
        output::line(&text)?;
    }
    Ok(())
}

async fn revoke(context: &Context, store: &Store, id: ApiKeyId) -> anyhow::Result<()> {
    let now = context.clock.now();
    let mut tx = store.begin().await?;
    let Some(project) = db!(tx, keys::project(id.0))? else { bail!("there is no API key {id}") };
    db!(tx, keys::revoke(id.0, now))?;
    let entry = AuditEntry::of_command(ProjectId(project), now, "api-key.revoked", &id.to_string());
    db!(tx, audit::insert(&entry))?;
    tx.commit().await?;
    output::line(&format!("{id} is revoked"))?;
    Ok(())
}

pub(super) async fn project(store: &Store, slug: &str) -> anyhow::Result<ProjectId> {
    let mut c = store.read().await?;
    let found: Option<ProjectId> = db!(c, catalogue::project_id(slug))?;
    found.with_context(|| format!("there is no project `{slug}`"))
}

impl AuditEntry {
    /// Something done on the command line.
    pub(super) fn of_command(
        project: ProjectId,
        at: chrono::DateTime<chrono::Utc>,
        action: &str,
        subject: &str,
    ) -> Self {
        Self {
            id: crate::domain::id::new_at(at),
            project_id: project.0,
            at,
            actor: "command line".to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            client: None,
        }
    }
}
