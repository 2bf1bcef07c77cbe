//! Request lines and status lines (RFC 3261 §7.1, §7.2).

use super::class;
use super::cursor::{Cursor, Span};
use super::{Method, ParseError, Reason};

/// A start line; `status` is 0 for a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartLine {
    pub(super) method_text: Span,
    pub(super) uri: Span,
    pub(super) reason: Span,
    /// Behind the CRLF.
    pub(super) end: u16,
    pub(super) status: u16,
    pub(super) method: Method,
}

impl StartLine {
    pub(super) const NONE: Self = {
        let nowhere = Span { start: 0, end: 0 };
        Self {
            method_text: nowhere,
            uri: nowhere,
            reason: nowhere,
            end: 0,
            status: 0,
            method: Method::Other,
        }
    };
}

const VERSION: &[u8] = b"SIP/2.0";

/// Parses the line `bytes[..end]`, without its CRLF. The line is there too when a request line
/// is wrong but its method is known, for the error response.
#[inline]
pub(super) fn parse(bytes: &[u8], end: usize) -> (Option<StartLine>, Result<(), ParseError>) {
    let line = &bytes[..end];
    if line
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
    {
        return match status_line(line) {
            Ok(start) => (Some(start), Ok(())),
            Err(error) => (None, Err(error)),
        };
    }
    let mut cursor = Cursor::new(bytes, 0, end);
    let method_text = cursor.skip_class(class::TOKEN);
    if method_text.is_empty() || !cursor.take(b' ') {
        return (None, Err(ParseError::new(Reason::NotSip, cursor.at)));
    }
    let mut start = StartLine {
        method_text,
        method: Method::from_token(method_text.of(bytes)),
        ..StartLine::NONE
    };
    let uri_start = cursor.at;
    let uri_end = uri_start + class::find_byte(&line[uri_start..], b' ');
    let version = line.get(uri_end + 1..).unwrap_or_default();
    if uri_end > uri_start && is_version(version) {
        start.uri = Span::new(uri_start, uri_end);
        return (Some(start), Ok(()));
    }
    let result = Err(ParseError::new(refused(line, version), uri_end));
    let known = result != Err(ParseError::new(Reason::NotSip, uri_end));
    if known {
        start.uri = Span::new(uri_start, uri_end);
    }
    (known.then_some(start), result)
}

/// Why a line that starts like a request line is none.
#[cold]
fn refused(line: &[u8], version: &[u8]) -> Reason {
    if is_other_version(version) {
        Reason::VersionUnknown
    } else if memchr::memmem::find(line, b" SIP/").is_some() {
        Reason::StartLineMalformed
    } else {
        Reason::NotSip
    }
}

/// RFC 3261 §7.1: the version is compared without regard to case.
#[inline]
fn is_version(text: &[u8]) -> bool {
    text == VERSION || text.eq_ignore_ascii_case(VERSION)
}

/// `SIP/` and two numbers, which the caller has found not to be 2.0.
fn is_other_version(text: &[u8]) -> bool {
    let Some((name, numbers)) = text.split_at_checked(4) else {
        return false;
    };
    let mut parts = numbers.splitn(2, |&byte| byte == b'.');
    let mut number = || {
        parts
            .next()
            .is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    name.eq_ignore_ascii_case(b"SIP/") && number() && number()
}

fn status_line(line: &[u8]) -> Result<StartLine, ParseError> {
    let error = |reason, offset| Err(ParseError::new(reason, offset));
    let version_end = class::find_byte(line, b' ');
    let version = &line[..version_end];
    if !is_version(version) {
        let other = is_other_version(version);
        return error(
            if other {
                Reason::VersionUnknown
            } else {
                Reason::NotSip
            },
            0,
        );
    }
    let at = version_end + 1;
    let code = line.get(at..at + 3).unwrap_or_default();
    let status = match super::parse_decimal(code, 699) {
        Some(status @ 100..) => status as u16,
        _ => return error(Reason::StartLineMalformed, at),
    };
    // RFC 3261 §25.1 deviation: the space behind the code may be missing when no phrase follows,
    // because no reader can misunderstand it.
    let reason = match line.get(at + 3) {
        None => Span::new(line.len(), line.len()),
        Some(b' ') => Span::new(at + 4, line.len()),
        Some(_) => return error(Reason::StartLineMalformed, at + 3),
    };
    Ok(StartLine {
        status,
        reason,
        ..StartLine::NONE
    })
}
