//! The non-INVITE client transaction: RFC 3261 §17.1.2. A CANCEL of ours is one too.

#![deny(clippy::wildcard_enum_match_arm)]

use super::table::{self, Row};

table::vocabulary! {
    /// Where a non-INVITE client transaction is.
    pub(super) enum State {
        /// The request is out, nothing came back.
        Trying,
        /// A provisional response came.
        Proceeding,
        /// A final response came.
        Completed,
        /// Gone.
        Terminated,
    }
}

table::vocabulary! {
    /// What may happen to it.
    pub(super) enum Event {
        /// A 1xx.
        Provisional,
        /// A final response.
        Final,
        /// Retransmission is due.
        TimerE,
        /// No final response in 64*T1.
        TimerF,
        /// Retransmitted finals are no longer to be expected.
        TimerK,
        /// The request can not reach its peer.
        TransportError,
    }
}

table::vocabulary! {
    /// What follows.
    pub(super) enum Effect {
        /// The response goes to the proxy.
        PassUp,
        /// Timers E and F stop.
        StopTimers,
        /// The request is sent again; the interval doubles up to T2.
        ResendDoubling,
        /// The request is sent again; the interval is T2.
        ResendSlowly,
        /// The proxy learns that there is no response.
        ReportTimeout,
        /// The proxy learns that the request did not arrive.
        ReportTransportError,
        /// Timer K starts: T4 over UDP, zero over streams.
        StartTimerK,
    }
}

/// The transition.
pub(super) const fn next(state: State, event: Event) -> Row<State, Effect> {
    use Effect as F;
    use Event as E;
    use State as S;
    match (state, event) {
        // RFC 3261 §17.1.2.2
        (S::Trying | S::Proceeding, E::Provisional) => Row(S::Proceeding, &[F::PassUp]),
        (S::Trying | S::Proceeding, E::Final) => {
            Row(S::Completed, &[F::StopTimers, F::PassUp, F::StartTimerK])
        }
        (S::Trying, E::TimerE) => Row(S::Trying, &[F::ResendDoubling]),
        (S::Proceeding, E::TimerE) => Row(S::Proceeding, &[F::ResendSlowly]),
        (S::Trying | S::Proceeding, E::TimerF) => Row(S::Terminated, &[F::ReportTimeout]),
        (S::Trying | S::Proceeding, E::TransportError) => {
            Row(S::Terminated, &[F::StopTimers, F::ReportTransportError])
        }
        (S::Completed, E::TimerK) => Row(S::Terminated, &[]),
        // Late or impossible: absorbed.
        (S::Trying | S::Proceeding, E::TimerK)
        | (S::Completed, E::Provisional | E::Final | E::TimerE | E::TimerF | E::TransportError)
        | (
            S::Terminated,
            E::Provisional | E::Final | E::TimerE | E::TimerF | E::TimerK | E::TransportError,
        ) => Row(state, &[]),
    }
}
