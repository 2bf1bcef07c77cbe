//! The answers of the registrar itself.

use super::{Refused, contacts};
use crate::sip::location::{Location, RequestId, View};
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Time, reply};
use crate::wire::{HeaderName, Message, Writer};

/// A 200 with every current binding (RFC 3261 §10.3 step 8).
#[derive(Debug)]
pub(super) struct Bindings<'a> {
    /// The table.
    pub(super) location: &'a Location,
    /// The address of record.
    pub(super) aor: &'a [u8],
    /// The REGISTER answered.
    pub(super) id: &'a RequestId,
}

impl Bindings<'_> {
    /// Sends it; false without room.
    pub(super) fn send(&self, turn: &mut Turn<'_>, arrival: Arrival, message: Message<'_>) -> bool {
        let (tables, now) = (turn.tables, turn.now.time);
        reply::answer(turn, arrival, message, 200, |out| {
            let mut path: &[u8] = b"";
            let mut used_outbound = false;
            for view in self.location.live(tables, now, self.aor) {
                write_contact(now, view, out);
                if view.was_changed_by(self.id) {
                    path = view.path();
                    used_outbound |= view.reg_id() != 0;
                }
            }
            // RFC 3327 §5.3: the Path that was kept is told, where the user agent knows it.
            if !path.is_empty() && contacts::has_option(message, HeaderName::Supported, b"path") {
                out.put(b"Path: ");
                out.put(path);
                out.put(b"\r\n");
            }
            // RFC 5626 §6: tells the phone that its flow is kept.
            if used_outbound && contacts::is_outbound(message) {
                out.put(b"Require: outbound\r\n");
            }
        })
    }
}

fn write_contact(now: Time, view: View<'_>, out: &mut Writer<'_>) {
    out.put(b"Contact: <");
    out.put(view.contact());
    out.put(b">;expires=");
    // Whole seconds, cut: a phone that trusts it is never late.
    out.put_decimal(view.expires_at().since(now).as_secs());
    if view.has_q() {
        out.put(b";q=");
        write_q(view.q_milli(), out);
    }
    if !view.instance().is_empty() {
        out.put(b";+sip.instance=\"");
        out.put(view.instance());
        out.put(b"\"");
    }
    if view.reg_id() != 0 {
        out.put(b";reg-id=");
        out.put_decimal(view.reg_id().into());
    }
    out.put(b"\r\n");
}

fn write_q(milli: u16, out: &mut Writer<'_>) {
    let digits = [
        b'0' + (milli / 1000) as u8,
        b'.',
        b'0' + (milli / 100 % 10) as u8,
        b'0' + (milli / 10 % 10) as u8,
        b'0' + (milli % 10) as u8,
    ];
    let mut length = digits.len();
    while length > 3 && digits[length - 1] == b'0' {
        length -= 1;
    }
    out.put(&digits[..length]);
}

/// Answers a REGISTER that is not obeyed; false without room.
pub(super) fn refuse(
    turn: &mut Turn<'_>,
    arrival: Arrival,
    message: Message<'_>,
    refused: Refused,
) -> bool {
    let settings = turn.settings;
    match refused {
        Refused::Warn { status, text } => reply::answer(turn, arrival, message, status, |out| {
            let listener = &settings.listeners[usize::from(arrival.flow.listener().0)];
            // RFC 3261 §20.43: 399, a miscellaneous warning for people.
            out.put(b"Warning: 399 ");
            out.put(listener.sent_by.as_bytes());
            out.put(b" \"");
            out.put(text.as_bytes());
            out.put(b"\"\r\n");
        }),
        Refused::TooBrief => reply::answer(turn, arrival, message, 423, |out| {
            out.put(b"Min-Expires: ");
            out.put_decimal(settings.expires_min_s.into());
            out.put(b"\r\n");
        }),
        Refused::Unavailable => reply::answer(turn, arrival, message, 503, |out| {
            out.put(b"Retry-After: ");
            out.put_decimal(settings.retry_after_s.into());
            out.put(b"\r\n");
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q_value_is_written_as_short_as_it_can_be() {
        for (milli, text) in [
            (0, "0.0"),
            (1000, "1.0"),
            (500, "0.5"),
            (50, "0.05"),
            (123, "0.123"),
        ] {
            let mut buffer = [0; 8];
            let mut out = Writer::new(&mut buffer);
            write_q(milli, &mut out);
            assert_eq!(out.written(), text.as_bytes());
        }
    }
}
