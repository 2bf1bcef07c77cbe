//! The INVITE client transaction: RFC 3261 §17.1.1 with RFC 6026 §7.2, and §9.1 for CANCEL.

#![deny(clippy::wildcard_enum_match_arm)]

use super::table::{self, Row};

table::vocabulary! {
    /// Where an INVITE client transaction is.
    pub(super) enum State {
        /// The request is out, nothing came back.
        Calling,
        /// A provisional response came.
        Proceeding,
        /// A final response other than 2xx came and was acknowledged.
        Completed,
        /// A 2xx came; more may follow.
        Accepted,
        /// Gone.
        Terminated,
    }
}

table::vocabulary! {
    /// What may happen to it.
    pub(super) enum Event {
        /// A 1xx.
        Provisional,
        /// A 2xx.
        Success,
        /// A final response other than 2xx.
        Failure,
        /// Retransmission is due.
        TimerA,
        /// No response in 64*T1.
        TimerB,
        /// Retransmitted finals are no longer to be expected.
        TimerD,
        /// Further 2xx are no longer to be expected.
        TimerM,
        /// No final response within 64*T1 of the CANCEL.
        CancelExpired,
        /// The request can not reach its peer.
        TransportError,
    }
}

table::vocabulary! {
    /// What follows.
    pub(super) enum Effect {
        /// The response goes to the proxy.
        PassUp,
        /// Timers A and B stop.
        StopTimers,
        /// The request is sent again; the interval of timer A doubles.
        ResendDoubling,
        /// A CANCEL that waited for a provisional response is sent.
        SendWaitingCancel,
        /// The ACK is sent.
        Acknowledge,
        /// The proxy learns that there is no response.
        ReportTimeout,
        /// The proxy learns that the request did not arrive.
        ReportTransportError,
        /// Timer D starts: 32 s over UDP, zero over streams.
        StartTimerD,
        /// Timer M starts: 64*T1.
        StartTimerM,
    }
}

/// The transition.
pub(super) const fn next(state: State, event: Event) -> Row<State, Effect> {
    use Effect as F;
    use Event as E;
    use State as S;
    match (state, event) {
        // RFC 3261 §17.1.1.2: a provisional response ends retransmission.
        (S::Calling, E::Provisional) => Row(
            S::Proceeding,
            &[F::StopTimers, F::PassUp, F::SendWaitingCancel],
        ),
        (S::Proceeding, E::Provisional) => Row(S::Proceeding, &[F::PassUp]),
        // RFC 6026 §7.2: every 2xx goes up, the first and those that follow.
        (S::Calling | S::Proceeding, E::Success) => {
            Row(S::Accepted, &[F::StopTimers, F::PassUp, F::StartTimerM])
        }
        (S::Accepted, E::Success) => Row(S::Accepted, &[F::PassUp]),
        // RFC 3261 §17.1.1.2: a final other than 2xx is acknowledged here, each time it comes.
        (S::Calling | S::Proceeding, E::Failure) => Row(
            S::Completed,
            &[F::StopTimers, F::Acknowledge, F::PassUp, F::StartTimerD],
        ),
        (S::Completed, E::Failure) => Row(S::Completed, &[F::Acknowledge]),
        (S::Calling, E::TimerA) => Row(S::Calling, &[F::ResendDoubling]),
        (S::Calling, E::TimerB) => Row(S::Terminated, &[F::ReportTimeout]),
        // RFC 3261 §9.1: 64*T1 after the CANCEL the request is considered cancelled.
        (S::Proceeding, E::CancelExpired) => Row(S::Terminated, &[F::ReportTimeout]),
        // RFC 3261 §17.1.1.2: a transport error ends a request that nobody has answered.
        (S::Calling, E::TransportError) => {
            Row(S::Terminated, &[F::StopTimers, F::ReportTransportError])
        }
        (S::Completed, E::TimerD) | (S::Accepted, E::TimerM) => Row(S::Terminated, &[]),
        // Late or impossible: absorbed. RFC 3261 §17.1.1.2 deviation: a transport error of the ACK
        // does not end Completed, because the proxy has had its final response already.
        (S::Proceeding, E::TimerA | E::TimerB | E::TimerD | E::TimerM | E::TransportError)
        | (S::Calling, E::TimerD | E::TimerM | E::CancelExpired)
        | (
            S::Completed,
            E::Provisional
            | E::Success
            | E::TimerA
            | E::TimerB
            | E::TimerM
            | E::CancelExpired
            | E::TransportError,
        )
        | (
            S::Accepted,
            E::Provisional
            | E::Failure
            | E::TimerA
            | E::TimerB
            | E::TimerD
            | E::CancelExpired
            | E::TransportError,
        )
        | (
            S::Terminated,
            E::Provisional
            | E::Success
            | E::Failure
            | E::TimerA
            | E::TimerB
            | E::TimerD
            | E::TimerM
            | E::CancelExpired
            | E::TransportError,
        ) => Row(state, &[]),
    }
}
