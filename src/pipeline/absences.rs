//! Step 2, pure: automatic replies of members who are away. Below the project's limit they are warned, at the limit
//! they are set on vacation. A reply counts once for the mail that it answers, and one to a mail of this kind
//! not at all, or one real absence would switch the member off.

use std::collections::HashSet;

use uuid::Uuid;

use super::accounts::{Accounts, MemberKey};
use crate::domain::change::Absence;

/// Why a reply is kept and not counted.
const ON_VACATION: &str = "on-vacation";
const COUNTED_BEFORE: &str = "counted-before";
const ANSWERS_A_WARNING: &str = "answers-a-warning";

/// The mails that tell a member of their absence.
pub const ABOUT_ABSENCE: [&str; 2] = ["account.out-of-office-warned", "account.on-vacation"];

/// What is known of the mails that the replies of a batch answer.
#[derive(Default)]
pub struct Answered {
    /// Those that were counted for a member, in the database or in this batch.
    counted: HashSet<(MemberKey, String)>,
    /// Dispatches that tell of an absence.
    about_absence: HashSet<Uuid>,
    /// Counted in this batch.
    pub new: Vec<(MemberKey, String)>,
}

impl Answered {
    pub fn new(counted: HashSet<(MemberKey, String)>, about_absence: HashSet<Uuid>) -> Self {
        Self { counted, about_absence, new: Vec::new() }
    }
}

/// What a reply came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Counted {
    /// So many in a row, below the limit.
    Warned(i32),
    /// So many, and the member is on vacation now.
    OnVacation(i32),
    /// Not counted, for that reason.
    Not(&'static str),
}

impl Accounts {
    /// Counts a reply of a member.
    pub fn count_absence(&mut self, key: &MemberKey, absence: &Absence, limit: u32) -> Counted {
        let Some(entry) = self.members.get_mut(key).filter(|entry| !entry.member.on_vacation) else {
            return Counted::Not(ON_VACATION);
        };
        if absence.dispatch.is_some_and(|dispatch| self.answered.about_absence.contains(&dispatch.0)) {
            return Counted::Not(ANSWERS_A_WARNING);
        }
        if let Some(answered) = &absence.answered {
            if !self.answered.counted.insert((key.clone(), answered.clone())) {
                return Counted::Not(COUNTED_BEFORE);
            }
            self.answered.new.push((key.clone(), answered.clone()));
        }
        entry.dirty = true;
        entry.member.auto_replies = entry.member.auto_replies.saturating_add(1);
        let count = entry.member.auto_replies;
        if count.unsigned_abs() < limit {
            return Counted::Warned(count);
        }
        entry.member.on_vacation = true;
        Counted::OnVacation(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{ACME, at};
    use super::*;
    use crate::domain::address::EmailAddress;
    use crate::domain::change::Profile;
    use crate::domain::id::DispatchId;
    use crate::domain::member::MemberRef;

    fn ada() -> (Accounts, MemberKey) {
        let mut accounts = Accounts::default();
        let email = EmailAddress::parse("ada@example.com").unwrap();
        let ada = Profile { id: Some("mem_ada".to_owned()), email: Some(email), ..Profile::default() };
        accounts.put(ACME, &ada, at(0), Some("mem_new")).unwrap();
        (accounts, (ACME, "mem_ada".to_owned()))
    }

    fn reply_to(dispatch: u128) -> Absence {
        let dispatch = DispatchId(Uuid::from_u128(dispatch));
        Absence { matched: None, answered: Some(dispatch.to_string()), dispatch: Some(dispatch) }
    }

    #[test]
    fn a_member_is_warned_below_the_limit_and_on_vacation_at_it_once_for_each_mail_answered() {
        let (mut accounts, ada) = ada();
        accounts.answered =
            Answered::new([(ada.clone(), reply_to(1).answered.unwrap())].into(), [Uuid::from_u128(9)].into());
        let mut count = |dispatch| accounts.count_absence(&ada, &reply_to(dispatch), 3);
        assert_eq!(count(1), Counted::Not(COUNTED_BEFORE));
        assert_eq!(count(9), Counted::Not(ANSWERS_A_WARNING));
        assert_eq!(count(2), Counted::Warned(1));
        assert_eq!(count(2), Counted::Not(COUNTED_BEFORE));
        assert_eq!(count(3), Counted::Warned(2));
        assert_eq!(count(4), Counted::OnVacation(3));
        assert_eq!(count(5), Counted::Not(ON_VACATION));
        assert_eq!(accounts.answered.new.len(), 3);
    }

    #[test]
    fn a_sign_of_life_starts_again_at_zero() {
        let (mut accounts, ada) = ada();
        assert_eq!(accounts.count_absence(&ada, &reply_to(1), 2), Counted::Warned(1));
        accounts.sign_of_life(ACME, &MemberRef::Id("mem_ada".to_owned())).unwrap();
        assert_eq!(accounts.count_absence(&ada, &reply_to(2), 2), Counted::Warned(1));
    }
}
