//! Step 2, pure: the tokens of a batch's members. One for each purpose, and for the undo of an e-mail change one
//! for each address that was left, or a thief's second change would end the owner's undo.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::accounts::{Accounts, MemberKey};
use crate::domain::id::ProjectId;
use crate::domain::token::Purpose;
use crate::store::rows::StoredToken;

/// Publishers often tell whole seconds only: a request is taken to be from before a change of the account
/// when it is so much older.
pub(super) const COARSE: TimeDelta = TimeDelta::seconds(1);

/// Member, purpose and scope.
pub(super) type SlotKey = (MemberKey, Purpose, String);

/// The one token that a member can have for a purpose and scope.
#[derive(Default)]
pub(super) struct Slot {
    requested_at: Option<DateTime<Utc>>,
    stored: Option<(Uuid, Vec<Uuid>)>,
    /// The event of this batch that issues it, if any.
    issued_by: Option<usize>,
    /// As it was read.
    read: Option<ReadToken>,
    /// The event that asked last, of those that were there before the batch, or are replayed in it.
    asked_by: Option<Uuid>,
}

/// A token as it was read, for an event that is replayed.
pub(super) struct ReadToken {
    pub(super) id: Uuid,
    pub(super) is_live: bool,
    pub(super) dispatches: Vec<Uuid>,
    pub(super) payload: String,
}

/// Which tokens a change ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Those that were requested before the change.
    Earlier,
    /// Every one that there is.
    All,
}

/// What asking for a token came to.
#[derive(Debug, PartialEq)]
pub enum Request {
    /// It is issued, in place of the one before it.
    Issued,
    /// A later request, or a change of the account, was there before.
    Superseded,
}

impl Accounts {
    pub(super) fn keep_slot(&mut self, token: StoredToken) {
        let Some(purpose) = Purpose::from_name(&token.purpose) else { return };
        let is_live = token.used_at.is_none() && token.ended_at.is_none();
        let dispatches: Vec<Uuid> = serde_json::from_str(&token.dispatches).unwrap_or_default();
        let (id, event, payload) = (token.id, token.event_id, token.payload);
        let slot = Slot {
            requested_at: Some(token.requested_at),
            stored: is_live.then(|| (id, dispatches.clone())),
            issued_by: None,
            read: Some(ReadToken { id, is_live, dispatches, payload }),
            asked_by: Some(event),
        };
        self.slots.insert(((ProjectId(token.project_id), token.member_id), purpose, token.scope), slot);
    }

    /// The token that an event issued, whatever became of it, unless another was issued in its place.
    pub(super) fn token_of(&self, key: &SlotKey, event: Uuid) -> Option<&ReadToken> {
        self.slots.get(key).filter(|slot| slot.asked_by == Some(event))?.read.as_ref()
    }

    /// Asks for a token again, for an event that is replayed: what another asked for in the same moment stays.
    pub(super) fn request_again(&mut self, key: &SlotKey, time: DateTime<Utc>, event: Uuid) -> Request {
        let asked = self.slots.get(key).and_then(|slot| Some((slot.requested_at?, slot.asked_by?)));
        if asked.is_some_and(|(newest, by)| by != event && newest >= time) {
            return Request::Superseded;
        }
        let (member, purpose, scope) = key;
        let request = self.request_token((member, *purpose, scope), time, 0);
        if let (Request::Issued, Some(slot)) = (&request, self.slots.get_mut(key)) {
            slot.asked_by = Some(event);
        }
        request
    }

    /// Ends tokens of the member by a change of that time, and takes away the mails that carry them.
    pub fn end_tokens(
        &mut self,
        key: &MemberKey,
        time: DateTime<Utc>,
        (which, purposes): (Which, &[Purpose]),
    ) {
        for purpose in purposes {
            let first = (key.clone(), *purpose, String::new());
            let of_purpose =
                self.slots.range_mut(first..).take_while(|(at, _)| at.0 == *key && at.1 == *purpose);
            for (_, slot) in of_purpose {
                if which == Which::Earlier && slot.requested_at.is_some_and(|requested| requested > time) {
                    continue;
                }
                self.losers.extend(slot.issued_by.take().map(|event| (event, *purpose)));
                if let Some((id, dispatches)) = slot.stored.take() {
                    self.ended.push(id);
                    self.unwanted.extend(dispatches);
                }
            }
        }
        if let Some(entry) = self.members.get_mut(key) {
            entry.member.tokens_ended_at = entry.member.tokens_ended_at.max(Some(time));
            entry.dirty = true;
        }
    }

    /// Asks for the member's token of a purpose and scope, for the event of that place in the batch.
    pub fn request_token(
        &mut self,
        (key, purpose, scope): (&MemberKey, Purpose, &str),
        time: DateTime<Utc>,
        event: usize,
    ) -> Request {
        let ended = self.members.get(key).and_then(|entry| entry.member.tokens_ended_at);
        // The way back to an address is not ended by a change of the account, which a thief would make.
        let ended = ended.filter(|_| purpose != Purpose::UndoEmailChange);
        let slot = self.slots.entry((key.clone(), purpose, scope.to_owned())).or_default();
        if slot.requested_at.is_some_and(|newest| newest > time)
            || ended.is_some_and(|ended| ended > time + COARSE)
        {
            return Request::Superseded;
        }
        slot.requested_at = Some(time);
        if let Some((_, dispatches)) = &mut slot.stored {
            self.unwanted.append(dispatches);
        }
        self.losers.extend(slot.issued_by.replace(event).map(|loser| (loser, purpose)));
        Request::Issued
    }
}
