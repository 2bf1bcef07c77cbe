//! The INVITE server transaction: RFC 3261 §17.2.1 with RFC 6026 §7.1.
//!
//! The proxy sends the 100 itself. An ICMP error names a flow and not a response; what could not be
//! delivered ends by timer H (RFC 3261 §17.2.4).

#![deny(clippy::wildcard_enum_match_arm)]

use super::table::{self, Row};

table::vocabulary! {
    /// Where an INVITE server transaction is.
    pub(super) enum State {
        /// No final response yet.
        Proceeding,
        /// A final response other than 2xx was sent; its ACK is awaited.
        Completed,
        /// The ACK came; further ones are absorbed.
        Confirmed,
        /// A 2xx was sent.
        Accepted,
        /// Gone.
        Terminated,
    }
}

table::vocabulary! {
    /// What may happen to it.
    pub(super) enum Event {
        /// The request came again.
        Invite,
        /// An ACK came.
        Ack,
        /// The proxy has a 1xx to send.
        Provisional,
        /// The proxy has a 2xx to send.
        Success,
        /// The proxy has another final response to send.
        Failure,
        /// Retransmission is due.
        TimerG,
        /// The ACK did not come in 64*T1.
        TimerH,
        /// Retransmitted ACKs are no longer to be expected.
        TimerI,
        /// Retransmitted requests are no longer to be expected.
        TimerL,
    }
}

table::vocabulary! {
    /// What follows.
    pub(super) enum Effect {
        /// The response is sent, and kept to be sent again.
        SendAndKeep,
        /// The response is sent.
        Send,
        /// The response kept is sent again.
        ResendLast,
        /// Timer G starts over UDP, and timer H.
        StartTimersGAndH,
        /// Timer G runs on with twice its interval, at most T2.
        DoubleTimerG,
        /// Timers G and H stop.
        StopTimers,
        /// Timer I starts: T4 over UDP, zero over streams.
        StartTimerI,
        /// Timer L starts: 64*T1.
        StartTimerL,
        /// The ACK is one for the proxy to forward.
        PassAck,
        /// Nobody acknowledged.
        ReportAckMissing,
    }
}

/// The transition.
pub(super) const fn next(state: State, event: Event) -> Row<State, Effect> {
    use Effect as F;
    use Event as E;
    use State as S;
    match (state, event) {
        // RFC 3261 §17.2.1
        (S::Proceeding, E::Invite) => Row(S::Proceeding, &[F::ResendLast]),
        (S::Proceeding, E::Provisional) => Row(S::Proceeding, &[F::SendAndKeep]),
        (S::Proceeding, E::Failure) => Row(S::Completed, &[F::SendAndKeep, F::StartTimersGAndH]),
        (S::Completed, E::Invite) => Row(S::Completed, &[F::ResendLast]),
        (S::Completed, E::TimerG) => Row(S::Completed, &[F::ResendLast, F::DoubleTimerG]),
        (S::Completed, E::Ack) => Row(S::Confirmed, &[F::StopTimers, F::StartTimerI]),
        (S::Completed, E::TimerH) => Row(S::Terminated, &[F::ReportAckMissing]),
        (S::Confirmed, E::TimerI) => Row(S::Terminated, &[]),
        // RFC 6026 §7.1: a 2xx is not retransmitted here, a repeated INVITE is absorbed, further
        // 2xx and the ACK pass.
        (S::Proceeding, E::Success) => Row(S::Accepted, &[F::Send, F::StartTimerL]),
        (S::Accepted, E::Success) => Row(S::Accepted, &[F::Send]),
        (S::Accepted, E::Ack) => Row(S::Accepted, &[F::PassAck]),
        (S::Accepted, E::TimerL) => Row(S::Terminated, &[]),
        // Late or impossible: absorbed.
        (S::Proceeding, E::Ack | E::TimerG | E::TimerH | E::TimerI | E::TimerL)
        | (S::Completed, E::Provisional | E::Success | E::Failure | E::TimerI | E::TimerL)
        | (
            S::Confirmed,
            E::Invite
            | E::Ack
            | E::Provisional
            | E::Success
            | E::Failure
            | E::TimerG
            | E::TimerH
            | E::TimerL,
        )
        | (
            S::Accepted,
            E::Invite | E::Provisional | E::Failure | E::TimerG | E::TimerH | E::TimerI,
        )
        | (
            S::Terminated,
            E::Invite
            | E::Ack
            | E::Provisional
            | E::Success
            | E::Failure
            | E::TimerG
            | E::TimerH
            | E::TimerI
            | E::TimerL,
        ) => Row(state, &[]),
    }
}
