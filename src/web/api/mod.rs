//! The JSON API. The table below is every route that needs a key, with the scope that it needs; a test holds
//! the handlers against it.

mod audit;
mod dead_letters;
mod dispatches;
mod events;
mod inbound;
mod members;
mod paging;
mod password_resets;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::State;
use super::caller::{AccountsWrite, EventsWrite, Needs, Read};
use crate::domain::api_key::Scope;

pub(super) use tokens::shown as token_shown;

/// A route of the API.
pub struct Route {
    /// In lower case.
    pub method: &'static str,
    pub path: &'static str,
    pub scope: Scope,
}

macro_rules! table {
    ($($method:ident $path:literal $scope:ident $handler:path;)*) => {
        /// Every route that needs a key.
        pub const ROUTES: &[Route] = &[
            $(Route { method: stringify!($method), path: $path, scope: <$scope as Needs>::SCOPE },)*
        ];

        pub(super) fn routes() -> Router<Arc<State>> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

table! {
    post "/v1/events"                   EventsWrite   events::post;
    get  "/v1/events"                   Read          events::list;
    get  "/v1/events/{id}"              Read          events::get;
    post "/v1/inbound"                  EventsWrite   inbound::post;
    get  "/v1/dead-letters"             Read          dead_letters::list;
    get  "/v1/dead-letters/{id}"        Read          dead_letters::get;
    post "/v1/dead-letters/replay"      EventsWrite   dead_letters::replay;
    post "/v1/dead-letters/discard"     EventsWrite   dead_letters::discard;
    get  "/v1/dispatches"               Read          dispatches::list;
    get  "/v1/dispatches/{id}"          Read          dispatches::get;
    get  "/v1/members/{member}"         Read          members::get;
    post "/v1/password-resets"          AccountsWrite password_resets::request;
    post "/v1/password-resets/complete" AccountsWrite password_resets::complete;
    post "/v1/tokens/inspect"           AccountsWrite tokens::inspect;
    post "/v1/tokens/redeem"            AccountsWrite tokens::redeem;
    get  "/v1/audit"                    Read          audit::list;
}
