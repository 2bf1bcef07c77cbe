//! The response context of a proxied request as a machine (RFC 3261 §16.7 to §16.10).

macro_rules! vocabulary {
    ($(#[doc = $help:literal])+ $name:ident { $($(#[doc = $text:literal])+ $variant:ident,)+ }) => {
        $(#[doc = $help])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($(#[doc = $text])+ $variant,)+ }

        impl $name {
            #[cfg(test)]
            #[allow(dead_code, reason = "what follows from a transition is not walked through")]
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
        }
    };
}

vocabulary! {
    /// Where a proxied request is.
    State {
        /// Its callee's contacts are asked for at another shard.
        Locating,
        /// A limit is asked whether the call may go on.
        Permitting,
        /// It is out on branches.
        Proceeding,
        /// It was given up: its branches are cancelled, their final responses awaited.
        Cancelled,
        /// It has its final response, and is forgotten.
        Finished,
    }
}

vocabulary! {
    /// What may happen to it.
    Event {
        /// The contacts are known, or that there are none.
        Located,
        /// The limit has a permit.
        Granted,
        /// The limit has none.
        Denied,
        /// A provisional response other than 100 of a branch.
        Provisional,
        /// A 2xx of a branch.
        Success,
        /// A final response 3xx to 5xx of a branch, its time-out, or a transport error.
        Failure,
        /// A 6xx of a branch.
        GlobalFailure,
        /// A branch was silent, or rang, for too long.
        Silence,
        /// The caller cancels.
        Cancel,
    }
}

vocabulary! {
    /// What follows.
    Step {
        /// Go on with the contacts.
        Resolve,
        /// Send the request out.
        Start,
        /// Final response of our own: the limit is reached.
        Refuse,
        /// The provisional response goes upstream.
        ForwardProvisional,
        /// The 2xx goes upstream at once; every other branch is cancelled.
        ForwardSuccess,
        /// The response is weighed; if nothing is left to wait for or to try, the best one goes
        /// upstream.
        Weigh,
        /// The response is weighed, every other branch is cancelled, and nothing more is tried.
        WeighAndCancel,
        /// Every branch is cancelled.
        CancelBranches,
        /// Final response of our own: 487.
        Terminate,
        /// Nothing.
        Ignore,
    }
}

/// The transition.
pub(super) const fn next(state: State, event: Event) -> (State, Step) {
    use {Event as E, State as S};
    match (state, event) {
        (S::Locating, E::Located) => (S::Locating, Step::Resolve),
        (S::Permitting, E::Granted) => (S::Proceeding, Step::Start),
        (S::Permitting, E::Denied) => (S::Finished, Step::Refuse),
        // RFC 3261 §16.10: no branch is out yet, so that the 487 is ours.
        (S::Locating | S::Permitting, E::Cancel) => (S::Finished, Step::Terminate),
        // RFC 3261 §16.7 item 5: provisional responses and 2xx go upstream at once, also those of
        // a request that was given up.
        (S::Proceeding | S::Cancelled, E::Provisional) => (state, Step::ForwardProvisional),
        (S::Proceeding | S::Cancelled, E::Success) => (S::Finished, Step::ForwardSuccess),
        (S::Proceeding, E::Failure | E::Silence) => (S::Proceeding, Step::Weigh),
        (S::Cancelled, E::Failure | E::GlobalFailure | E::Silence) => (S::Cancelled, Step::Weigh),
        (S::Proceeding, E::GlobalFailure) => (S::Cancelled, Step::WeighAndCancel),
        (S::Proceeding, E::Cancel) => (S::Cancelled, Step::CancelBranches),
        // The caller cancels again, or what a 6xx has ended.
        (S::Cancelled, E::Cancel) => (S::Cancelled, Step::Ignore),
        // Answers to questions that were not asked, responses without a branch.
        (S::Locating, E::Granted | E::Denied)
        | (S::Permitting, E::Located)
        | (S::Proceeding | S::Cancelled, E::Located | E::Granted | E::Denied)
        | (
            S::Locating | S::Permitting,
            E::Provisional | E::Success | E::Failure | E::GlobalFailure | E::Silence,
        )
        | (
            S::Finished,
            E::Located
            | E::Granted
            | E::Denied
            | E::Provisional
            | E::Success
            | E::Failure
            | E::GlobalFailure
            | E::Silence
            | E::Cancel,
        ) => (state, Step::Ignore),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_table_is_the_one_in_the_documentation() {
        let mut table = String::new();
        for &state in State::ALL {
            for &event in Event::ALL {
                let (then, step) = next(state, event);
                if step != Step::Ignore {
                    let line = format!("{state:?} + {event:?} -> {then:?}: {step:?}");
                    writeln!(table, "{line}").expect("a String takes everything");
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_finished_request_stays_finished() {
        for &event in Event::ALL {
            assert_eq!(
                next(State::Finished, event),
                (State::Finished, Step::Ignore)
            );
        }
    }

    #[test]
    fn a_2xx_of_a_branch_is_never_lost() {
        for state in [State::Proceeding, State::Cancelled] {
            assert_eq!(
                next(state, Event::Success),
                (State::Finished, Step::ForwardSuccess)
            );
        }
    }
}
