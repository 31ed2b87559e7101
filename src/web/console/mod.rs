//! The console. So far the mailbox alone, which is open to whoever is at this machine and therefore mounted
//! only in `dev`.

mod local;
mod mailbox;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::get;

use super::State;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/console", get(async || Redirect::to("/console/mailbox")))
        .route("/console/mailbox", get(mailbox::list))
        .route("/console/mailbox/{dispatch}", get(mailbox::show))
        .route_layer(from_fn(local::only))
}
