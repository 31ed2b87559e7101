//! Which dispatch a reply answers, and through which integration a person's reply is passed on. A signed return or
//! reply path first, since nobody else can make one; then the Message-IDs that the message names. Must not know what
//! follows from it.

use std::sync::Arc;

use uuid::Uuid;

use super::replies::{Replies, ReplyError};
use crate::domain::address::fold;
use crate::domain::catalogue::{Catalogue, Integration};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::inbound::{Failure, Judgement, Letter, Reply, judge};
use crate::mail::return_path;
use crate::store::shown::AnsweredDispatch;
use crate::store::{StoreError, db};

const NO_DISPATCH: &str = "it answers no mail that is known here";
const NO_INTEGRATION: &str = "the integration that sent the mail is gone";
const NO_REPLY_PATH: &str =
    "the integration has no `reply_path`, so replies go to its `reply_to` by themselves";

/// What is taken out of a message before anybody is asked about it. No `Debug`: people wrote it.
pub struct Reading {
    pub judgement: Judgement,
    pub(super) recipients: Vec<String>,
    pub(super) ids: Vec<String>,
    pub(super) failure: Option<Failure>,
    pub(super) reply: Reply,
}

impl Reading {
    /// Takes the time that a message of its size needs.
    pub fn of(octets: &[u8], phrases: &[String]) -> Self {
        let letter = Letter::read(octets);
        Self {
            judgement: judge(&letter, phrases),
            recipients: letter.recipients(),
            ids: letter.answered_ids(),
            failure: letter.failure(),
            reply: letter.reply(),
        }
    }
}

/// What a reply answers.
#[derive(Default)]
pub(super) struct Correlated {
    pub(super) dispatch: Option<AnsweredDispatch>,
    /// The address it came to, which nobody else can make.
    pub(super) path: Option<String>,
}

impl Replies {
    /// What a reply answers, of the project or of any.
    pub(super) async fn answered(
        &self,
        project: Option<ProjectId>,
        recipient: Option<&str>,
        reading: &Reading,
    ) -> Result<Correlated, ReplyError> {
        let is_ours = |row: &&AnsweredDispatch| project.is_none_or(|project| project.0 == row.project_id);
        let written = || reading.recipients.clone();
        let recipients = recipient.map_or_else(written, |recipient| vec![recipient.to_owned()]);
        let signed = |path: &String| Some((return_path::read(&self.keys, path)?, path.clone()));
        if let Some((dispatch, path)) = recipients.iter().find_map(signed) {
            let found = self.find(&[dispatch.0]).await?.pop();
            if found.as_ref().is_some_and(|row| !is_ours(&row)) {
                return Ok(Correlated::default());
            }
            return Ok(Correlated { dispatch: found, path: Some(path) });
        }
        let named: Vec<(Uuid, &str)> =
            reading.ids.iter().filter_map(|id| Some((dispatch_in(id)?, id.as_str()))).collect();
        if named.is_empty() {
            return Ok(Correlated::default());
        }
        let ids: Vec<Uuid> = named.iter().map(|(dispatch, _)| *dispatch).collect();
        let rows = self.find(&ids).await?;
        let is_it = |row: &&AnsweredDispatch, (dispatch, id): (Uuid, &str)| {
            row.id == dispatch && row.message_id.trim_matches(['<', '>']) == id && is_ours(row)
        };
        // The likeliest first.
        let found = named.into_iter().find_map(|named| rows.iter().find(|row| is_it(row, named)));
        Ok(Correlated { dispatch: found.cloned(), path: None })
    }

    async fn find(&self, dispatches: &[Uuid]) -> Result<Vec<AnsweredDispatch>, StoreError> {
        let mut c = self.store.read().await?;
        db!(c, work::answered(dispatches))
    }
}

/// Through which integration a person's reply is passed on: the one that sent the mail, if its replies come to us.
/// Also when the mail is forgotten, if the address tells; else why not.
pub(super) fn integration<'a>(
    catalogue: &'a Catalogue,
    project: Option<ProjectId>,
    answered: &Correlated,
) -> Result<&'a Integration, &'static str> {
    if let Some(row) = &answered.dispatch {
        let found = catalogue.integrations.get(&IntegrationId(row.integration_id)).ok_or(NO_INTEGRATION)?;
        let comes_to_us = answered.path.is_some() || found.reply_path.is_some();
        return if comes_to_us { Ok(found) } else { Err(NO_REPLY_PATH) };
    }
    let path = answered.path.as_deref().and_then(return_path::unsigned).ok_or(NO_DISPATCH)?;
    let is_it = |one: &&Arc<Integration>| {
        let is_named = one.reply_path.as_deref().is_some_and(|other| fold(other) == fold(&path));
        is_named && !one.retired && project.is_none_or(|project| project == one.project_id)
    };
    let mut found = catalogue.integrations.values().filter(is_it);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(NO_DISPATCH),
    }
}

/// The dispatch in a Message-ID of ours.
fn dispatch_in(message_id: &str) -> Option<Uuid> {
    let (id, _) = message_id.split_once('.')?;
    Some(id).filter(|id| id.len() == 32).and_then(|id| Uuid::try_parse(id).ok())
}
