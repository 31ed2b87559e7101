//! Dead letters of a project replayed or discarded, whichever kind they are: messages where they lie, dispatches in
//! their table, whose copies upkeep then takes away.

use std::collections::HashSet;

use uuid::Uuid;

use super::dead_letters::{Act, DeadLetter, Filter, ListError, Places, Wanted, Which};
use super::rearm::{Rearm, Verdict};
use crate::domain::id::{DeadMessageId, DispatchId, ProjectId};

/// Dispatches looked for in one go.
const PAGE: usize = 1000;
/// There is no letter of this id in the project.
const NOT_FOUND: &str = "not-found";

/// Which letters are meant.
pub enum Chosen {
    Ids(Vec<String>),
    Like(Filter),
}

/// What was done.
#[derive(Default)]
pub struct Dealt {
    /// Ids of the letters that it was done with.
    pub done: Vec<String>,
    /// Of those that it could not be done with, each with a code that says why.
    pub failed: Vec<(String, &'static str)>,
}

/// What letters are dealt with by.
pub struct Hands<'a> {
    pub places: Places<'a>,
    pub rearm: &'a Rearm,
}

impl Hands<'_> {
    /// Replays or discards.
    pub async fn deal(
        &self,
        project: (ProjectId, &str),
        chosen: Chosen,
        act: Act,
    ) -> Result<Dealt, ListError> {
        match chosen {
            Chosen::Ids(ids) => self.some(project, ids, act).await,
            Chosen::Like(filter) => self.all(project, &filter, act).await,
        }
    }

    async fn some(&self, project: (ProjectId, &str), ids: Vec<String>, act: Act) -> Result<Dealt, ListError> {
        let mut dealt = Dealt::default();
        let (mut messages, mut dispatches) = (HashSet::new(), Vec::new());
        for id in ids {
            if let Ok(id) = id.parse::<DeadMessageId>() {
                messages.insert(id);
            } else if let Ok(id) = id.parse::<DispatchId>() {
                dispatches.push(id);
            } else {
                dealt.failed.push((id, NOT_FOUND));
            }
        }
        if !messages.is_empty() {
            let ids = Some(messages.clone());
            let wanted = Wanted { project: Some(project.1.to_owned()), ids, ..Wanted::default() };
            for letter in self.places.messages.ask(wanted, act).await? {
                messages.remove(&letter.id);
                dealt.done.push(letter.id.to_string());
            }
            dealt.failed.extend(messages.into_iter().map(|id| (id.to_string(), NOT_FOUND)));
        }
        self.dispatches(project.0, &dispatches, (act, &mut dealt)).await?;
        Ok(dealt)
    }

    async fn all(&self, project: (ProjectId, &str), filter: &Filter, act: Act) -> Result<Dealt, ListError> {
        let mut dealt = Dealt::default();
        if filter.which != Some(Which::Dispatch) {
            let done = self.places.messages.ask(filter.messages(Some(project.1)), act).await?;
            dealt.done.extend(done.into_iter().map(|letter| letter.id.to_string()));
        }
        let (mut ids, mut before) = (Vec::new(), None);
        loop {
            let page = self.places.dispatches((project.0.0, project.1), filter, (before, PAGE)).await?;
            before = page.last().map(DeadLetter::key);
            ids.extend(page.iter().map(|letter| DispatchId(letter.key())));
            if page.len() < PAGE {
                break;
            }
        }
        self.dispatches(project.0, &ids, (act, &mut dealt)).await?;
        Ok(dealt)
    }

    async fn dispatches(
        &self,
        project: ProjectId,
        ids: &[DispatchId],
        (act, dealt): (Act, &mut Dealt),
    ) -> Result<(), ListError> {
        if ids.is_empty() {
            return Ok(());
        }
        let verdicts = match act {
            Act::Replay => self.rearm.replay(project, ids).await?,
            Act::Discard => self.rearm.discard(project, ids).await?,
            Act::Look { .. } | Act::Glance => return Ok(()),
        };
        for (id, verdict) in verdicts {
            match verdict {
                Verdict::Done | Verdict::Asked => dealt.done.push(id.to_string()),
                Verdict::Unknown => dealt.failed.push((id.to_string(), NOT_FOUND)),
                other => dealt.failed.push((id.to_string(), other.name())),
            }
        }
        Ok(())
    }
}

/// The project of a dispatch, and its letter: for whoever may see every project.
pub async fn find_dispatch(
    places: &Places<'_>,
    projects: &[(Uuid, String)],
    id: DispatchId,
) -> Result<Option<DeadLetter>, ListError> {
    for (project, slug) in projects {
        if let Some(letter) = places.dispatch((*project, slug), id).await? {
            return Ok(Some(letter));
        }
    }
    Ok(None)
}
