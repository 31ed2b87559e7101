//! Replies to our mails, as a mail server or a mailbox reader brings them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as From};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::inbound::MAX_MESSAGE;
use crate::pipeline::replies::{Replies, ReplyError};
use crate::web::State;
use crate::web::caller::{Caller, EventsWrite};
use crate::web::error::Problem;
use crate::web::extract::{Params, media_type, read_body};

/// Messages that are held at once: each takes as much memory as it is large.
const AT_ONCE: usize = 4;
static READERS: Semaphore = Semaphore::const_new(AT_ONCE);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope {
    recipient: Option<String>,
}

/// `POST /v1/inbound?recipient=`: one message (RFC 5322).
pub(super) async fn post(
    caller: Caller<EventsWrite>,
    From(state): From<Arc<State>>,
    Params(envelope): Params<Envelope>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    if media_type(request.headers()).as_deref() != Some("message/rfc822") {
        return Err(Problem::UnsupportedMediaType("message/rfc822"));
    }
    let replies = Replies {
        store: state.store.clone(),
        clock: state.clock.clone(),
        keys: state.keys.clone(),
        live: state.live.clone(),
        intake: state.intake.clone(),
        reach: state.reach.clone(),
    };
    let project = caller.project.id;
    let permit = READERS.acquire().await.map_err(|_| Problem::Unavailable)?;
    let message = read_body(request.into_body(), MAX_MESSAGE).await?;
    let reading = replies.read(project, message).await.map_err(problem)?;
    drop(permit);
    let recipient = envelope.recipient.as_deref().filter(|recipient| !recipient.is_empty());
    let received = replies.receive(project, recipient, reading).await.map_err(problem)?;
    Ok(Json(received.shown()))
}

fn problem(error: ReplyError) -> Problem {
    match error {
        ReplyError::Store(error) => error.into(),
        ReplyError::Unavailable(error) => error.into(),
    }
}
