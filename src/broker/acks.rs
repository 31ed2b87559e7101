//! Which delivery tags may be acknowledged, pure. One `multiple` acknowledgement reaches up to the lowest tag that
//! is not settled; a tag that takes longer (a refusal that waits for its publish confirm) is worked around.
//! Knows nothing of messages or channels.

use std::collections::VecDeque;

/// One acknowledgement to send: of the tag alone, or of it and all below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ack {
    pub(super) tag: u64,
    pub(super) multiple: bool,
}

/// The tags of one channel, which the broker counts up from 1.
#[derive(Debug)]
pub(super) struct Acks {
    /// The tag of the first state; all below are acknowledged.
    first: u64,
    states: VecDeque<State>,
    held: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not answered yet.
    Open,
    /// Will take longer than those after it.
    Held,
    /// Committed, or published elsewhere: may be acknowledged.
    Settled,
    Acknowledged,
}

impl Default for Acks {
    fn default() -> Self {
        Self { first: 1, states: VecDeque::new(), held: 0 }
    }
}

impl Acks {
    /// A delivery arrived.
    pub(super) fn received(&mut self, tag: u64) {
        let end = self.first + self.states.len() as u64;
        for _ in end..=tag {
            self.states.push_back(State::Open);
        }
    }

    /// It will take longer: those after it are acknowledged around it.
    pub(super) fn hold(&mut self, tag: u64) {
        self.change(tag, State::Held);
    }

    /// It is safe elsewhere: committed in the database, or confirmed by the broker as a dead letter.
    pub(super) fn settle(&mut self, tag: u64) {
        self.change(tag, State::Settled);
    }

    /// What to acknowledge now, each tag once.
    pub(super) fn due(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut reach = None;
        while let Some(state @ (State::Settled | State::Acknowledged)) = self.states.front() {
            if *state == State::Settled {
                // The tag itself must still be open at the broker, or it closes the channel.
                reach = Some(self.first);
            }
            self.states.pop_front();
            self.first += 1;
        }
        acks.extend(reach.map(|tag| Ack { tag, multiple: true }));
        if self.held > 0 {
            let after_held = self.states.iter().position(|state| *state == State::Held).unwrap_or(0);
            for (tag, state) in (self.first..).zip(&mut self.states).skip(after_held) {
                if *state == State::Settled {
                    *state = State::Acknowledged;
                    acks.push(Ack { tag, multiple: false });
                }
            }
        }
        acks
    }

    fn change(&mut self, tag: u64, to: State) {
        let place = tag.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let Some(state) = place.and_then(|place| self.states.get_mut(place)) else { return };
        if matches!(state, State::Settled | State::Acknowledged) {
            return;
        }
        self.held -= usize::from(*state == State::Held);
        self.held += usize::from(to == State::Held);
        *state = to;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn received(count: u64) -> Acks {
        let mut acks = Acks::default();
        (1..=count).for_each(|tag| acks.received(tag));
        acks
    }

    #[test]
    fn batches_committed_in_reverse_acknowledge_nothing_too_early() {
        let mut acks = received(9);
        for tag in [7, 8, 9, 4, 5, 6] {
            acks.settle(tag);
            assert_eq!(acks.due(), []);
        }
        for tag in [1, 2, 3] {
            acks.settle(tag);
        }
        assert_eq!(acks.due(), [Ack { tag: 9, multiple: true }]);
        assert_eq!(acks.due(), []);
    }

    #[test]
    fn a_held_tag_is_worked_around() {
        let mut acks = received(5);
        acks.hold(2);
        for tag in [1, 3, 5] {
            acks.settle(tag);
        }
        let single = |tag| Ack { tag, multiple: false };
        assert_eq!(acks.due(), [Ack { tag: 1, multiple: true }, single(3), single(5)]);
        acks.settle(2);
        assert_eq!(acks.due(), [Ack { tag: 2, multiple: true }], "3 is acknowledged, 4 is open");
        acks.settle(4);
        assert_eq!(acks.due(), [Ack { tag: 4, multiple: true }]);
        assert!(acks.states.is_empty());
    }

    #[test]
    fn tags_that_are_not_there_change_nothing() {
        let mut acks = received(1);
        for tag in [0, 2, u64::MAX] {
            acks.settle(tag);
            acks.hold(tag);
        }
        assert_eq!(acks.due(), []);
        assert_eq!(acks.states, [State::Open]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Receive,
        Hold(u64),
        Settle(u64),
        Next,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Receive),
            1 => (1..60_u64).prop_map(Step::Hold),
            4 => (1..60_u64).prop_map(Step::Settle),
            1 => Just(Step::Next),
        ]
    }

    /// The broker's side: what is open there. It closes the channel over a tag that is not.
    fn acknowledge(acks: &mut Acks, open: &mut BTreeSet<u64>, settled: &BTreeSet<u64>) {
        for ack in acks.due() {
            assert!(open.contains(&ack.tag), "tag {} is not open", ack.tag);
            let lowest = if ack.multiple { 0 } else { ack.tag };
            let covered: Vec<u64> = open.range(lowest..=ack.tag).copied().collect();
            for tag in covered {
                assert!(settled.contains(&tag), "tag {tag} is not settled");
                open.remove(&tag);
            }
        }
    }

    proptest! {
        #[test]
        fn no_tag_is_acknowledged_before_it_is_settled_and_all_are_in_the_end(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let (mut acks, mut last) = (Acks::default(), 0);
            let (mut open, mut settled) = (BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Receive => {
                        last += 1;
                        acks.received(last);
                        open.insert(last);
                    }
                    Step::Hold(tag) => acks.hold(tag),
                    Step::Settle(tag) => {
                        acks.settle(tag);
                        if tag <= last {
                            settled.insert(tag);
                        }
                    }
                    Step::Next => acknowledge(&mut acks, &mut open, &settled),
                }
            }
            for tag in (1..=last).rev() {
                acks.settle(tag);
                settled.insert(tag);
            }
            acknowledge(&mut acks, &mut open, &settled);
            prop_assert!(open.is_empty());
        }
    }
}
