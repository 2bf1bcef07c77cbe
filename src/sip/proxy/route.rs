//! What the Route header and the Request-URI say about us: tokens of ours, and values that merely
//! name us (RFC 3261 §16.4).

use crate::sip::token::{Direction, RouteToken};
use crate::sip::{Keys, Settings, admission};
use crate::tenant::Tables;
use crate::wire::{HeaderName, Message, NameAddr, NameAddrs, Splice, Uri, split_values};

/// Leading Route values that may be ours: an outbound proxy, a Service-Route, and both of a double
/// Record-Route.
const OURS_MAX: usize = 4;

/// The dialog that a request belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialog {
    /// Its token.
    pub(crate) token: RouteToken,
    /// Which way the request travels.
    pub(crate) direction: Direction,
}

/// The routes of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routes {
    /// Set when a valid token of ours was there; the request is in that dialog.
    pub(crate) dialog: Option<Dialog>,
    /// Leading Route values that are ours and to be removed.
    pub(crate) leading: usize,
    /// True when a strict router moved our URI into the Request-URI: the last Route value is the
    /// Request-URI to be.
    pub(crate) strict: bool,
    /// True when Route values are left that are not ours.
    pub(crate) more: bool,
    /// True when a value names us, with a token that does not fit.
    pub(crate) forged: bool,
}

impl Routes {
    /// Reads the routes of `message`.
    pub(crate) fn read(
        tables: &Tables,
        settings: &Settings,
        keys: &Keys,
        message: Message<'_>,
    ) -> Self {
        let mut routes = Self {
            dialog: None,
            leading: 0,
            strict: false,
            more: false,
            forged: false,
        };
        // RFC 3261 §16.4: the Request-URI holds a value we put into Record-Route.
        if message.header(HeaderName::Route).is_some()
            && let Some(dialog) =
                read_token(settings, keys, message, || message.request_uri()?.user)
        {
            routes.dialog = Some(dialog);
            routes.strict = true;
        }
        for route in NameAddrs::new(message, HeaderName::Route) {
            if routes.leading == OURS_MAX
                || !routes.take(tables, settings, keys, message, route.ok())
            {
                routes.more = true;
                break;
            }
            routes.leading += 1;
        }
        routes
    }

    /// True when one more leading value is ours.
    fn take(
        &mut self,
        tables: &Tables,
        settings: &Settings,
        keys: &Keys,
        message: Message<'_>,
        route: Option<NameAddr<'_>>,
    ) -> bool {
        let Some(route) = route else {
            return false;
        };
        if let Some(dialog) = read_token(settings, keys, message, || user_of(route.uri)) {
            // Of two Record-Routes of ours the first tells the way; both say the same.
            self.dialog = self.dialog.or(Some(dialog));
            return true;
        }
        let Ok(uri) = Uri::parse(route.uri) else {
            return false;
        };
        // Phones write their domain where an outbound proxy is asked for.
        if !admission::is_us(settings, uri.host, uri.port)
            && admission::domain_of(tables, uri.host).is_none()
        {
            return false;
        }
        self.forged |= self.dialog.is_some();
        true
    }
}

/// The dialog that a token in `user`, the user part of a URI, names.
///
/// RFC 3261 §12.2: only a request with a To tag is inside a dialog.
fn read_token<'a>(
    settings: &Settings,
    keys: &Keys,
    message: Message<'a>,
    user: impl FnOnce() -> Option<&'a [u8]>,
) -> Option<Dialog> {
    let to_tag = message.to_tag();
    if to_tag.is_empty() {
        return None;
    }
    let user = user()?;
    RouteToken::shard_hint(user)?;
    let (token, direction) = RouteToken::read(
        user,
        keys,
        settings.node,
        message.call_id(),
        message.from_tag(),
        to_tag,
    )?;
    Some(Dialog { token, direction })
}

fn user_of(uri: &[u8]) -> Option<&[u8]> {
    Uri::parse(uri).ok()?.user
}

/// The Route value behind `leading` ones of ours.
pub(super) fn next_route(message: Message<'_>, leading: usize) -> Option<NameAddr<'_>> {
    NameAddrs::new(message, HeaderName::Route)
        .nth(leading)?
        .ok()
}

/// The last Route value.
pub(super) fn last_route(message: Message<'_>) -> Option<NameAddr<'_>> {
    NameAddrs::new(message, HeaderName::Route).last()?.ok()
}

/// Removes the first `leading` values of Route, and the last one where `last` is set; a line whose
/// values are all gone goes with them.
pub(super) fn remove_routes(
    splice: &mut Splice<'_>,
    message: Message<'_>,
    leading: usize,
    last: bool,
) {
    let total: usize = message
        .headers(HeaderName::Route)
        .map(|field| split_values(field.value).count())
        .sum();
    let kept = leading.min(total)
        ..total
            .saturating_sub(usize::from(last))
            .max(leading.min(total));
    let mut at = 0;
    for field in message.headers(HeaderName::Route) {
        let count = split_values(field.value).count();
        // The values of this line that stay, counted within the line.
        let from = kept.start.saturating_sub(at).min(count);
        let to = kept.end.saturating_sub(at).min(count);
        at += count;
        if from >= to {
            splice.remove(usize::from(field.line_start), usize::from(field.line_end));
            continue;
        }
        let place = |index: usize| {
            let value = split_values(field.value).nth(index).unwrap_or_default();
            let start = offset_in(message, value);
            (start, start + value.len())
        };
        if from > 0 {
            splice.remove(usize::from(field.value_start), place(from).0);
        }
        if to < count {
            splice.remove(place(to - 1).1, place(count - 1).1);
        }
    }
}

/// Where `part`, a slice of the message's octets, stands in them.
pub(super) fn offset_in(message: Message<'_>, part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(message.bytes().as_ptr() as usize)
}
