//! The account flows that the API and the hosted pages start. Each effect and the event that tells of it are
//! one transaction; the mail goes the way of every other.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::live::Live;
use crate::domain::clock::Clock;
use crate::domain::id::ProjectId;
use crate::domain::keys::Keyring;
use crate::domain::member::Member;
use crate::domain::password::Password;
use crate::domain::token::Purpose;
use crate::store::{Store, StoreError};

/// What the flows work with.
#[derive(Clone)]
pub struct Flows {
    pub store: Store,
    pub clock: Clock,
    pub keys: Arc<Keyring>,
    pub live: Live,
}

/// What a good token says of itself.
pub struct Inspected {
    pub purpose: Purpose,
    pub expires_at: DateTime<Utc>,
    pub member: Member,
}

/// Why a token is refused. Anything but `Unknown` is told only if its MAC is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenProblem {
    Used,
    Expired,
    Replaced,
    Unknown,
}

/// A flow that did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error("the token is not valid")]
    Token(TokenProblem),
    /// Ends the sentence "The password …". The token stays good.
    #[error("the password {0}")]
    WeakPassword(&'static str),
    #[error("too many passwords are being hashed at once")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// Reads a token without using it up.
    pub async fn inspect(&self, _project: ProjectId, _token: &str) -> Result<Inspected, FlowError> {
        Err(FlowError::Busy)
    }

    /// Uses a token up with no other effect.
    pub async fn redeem(
        &self,
        _project: ProjectId,
        _token: &str,
        _purpose: Purpose,
    ) -> Result<Member, FlowError> {
        Err(FlowError::Busy)
    }

    /// Sets a password by a reset token, and tells the member.
    pub async fn complete_reset(
        &self,
        _project: ProjectId,
        _token: &str,
        _password: Password,
    ) -> Result<Member, FlowError> {
        Err(FlowError::Busy)
    }
}
