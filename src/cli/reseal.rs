//! `signalpost reseal`: after the secret key was changed, seals anew with it what older keys sealed, and says what
//! still depends on those: tokens until they expire.

use anyhow::{Context as _, bail};
use uuid::Uuid;

use super::{Context, open_store, output};
use crate::domain::id::DispatchId;
use crate::domain::integration;
use crate::domain::keys::{Keyring, Resealed};
use crate::mail::capture;
use crate::store::{Store, StoreError, db};

/// Captured mails that are sealed anew at once.
const PAGE: i64 = 200;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only tell what would be sealed anew
    #[arg(long)]
    dry_run: bool,
}

/// How many.
#[derive(Default)]
struct Count {
    anew: usize,
    current: usize,
    unreadable: Vec<String>,
}

impl Count {
    /// What is to be stored.
    fn add(&mut self, name: impl Fn() -> String, resealed: Resealed) -> Option<Vec<u8>> {
        match resealed {
            Resealed::Current => self.current += 1,
            Resealed::Unreadable => self.unreadable.push(name()),
            Resealed::Anew(sealed) => {
                self.anew += 1;
                return Some(sealed);
            }
        }
        None
    }

    fn tell(&self, what: &str, dry_run: bool) -> anyhow::Result<()> {
        let done = if dry_run { "would be sealed anew" } else { "sealed anew" };
        output::line(&format!("{what}: {} {done}, {} were current", self.anew, self.current))?;
        self.unreadable
            .iter()
            .for_each(|name| output::tell(&format!("{name} opens with none of the secret keys")));
        Ok(())
    }
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let keys = super::dev::keyring(context)?;
    let store = open_store(context).await?;
    let passwords =
        passwords(&store, &keys, args.dry_run).await.context("passwords could not be sealed anew")?;
    passwords.tell("passwords", args.dry_run)?;
    let mails = mails(&store, &keys, args.dry_run).await.context("captured mail could not be sealed anew")?;
    mails.tell("captured mails", args.dry_run)?;
    let mut c = store.read().await?;
    for (key, count, until) in db!(c, tokens::good_by_key(context.clock.now()))? {
        if key != keys.current_id() {
            let until = until.format("%F %T");
            output::line(&format!(
                "tokens: {count} of an older key are good until {until} UTC; keep it until then"
            ))?;
        }
    }
    drop(c);
    store.close().await;
    let unreadable = passwords.unreadable.len() + mails.unreadable.len();
    if unreadable > 0 {
        bail!("{unreadable} could not be read: is a key missing in SIGNALPOST_SECRET_KEYS_OLD?");
    }
    Ok(())
}

async fn passwords(store: &Store, keys: &Keyring, dry_run: bool) -> Result<Count, StoreError> {
    let mut count = Count::default();
    let mut tx = store.begin().await?;
    db!(tx, catalogue::raise_revision())?;
    for one in db!(tx, integrations::all())? {
        let Some(server) = integration::server(&one) else { continue };
        let Some(old) = &server.sealed_password else { continue };
        let resealed = keys.reseal(&server.seal_place(one.id, one.project_id), old, &mut rand::rng());
        let name = || format!("the password of integration {} ({})", one.name, one.id);
        if let Some(new) = count.add(name, resealed) {
            db!(tx, integrations::reseal(one.project_id, one.id, (old, &new)))?;
        }
    }
    if dry_run || count.anew == 0 {
        tx.rollback().await?;
    } else {
        tx.commit().await?;
    }
    Ok(count)
}

async fn mails(store: &Store, keys: &Keyring, dry_run: bool) -> Result<Count, StoreError> {
    let (mut count, mut after) = (Count::default(), Uuid::nil());
    loop {
        let mut c = store.write().await?;
        let page = db!(c, captures::sealed_after(after, PAGE))?;
        let Some(last) = page.last() else { return Ok(count) };
        after = last.dispatch_id;
        for mail in &page {
            let id = DispatchId(mail.dispatch_id);
            let resealed = keys.reseal(&capture::place(id), &mail.sealed, &mut rand::rng());
            if let Some(new) = count.add(|| format!("the captured mail of {id}"), resealed)
                && !dry_run
            {
                db!(c, captures::reseal(mail.dispatch_id, (&mail.sealed, &new)))?;
            }
        }
    }
}
