//! The non-INVITE server transaction: RFC 3261 §17.2.2 with RFC 4320 §4.

#![deny(clippy::wildcard_enum_match_arm)]

use super::table::{self, Row};

table::vocabulary! {
    /// Where a non-INVITE server transaction is.
    pub(super) enum State {
        /// Nothing was sent yet.
        Trying,
        /// A 100 was sent.
        Proceeding,
        /// A final response was sent.
        Completed,
        /// Gone.
        Terminated,
    }
}

table::vocabulary! {
    /// What may happen to it.
    pub(super) enum Event {
        /// The request came again.
        Request,
        /// The proxy has a 100 to send that may be sent.
        Trying,
        /// The proxy has a provisional response that must not be sent.
        BarredProvisional,
        /// The proxy has a final response to send.
        Final,
        /// The proxy has a 408 to send.
        TooLate,
        /// Retransmitted requests are no longer to be expected.
        TimerJ,
    }
}

table::vocabulary! {
    /// What follows.
    pub(super) enum Effect {
        /// The response is sent, and kept to be sent again.
        SendAndKeep,
        /// The response kept is sent again.
        ResendLast,
        /// Timer J starts: 64*T1 over UDP, zero over streams.
        StartTimerJ,
    }
}

/// The transition.
pub(super) const fn next(state: State, event: Event) -> Row<State, Effect> {
    use Effect as F;
    use Event as E;
    use State as S;
    match (state, event) {
        // RFC 3261 §17.2.2
        (S::Trying, E::Request) => Row(S::Trying, &[]),
        (S::Trying | S::Proceeding, E::Trying) => Row(S::Proceeding, &[F::SendAndKeep]),
        (S::Proceeding, E::Request) => Row(S::Proceeding, &[F::ResendLast]),
        (S::Trying | S::Proceeding, E::Final) => {
            Row(S::Completed, &[F::SendAndKeep, F::StartTimerJ])
        }
        (S::Completed, E::Request) => Row(S::Completed, &[F::ResendLast]),
        (S::Completed, E::TimerJ) => Row(S::Terminated, &[]),
        // RFC 4320 §4.1: no provisional response but 100, and that not early over UDP.
        (S::Trying | S::Proceeding, E::BarredProvisional) => Row(state, &[]),
        // RFC 4320 §4.2: a 408 would arrive when its client has given up; nothing is sent, and
        // retransmissions are still absorbed.
        (S::Trying | S::Proceeding, E::TooLate) => Row(S::Completed, &[F::StartTimerJ]),
        // Late or impossible: absorbed.
        (S::Trying | S::Proceeding, E::TimerJ)
        | (S::Completed, E::Trying | E::BarredProvisional | E::Final | E::TooLate)
        | (
            S::Terminated,
            E::Request | E::Trying | E::BarredProvisional | E::Final | E::TooLate | E::TimerJ,
        ) => Row(state, &[]),
    }
}
