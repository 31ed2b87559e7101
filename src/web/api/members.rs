//! Members, as they are shown.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as From;

use crate::domain::id::ProjectId;
use crate::domain::member::{Member, MemberRef};
use crate::store::db;
use crate::web::State;
use crate::web::caller::{Caller, Read};
use crate::web::error::Problem;
use crate::web::extract::{PathName, member_ref};

/// `GET /v1/members/{member}`: by id, username or e-mail address.
pub(super) async fn get(
    caller: Caller<Read>,
    From(state): From<Arc<State>>,
    PathName(name): PathName,
) -> Result<Json<Member>, Problem> {
    let name = member_ref("member", &name)?;
    find(&state, caller.project.id, &name).await.map(Json)
}

/// The live member of that name, or `unknown-member`.
pub(super) async fn find(state: &State, project: ProjectId, name: &MemberRef) -> Result<Member, Problem> {
    let mut c = state.store.read().await?;
    db!(c, members::find(project.0, name))?.ok_or(Problem::UnknownMember)
}
