//! `signalpost dev`: everything in one process on embedded parts. What it makes up (the secret key, an API key,
//! the operator's password) is kept beside its database, readable by its owner alone, so that running it again
//! keeps them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::serve::{Halves, Start, until_signal};
use super::{Context, WrongConfiguration, connect, output};
use crate::config::PublicUrl;
use crate::domain::api_key::{ApiKey, Scope};
use crate::domain::id::{self, OperatorId, ProjectId};
use crate::domain::keys::{Keyring, SecretKey};
use crate::domain::password::{self, Password};
use crate::project_file::{self, Applying};
use crate::store::shown::{StoredKey, StoredOperator};
use crate::store::{Store, db};

/// The file that keeps what was made up.
const KEPT: &str = "dev.json";
const OPERATOR: &str = "operator@localhost";
const PROJECT: &str = "default";

/// What `dev` makes up the first time.
#[derive(Serialize, Deserialize)]
struct Kept {
    secret_key: String,
    api_key: String,
    operator_password: String,
}

pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let config = &context.config;
    let store = connect(context).await?;
    store.migrate().await.context("the schema could not be brought up")?;
    let kept = Kept::read_or_make(&directory(context))?;
    let keys = keyring(context)?;
    let public = config.public_url.clone().context("SIGNALPOST_PUBLIC_URL is missing")?;
    if config.amqp_url.is_some() {
        output::tell("SIGNALPOST_AMQP_URL is left alone: `dev` uses no broker, events arrive by HTTP");
    }
    prepare(context, &store, (&keys, &public), &kept).await?;

    let halves = Halves { http: true, worker: true };
    let start = Start { context, store, keys: Arc::new(keys), public_url: public, halves, is_dev: true };
    let (app, _lock) = start.start().await?;
    tell(*app.addresses.last().context("nothing is listened on")?, &kept)?;
    until_signal().await?;
    app.stop().await;
    Ok(())
}

/// What people and programs need to begin.
fn tell(address: SocketAddr, kept: &Kept) -> io::Result<()> {
    // Whoever reaches the mailbox reads tokens, so that it is served to this machine alone.
    let is_open = address.ip().is_loopback();
    if is_open {
        output::line(&format!("console: http://{address}/console"))?;
    } else {
        output::tell(&format!(
            "{address} is not loopback, so that console and mailbox are not served: \
             set SIGNALPOST_ADMIN_ADDR to a loopback address for them"
        ));
    }
    output::line(&format!("operator: {OPERATOR} {}", kept.operator_password))?;
    output::line(&format!("api key: {}", kept.api_key))?;
    if is_open {
        output::line(&format!("mailbox: http://{address}/console/mailbox"))?;
    }
    Ok(())
}

/// The configured secret key, else the one that `dev` made beside this database.
pub(super) fn keyring(context: &Context) -> anyhow::Result<Keyring> {
    if let Some(keys) = context.config.keyring() {
        return Ok(keys);
    }
    let missing = "SIGNALPOST_SECRET_KEY is required, since `signalpost dev` has made none here; \
                   `openssl rand -base64 32` makes one, which every process must share";
    let kept = fs::read_to_string(directory(context).join(KEPT));
    let kept = kept.map_err(|_| WrongConfiguration(missing.to_owned()))?;
    let kept: Kept = serde_json::from_str(&kept).context("what `signalpost dev` kept cannot be read")?;
    let secret = SecretKey::from_base64(&kept.secret_key).context("the kept secret key cannot be read")?;
    Ok(Keyring::new(&secret, &[]))
}

/// The project `default` with its member, and the API key.
async fn prepare(
    context: &Context,
    store: &Store,
    (keys, public): (&Keyring, &PublicUrl),
    kept: &Kept,
) -> anyhow::Result<()> {
    let now = context.clock.now();
    let applying =
        Applying { store, keys, now, public_host: public.host(), environment: &context.environment };
    project_file::ensure_default(&applying).await.context("the project `default` could not be made")?;
    let mut c = store.write().await?;
    let project: Option<ProjectId> = db!(c, catalogue::project_id(PROJECT))?;
    let project = project.context("the project `default` is missing")?;
    let key = ApiKey::parse(&kept.api_key).context("the kept API key cannot be read")?;
    let known: Option<StoredKey> = db!(c, keys::find(&key.hash()))?;
    if known.is_none() {
        let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        let row = StoredKey {
            id: id::new_at(now),
            project_id: project.0,
            name: "dev".to_owned(),
            scopes: serde_json::to_string(&scopes)?,
            created_at: now,
            revoked_at: None,
        };
        db!(c, keys::insert(&row, &key.hash()))?;
    }
    drop(c);
    make_operator(store, kept, now).await
}

/// The operator who is told of, unless there is one already.
async fn make_operator(store: &Store, kept: &Kept, now: DateTime<Utc>) -> anyhow::Result<()> {
    let mut c = store.write().await?;
    let operators: Vec<StoredOperator> = db!(c, operators::list())?;
    if operators.iter().any(|one| one.email == OPERATOR) {
        return Ok(());
    }
    let password = Password::new(kept.operator_password.clone());
    let hash = password::hash(&password).context("the operator's password could not be hashed")?;
    let (id, email, role) = (OperatorId::new_at(now).0, OPERATOR.to_owned(), "owner".to_owned());
    let row = StoredOperator { id, email, role, created_at: now };
    db!(c, operators::insert(&row, (OPERATOR, &hash)))?;
    Ok(())
}

/// Beside the SQLite file; with another database, where the default one would be.
fn directory(context: &Context) -> PathBuf {
    let url = context.config.database_url.expose();
    let file = url.strip_prefix("sqlite://").map(|file| file.split('?').next().unwrap_or(file));
    let parent = file.map(Path::new).and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from(".signalpost"), Path::to_path_buf)
}

impl Kept {
    fn read_or_make(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join(KEPT);
        if let Ok(text) = fs::read_to_string(&file) {
            return serde_json::from_str(&text).with_context(|| format!("{} cannot be read", file.display()));
        }
        let mut rng = rand::rng();
        let password = ApiKey::generate(&mut rng).expose().chars().skip(3).take(20).collect();
        let kept = Self {
            secret_key: SecretKey::random(&mut rng).to_base64(),
            api_key: ApiKey::generate(&mut rng).expose().to_owned(),
            operator_password: password,
        };
        fs::create_dir_all(directory)?;
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        let text = serde_json::to_string_pretty(&kept)?;
        made.and_then(|mut made| made.write_all(text.as_bytes()))
            .with_context(|| format!("{} could not be written", file.display()))?;
        Ok(kept)
    }
}
