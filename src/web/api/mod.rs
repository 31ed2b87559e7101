//! The JSON API. The table below is every route that needs a key, with the scope that it needs; a test holds
//! the handlers against it.

mod administrators;
mod audit;
mod automation_body;
mod automations;
mod changing;
mod dead_letters;
mod dispatches;
mod email_changes;
mod event_types;
mod events;
mod inbound;
mod integrations;
mod members;
mod paging;
mod password_resets;
mod passwords;
mod project;
mod samples;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, patch, post, put};

use super::State;
use super::caller::{AccountsWrite, AutomationsWrite, EventsWrite, IntegrationsWrite, Needs, Read};
use crate::domain::api_key::Scope;

pub(super) use members::find as find_member;
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
    post "/v1/events/{id}/replay"       EventsWrite   events::replay;
    post "/v1/inbound"                  EventsWrite   inbound::post;
    get  "/v1/dead-letters"             Read          dead_letters::list;
    get  "/v1/dead-letters/{id}"        Read          dead_letters::get;
    post "/v1/dead-letters/replay"      EventsWrite   dead_letters::replay;
    post "/v1/dead-letters/discard"     EventsWrite   dead_letters::discard;
    get  "/v1/dispatches"               Read          dispatches::list;
    post "/v1/dispatches/retry"         EventsWrite   dispatches::retry;
    post "/v1/dispatches/cancel"        EventsWrite   dispatches::cancel;
    get  "/v1/dispatches/{id}"          Read          dispatches::get;
    get    "/v1/members"                           Read          members::list;
    post   "/v1/members"                           AccountsWrite members::create;
    get    "/v1/members/{member}"                  Read          members::get;
    patch  "/v1/members/{member}"                  AccountsWrite members::edit;
    delete "/v1/members/{member}"                  AccountsWrite members::delete;
    get    "/v1/members/{member}/tokens"           Read          tokens::list;
    delete "/v1/members/{member}/tokens"           AccountsWrite tokens::revoke;
    post   "/v1/members/{member}/email"            AccountsWrite email_changes::request;
    put    "/v1/members/{member}/password"         AccountsWrite passwords::change;
    post   "/v1/members/{member}/verify-password"  AccountsWrite passwords::verify;
    post   "/v1/email-changes/confirm"             AccountsWrite email_changes::confirm;
    post   "/v1/email-changes/undo"                AccountsWrite email_changes::undo;
    post   "/v1/administrators"                    AccountsWrite administrators::create;
    post "/v1/password-resets"          AccountsWrite password_resets::request;
    post "/v1/password-resets/force"    AccountsWrite password_resets::force;
    post "/v1/password-resets/complete" AccountsWrite password_resets::complete;
    post "/v1/tokens/inspect"           AccountsWrite tokens::inspect;
    post "/v1/tokens/redeem"            AccountsWrite tokens::redeem;
    get  "/v1/integrations"             Read          integrations::list;
    post "/v1/integrations"             IntegrationsWrite integrations::create;
    get  "/v1/integrations/{id}"        Read          integrations::get;
    put  "/v1/integrations/{id}"        IntegrationsWrite integrations::replace;
    delete "/v1/integrations/{id}"      IntegrationsWrite integrations::retire;
    post "/v1/integrations/{id}/test"   IntegrationsWrite integrations::test;
    post "/v1/integrations/{id}/pause"  IntegrationsWrite changing::pause_integration;
    post "/v1/integrations/{id}/resume" IntegrationsWrite changing::resume_integration;
    get  "/v1/automations"              Read          automations::list;
    post "/v1/automations"              AutomationsWrite automations::create;
    post "/v1/automations/preview"      AutomationsWrite samples::preview;
    get  "/v1/automations/{id}"         Read          automations::get;
    put  "/v1/automations/{id}"         AutomationsWrite automations::replace;
    delete "/v1/automations/{id}"       AutomationsWrite automations::retire;
    get  "/v1/automations/{id}/versions" Read         automations::versions;
    post "/v1/automations/{id}/versions/{n}/restore" AutomationsWrite automations::restore;
    post "/v1/automations/{id}/test"    AutomationsWrite samples::test;
    post "/v1/explain"                  Read          samples::explain_event;
    get  "/v1/templates"                Read          samples::templates;
    post "/v1/automations/{id}/pause"   AutomationsWrite changing::pause_automation;
    post "/v1/automations/{id}/resume"  AutomationsWrite changing::resume_automation;
    get  "/v1/project"                  Read          project::get;
    patch "/v1/project"                 IntegrationsWrite project::patch;
    post "/v1/project/pause"            IntegrationsWrite changing::pause_project;
    post "/v1/project/resume"           IntegrationsWrite changing::resume_project;
    get  "/v1/event-types"              Read          event_types::list;
    get  "/v1/event-types/{type}"       Read          event_types::get;
    put  "/v1/event-types/{type}"       AutomationsWrite event_types::put;
    get  "/v1/audit"                    Read          audit::list;
}
