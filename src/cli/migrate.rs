//! `signalpost migrate`.

use anyhow::Context as _;

use super::{Context, connect, output};
use crate::store::partitions;

pub(super) async fn run(context: &Context) -> anyhow::Result<()> {
    let store = connect(context).await?;
    let missing = store.missing_migrations().await.context("the database's schema could not be looked at")?;
    store.migrate().await.context("the schema could not be brought up")?;
    partitions::ensure(&store, context.clock.now()).await.context("the partitions could not be made")?;
    store.close().await;
    output::line(&match missing {
        0 => "nothing to apply: the schema is up to date".to_owned(),
        1 => "1 migration applied".to_owned(),
        more => format!("{more} migrations applied"),
    })?;
    Ok(())
}
