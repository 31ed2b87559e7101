//! Balancing the ledger: every rule that a campaign must keep, one function a rule.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dispatch, Expect, Ledger, Letter};

/// What is allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// How many sends were between the final dot and the commit of its answer when something was killed or
    /// cut. So many mails may have a second copy (with the same Message-ID), or belong to a dispatch that
    /// does not say `sent`.
    pub uncertain: usize,
    /// Every mail must carry a token.
    pub tokens: bool,
}

/// What a balanced ledger holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub events: usize,
    pub mails: usize,
    /// Second copies, and mails whose dispatch does not say `sent`: at most [`Rules::uncertain`].
    pub uncertain: usize,
    pub refused: usize,
    pub sent: usize,
    pub dead: usize,
    pub cancelled: usize,
}

/// Something wrong. `event` is the publisher's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Published, and nothing to show for it.
    Lost { event: String, recipient: String },
    /// The dispatch says `sent`, and no mailbox has the mail.
    SentToNobody { event: String, dispatch: String },
    /// More mails to one recipient than one, with different Message-IDs.
    Doubled { event: String, recipient: String, message_ids: Vec<String> },
    /// More second copies, or mails whose dispatch does not say `sent`, than uncertain sends.
    TooManyUncertain { allowed: usize, events: Vec<String> },
    /// The dispatch is neither sent, dead nor cancelled.
    Stranded { event: String, dispatch: String, state: String },
    /// One event was planned twice for the same recipient and template.
    PlannedTwice { event: String, recipient: String },
    /// A mail, a dispatch or a refusal of an event that nobody published.
    Unknown { what: String },
    /// The mail of an event went to somebody else.
    Misdirected { event: String, recipient: String },
    /// One token in the mails of two events.
    TokenShared { events: Vec<String> },
    /// Mails of one event carry different tokens.
    TokenChanged { event: String },
    /// A mail without a token.
    TokenMissing { event: String },
    /// One Message-ID on the mails or dispatches of two events.
    MessageIdShared { message_id: String, events: Vec<String> },
    /// No Message-ID at all.
    MessageIdMissing { event: String },
    /// Refused, though it was right.
    WronglyRefused { event: String },
    /// Not refused, though it was wrong.
    NotRefused { event: String },
    /// More refused messages than were published.
    RefusedTooOften { event: String, times: usize },
    /// A mail that nothing asked for.
    Uncalled { event: String },
}

/// The ledger with its mails assigned to events.
struct Books<'a> {
    ledger: &'a Ledger,
    mails: BTreeMap<&'a str, Vec<&'a Letter>>,
    dispatches: BTreeMap<&'a str, Vec<&'a Dispatch>>,
    found: Vec<Violation>,
}

pub fn check(ledger: &Ledger, rules: Rules) -> Result<Summary, Vec<Violation>> {
    let mut books = Books::open(ledger);
    books.unpublished();
    for event in ledger.events.keys() {
        books.fate(event);
        books.copies(event);
        books.plans(event);
        books.contents(event, rules);
    }
    books.shared();
    let uncertain = books.uncertain(rules);
    if !books.found.is_empty() {
        return Err(books.found);
    }
    let in_state = |state| ledger.dispatches.iter().filter(|dispatch| dispatch.state == state).count();
    Ok(Summary {
        events: ledger.events.len(),
        mails: ledger.letters.len(),
        uncertain,
        refused: ledger.refusals.values().sum(),
        sent: in_state("sent"),
        dead: in_state("dead"),
        cancelled: in_state("cancelled"),
    })
}

impl<'a> Books<'a> {
    /// A mail belongs to the event whose dispatch has its Message-ID, else to the only one published for its
    /// recipient.
    fn open(ledger: &'a Ledger) -> Self {
        let mut books =
            Self { ledger, mails: BTreeMap::new(), dispatches: BTreeMap::new(), found: Vec::new() };
        let mut by_message_id = BTreeMap::new();
        for dispatch in &ledger.dispatches {
            books.dispatches.entry(dispatch.event.as_str()).or_default().push(dispatch);
            if let Some(message_id) = &dispatch.message_id {
                by_message_id.insert(message_id.as_str(), dispatch.event.as_str());
            }
        }
        let mut by_recipient = BTreeMap::<&str, Vec<&str>>::new();
        for (id, event) in &ledger.events {
            for recipient in &event.recipients {
                by_recipient.entry(recipient).or_default().push(id);
            }
        }
        for letter in &ledger.letters {
            let named = by_message_id.get(letter.message_id.as_str()).copied();
            let only = by_recipient.get(letter.recipient.as_str()).filter(|events| events.len() == 1);
            match named.or(only.map(|events| events[0])) {
                Some(event) => books.mails.entry(event).or_default().push(letter),
                None => books.unknown(format!("mail {} to {}", letter.message_id, letter.recipient)),
            }
        }
        books
    }

    fn unknown(&mut self, what: String) {
        self.found.push(Violation::Unknown { what });
    }

    fn unpublished(&mut self) {
        let of_ledger = self.ledger.refusals.keys().chain(self.ledger.outcomes.keys()).map(String::as_str);
        let ids: BTreeSet<_> = of_ledger.chain(self.dispatches.keys().copied()).collect();
        for id in ids.into_iter().filter(|id| !self.ledger.events.contains_key(*id)) {
            self.unknown(format!("event {id}"));
        }
    }

    fn mails_of(&self, event: &str) -> &[&'a Letter] {
        self.mails.get(event).map_or(&[], Vec::as_slice)
    }

    fn dispatches_of(&self, event: &str) -> &[&'a Dispatch] {
        self.dispatches.get(event).map_or(&[], Vec::as_slice)
    }

    /// Each event has the fate that it must have, and only that.
    fn fate(&mut self, id: &str) {
        let event = &self.ledger.events[id];
        let refusals = self.ledger.refusals.get(id).copied().unwrap_or_default();
        let owned = || id.to_owned();
        if refusals > event.times {
            self.found.push(Violation::RefusedTooOften { event: owned(), times: refusals });
        }
        if event.expect == Expect::Refusal {
            if refusals == 0 {
                self.found.push(Violation::NotRefused { event: owned() });
            }
        } else if refusals > 0 {
            self.found.push(Violation::WronglyRefused { event: owned() });
        }
        match event.expect {
            Expect::Mail if refusals == 0 => self.losses(id),
            Expect::Mail => {}
            Expect::Refusal | Expect::Nothing => {
                if !self.mails_of(id).is_empty() {
                    self.found.push(Violation::Uncalled { event: owned() });
                }
            }
        }
    }

    fn losses(&mut self, id: &str) {
        // `dispatched` promises dispatches, so that alone explains nothing.
        let is_explained = self.ledger.outcomes.get(id).is_some_and(|outcome| outcome != "dispatched");
        let mut lost = Vec::new();
        for recipient in &self.ledger.events[id].recipients {
            let has_mail = self.mails_of(id).iter().any(|letter| letter.recipient == *recipient);
            let has_dispatch =
                self.dispatches_of(id).iter().any(|dispatch| dispatch.to.eq_ignore_ascii_case(recipient));
            if !(has_mail || has_dispatch || is_explained) {
                lost.push(Violation::Lost { event: id.to_owned(), recipient: recipient.clone() });
            }
        }
        self.found.append(&mut lost);
    }

    /// One mail a recipient, or copies of it with the same Message-ID.
    fn copies(&mut self, id: &str) {
        let mut message_ids = BTreeMap::<&str, BTreeSet<&str>>::new();
        for letter in self.mails_of(id) {
            message_ids.entry(&letter.recipient).or_default().insert(&letter.message_id);
        }
        let expected = |to: &str| {
            let templates =
                self.dispatches_of(id).iter().filter(|dispatch| dispatch.to.eq_ignore_ascii_case(to));
            templates.map(|dispatch| dispatch.template.as_str()).collect::<BTreeSet<_>>().len().max(1)
        };
        let doubled = message_ids.iter().filter(|(to, ids)| ids.len() > expected(to));
        let mut found: Vec<_> = doubled
            .map(|(to, ids)| Violation::Doubled {
                event: id.to_owned(),
                recipient: (*to).to_owned(),
                message_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            })
            .collect();
        self.found.append(&mut found);
    }

    /// Every dispatch has ended, was planned once, and if it says `sent`, there is a mail.
    fn plans(&mut self, id: &str) {
        let mut planned = BTreeSet::new();
        let mut found = Vec::new();
        for dispatch in self.dispatches_of(id) {
            let (event, of) = (id.to_owned(), dispatch.id.clone());
            let recipient = dispatch.to.to_lowercase();
            let arrived = self.mails_of(id).iter().any(|letter| belongs(letter, dispatch));
            match dispatch.state.as_str() {
                "sent" if !arrived => found.push(Violation::SentToNobody { event, dispatch: of }),
                "sent" | "dead" | "cancelled" => {}
                state => found.push(Violation::Stranded { event, dispatch: of, state: state.to_owned() }),
            }
            if !planned.insert((recipient.clone(), dispatch.template.as_str())) {
                found.push(Violation::PlannedTwice { event: id.to_owned(), recipient });
            }
        }
        self.found.append(&mut found);
    }

    /// The mails of an event go where they must, named, with one token.
    fn contents(&mut self, id: &str, rules: Rules) {
        let event = || id.to_owned();
        let mut found = Vec::new();
        for letter in self.mails_of(id) {
            if !self.ledger.events[id].recipients.contains(&letter.recipient) {
                found.push(Violation::Misdirected { event: event(), recipient: letter.recipient.clone() });
            }
            if letter.message_id.is_empty() {
                found.push(Violation::MessageIdMissing { event: event() });
            }
            if rules.tokens && letter.token.is_none() {
                found.push(Violation::TokenMissing { event: event() });
            }
        }
        let tokens: BTreeSet<_> =
            self.mails_of(id).iter().filter_map(|letter| letter.token.as_ref()).collect();
        if tokens.len() > 1 {
            found.push(Violation::TokenChanged { event: event() });
        }
        self.found.append(&mut found);
    }

    /// Nothing that must be of one event is of two.
    fn shared(&mut self) {
        let mut tokens = BTreeMap::<&str, BTreeSet<&str>>::new();
        let mut message_ids = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (event, letters) in &self.mails {
            for letter in letters {
                message_ids.entry(&letter.message_id).or_default().insert(event);
                if let Some(token) = &letter.token {
                    tokens.entry(token).or_default().insert(event);
                }
            }
        }
        for dispatch in &self.ledger.dispatches {
            if let Some(message_id) = &dispatch.message_id {
                message_ids.entry(message_id).or_default().insert(&dispatch.event);
            }
        }
        let names = |events: BTreeSet<&str>| events.into_iter().map(str::to_owned).collect();
        for events in tokens.into_values().filter(|events| events.len() > 1) {
            self.found.push(Violation::TokenShared { events: names(events) });
        }
        for (message_id, events) in
            message_ids.into_iter().filter(|(id, events)| !id.is_empty() && events.len() > 1)
        {
            let message_id = message_id.to_owned();
            self.found.push(Violation::MessageIdShared { message_id, events: names(events) });
        }
    }

    /// Counts second copies and mails whose dispatch does not say `sent`.
    fn uncertain(&mut self, rules: Rules) -> usize {
        let mut events = Vec::new();
        for (event, letters) in &self.mails {
            let mut seen = BTreeSet::new();
            for letter in letters {
                let is_copy = !seen.insert((&letter.recipient, &letter.message_id));
                let is_unsettled =
                    self.dispatches_of(event).iter().any(|of| of.state != "sent" && belongs(letter, of));
                if is_copy || is_unsettled {
                    events.push((*event).to_owned());
                }
            }
        }
        let count = events.len();
        if count > rules.uncertain {
            self.found.push(Violation::TooManyUncertain { allowed: rules.uncertain, events });
        }
        count
    }
}

/// A dispatch without a Message-ID (it is not shown) has the mails to its recipient.
fn belongs(letter: &Letter, dispatch: &Dispatch) -> bool {
    match &dispatch.message_id {
        Some(message_id) => *message_id == letter.message_id,
        None => dispatch.to.eq_ignore_ascii_case(&letter.recipient),
    }
}
