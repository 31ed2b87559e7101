//! `signalpost export`: a project as a file, without its secrets.

use anyhow::Context as _;

use super::{Context, open_store, output};
use crate::project_file;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Slug of the project
    #[arg(value_name = "PROJECT")]
    project: String,
}

pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let store = open_store(context).await?;
    let text = project_file::export(&store, &args.project).await;
    store.close().await;
    let text = text.with_context(|| format!("project `{}` was not exported", args.project))?;
    output::line(text.trim_end())?;
    Ok(())
}
