//! Why bytes were refused, and what follows from it.

/// A refusal of the scanner or of a typed view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub reason: Reason,
    /// Where, in octets from the start of the message.
    pub offset: u16,
}

impl ParseError {
    /// `reason` at `offset`; an offset beyond any message is shown as the last one.
    pub(super) fn new(reason: Reason, offset: usize) -> Self {
        Self {
            reason,
            offset: u16::try_from(offset).unwrap_or(u16::MAX),
        }
    }
}

/// What becomes of a message that was refused for a [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answered with this status when it is a request whose top Via can be used, else dropped.
    Status(u16),
    /// Dropped and counted.
    Drop,
}

/// How loudly a refusal may be logged; what an attacker can cause is never above `Trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Sampled, for someone who looks.
    Trace,
    /// A defect of a trusted neighbour.
    Debug,
}

/// Whether a stream can still be cut into messages behind a refused one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// The end of the message is known.
    Kept,
    /// It is not, or two readers may disagree on it: the connection ends.
    Lost,
}

/// Declares the reasons and the one table of what follows from each.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $name:literal $verdict:expr, $framing:ident;)+) => {
        /// One variant per way in which a message can be wrong; the table of their consequences
        /// is [`Reason::verdict`], their counter is named by [`Reason::name`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// Every variant, in order of its number.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];
            /// Number of variants: the length of a counter array indexed by `reason as usize`.
            pub const COUNT: usize = [$(Self::$variant),+].len();

            /// What becomes of the message.
            pub const fn verdict(self) -> Verdict {
                match self {
                    $(Self::$variant => $verdict,)+
                }
            }

            /// Stable snake_case name, used as a metric label.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            const fn framing(self) -> Framing {
                match self {
                    $(Self::$variant => Framing::$framing,)+
                }
            }
        }
    };
}

use Verdict::{Drop, Status};

reasons! {
    /// No octet, or nothing but line ends.
    Empty "empty" Drop, Kept;
    /// The first line is neither a request line nor a status line.
    NotSip "not_sip" Drop, Lost;
    /// A request line or status line with a broken part.
    StartLineMalformed "start_line_malformed" Status(400), Kept;
    /// A SIP version other than 2.0.
    VersionUnknown "version_unknown" Status(505), Kept;
    /// A continuation line before the first header field.
    FirstHeaderFolded "first_header_folded" Status(400), Lost;
    /// A header line without a colon or with a name that is no token.
    HeaderSyntax "header_syntax" Status(400), Lost;
    /// A CR that no LF follows.
    BareCr "bare_cr" Status(400), Lost;
    /// A LF that no CR precedes.
    BareLf "bare_lf" Status(400), Lost;
    /// A NUL in the head, outside a quoted pair.
    Nul "nul" Status(400), Lost;
    /// Another control character in the head, outside a quoted pair.
    ControlCharacter "control_character" Status(400), Lost;
    /// The head ends without an empty line, at the end of a line.
    HeadUnterminated "head_unterminated" Status(400), Lost;
    /// The head ends within a line.
    HeadTruncated "head_truncated" Status(400), Lost;
    /// More header fields than `limits::HEADERS_MAX`.
    HeadersTooMany "headers_too_many" Status(513), Lost;
    /// A header field longer than `limits::HEADER_FIELD_BYTES_MAX`: the message may fit, the
    /// field is what is wrong with it.
    HeaderTooLong "header_too_long" Status(400), Lost;
    /// More octets than `limits::DATAGRAM_BYTES_MAX`.
    MessageTooLong "message_too_long" Status(513), Lost;
    /// No Via.
    ViaMissing "via_missing" Status(400), Kept;
    /// No From.
    FromMissing "from_missing" Status(400), Kept;
    /// No To.
    ToMissing "to_missing" Status(400), Kept;
    /// No Call-ID.
    CallIdMissing "call_id_missing" Status(400), Kept;
    /// No CSeq.
    CSeqMissing "cseq_missing" Status(400), Kept;
    /// A second From.
    FromRepeated "from_repeated" Status(400), Kept;
    /// A second To.
    ToRepeated "to_repeated" Status(400), Kept;
    /// A second Call-ID.
    CallIdRepeated "call_id_repeated" Status(400), Kept;
    /// A second CSeq.
    CSeqRepeated "cseq_repeated" Status(400), Kept;
    /// A second Max-Forwards.
    MaxForwardsRepeated "max_forwards_repeated" Status(400), Kept;
    /// A second Content-Type.
    ContentTypeRepeated "content_type_repeated" Status(400), Kept;
    /// A second Expires.
    ExpiresRepeated "expires_repeated" Status(400), Kept;
    /// Another header field that may stand once only stands twice.
    HeaderRepeated "header_repeated" Status(400), Kept;
    /// A second Content-Length, equal or not.
    ContentLengthRepeated "content_length_repeated" Status(400), Lost;
    /// A Content-Length that is no decimal number.
    ContentLengthMalformed "content_length_malformed" Status(400), Lost;
    /// A Content-Length beyond any message that is taken.
    ContentLengthTooLarge "content_length_too_large" Status(413), Lost;
    /// A Content-Length that names more octets than the datagram has.
    BodyTruncated "body_truncated" Status(400), Lost;
    /// No Content-Length on a stream (RFC 3261 §18.3).
    ContentLengthMissing "content_length_missing" Status(400), Lost;
    /// A Via that breaks the grammar.
    ViaMalformed "via_malformed" Status(400), Kept;
    /// A From that breaks the grammar.
    FromMalformed "from_malformed" Status(400), Kept;
    /// A To that breaks the grammar.
    ToMalformed "to_malformed" Status(400), Kept;
    /// A Call-ID that is empty or holds white space.
    CallIdMalformed "call_id_malformed" Status(400), Kept;
    /// A CSeq that is no number and method.
    CSeqMalformed "cseq_malformed" Status(400), Kept;
    /// A CSeq number of 2^31 or more (RFC 3261 §8.1.1.5).
    CSeqTooLarge "cseq_too_large" Status(400), Kept;
    /// A CSeq whose method is not that of the request.
    CSeqMethodMismatch "cseq_method_mismatch" Status(400), Kept;
    /// A Max-Forwards that is no number up to 255.
    MaxForwardsMalformed "max_forwards_malformed" Status(400), Kept;
    /// An Expires that is no decimal number.
    ExpiresMalformed "expires_malformed" Status(400), Kept;
    /// An address value that breaks the grammar.
    AddressMalformed "address_malformed" Status(400), Kept;
    /// `*` beside another Contact.
    ContactWildcard "contact_wildcard" Status(400), Kept;
    /// A header parameter that breaks the grammar.
    ParameterMalformed "parameter_malformed" Status(400), Kept;
    /// A parameter that the edge reads stands twice in one value.
    ParameterRepeated "parameter_repeated" Status(400), Kept;
    /// More parameters in one value than `limits::PARAMS_MAX`.
    ParametersTooMany "parameters_too_many" Status(513), Kept;
    /// A URI that breaks the grammar.
    UriMalformed "uri_malformed" Status(400), Kept;
    /// A `%` that two hexadecimal digits do not follow.
    UriEscapeMalformed "uri_escape_malformed" Status(400), Kept;
    /// A Request-URI that carries header fields (RFC 3261 §19.1.1).
    UriHeadersForbidden "uri_headers_forbidden" Status(400), Kept;
    /// Digest credentials that break the grammar or lack a field.
    AuthMalformed "auth_malformed" Status(400), Kept;
    /// A digest parameter that stands twice.
    AuthRepeated "auth_repeated" Status(400), Kept;
}

impl Reason {
    /// How loudly it may be logged.
    pub const fn level(self) -> LogLevel {
        LogLevel::Trace
    }

    /// Whether a connection must end because the end of the message is unknown or doubtful.
    pub const fn loses_framing(self) -> bool {
        matches!(self.framing(), Framing::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_number_and_a_name_of_its_own() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert!(
                reason
                    .name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            let same = Reason::ALL
                .iter()
                .filter(|other| other.name() == reason.name());
            assert_eq!(same.count(), 1, "{}", reason.name());
        }
    }

    #[test]
    fn statuses_are_those_that_the_design_names() {
        for reason in Reason::ALL {
            match reason.verdict() {
                Status(status) => assert!([400, 413, 505, 513].contains(&status)),
                Drop => assert!(matches!(reason, Reason::Empty | Reason::NotSip)),
            }
        }
        assert_eq!(Reason::VersionUnknown.verdict(), Status(505));
        assert_eq!(Reason::HeadersTooMany.verdict(), Status(513));
    }
}
