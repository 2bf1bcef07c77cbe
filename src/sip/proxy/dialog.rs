//! Requests inside a dialog: admitted by the token, sent to the far end that it names and nowhere
//! else (RFC 3261 §16.4, §16.6 items 5 to 7, §12.2.1.1).

use std::net::{IpAddr, SocketAddr};

use super::branch::{Start, Unsent};
use super::context::Source;
use super::forward::{self, Hop, RecordRoute};
use super::identity::Asserted;
use super::machine::State;
use super::route::{self, Dialog, Routes};
use super::{Proxy, Reach, forms_dialog, refuse_stateless, stateless, unavailable};
use crate::sip::token::{self, Direction, FarEnd};
use crate::sip::turn::Turn;
use crate::sip::{Arrival, Counter, Disposition, Flow, Key, SourceAddr};
use crate::tenant::Trunk;
use crate::wire::{Message, Method, Uri};

/// The way of a request inside a dialog.
struct Way<'m> {
    flow: Flow,
    far_end: FarEnd,
    /// The Request-URI to be, when it is another one.
    request_uri: Option<&'m [u8]>,
    /// True when the last Route value is removed: it is the Request-URI.
    last_route_removed: bool,
    /// The Request-URI that a strict router is to find as the last Route value.
    route_appended: Option<&'m [u8]>,
    /// Leading Route values removed.
    routes_removed: usize,
    /// True when the sender is a trunk.
    from_trunk: bool,
}

impl Proxy {
    /// A request with a token that fits.
    pub(crate) fn handle_in_dialog(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        routes: &Routes,
        dialog: &Dialog,
    ) -> Disposition {
        // RFC 3261 §16.4: of two Record-Routes of ours the second must be as genuine as the first.
        let way = if routes.forged {
            None
        } else {
            way_of(reach.turn, message, routes, dialog)
        };
        let Some(way) = way else {
            return refuse_stateless(reach.turn, arrival, message, 403, Counter::RefusedRoute);
        };
        match message.method() {
            // RFC 3261 §16.6, §16.11: an ACK to a 2xx is a transaction of its own that nothing
            // answers; a CANCEL that matched nothing is for a request forwarded like this.
            Method::Ack | Method::Cancel => self.pass_on(reach, arrival, message, dialog, &way),
            Method::Invite
            | Method::Bye
            | Method::Register
            | Method::Options
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Message
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Publish
            | Method::Other => self.send_on(reach, arrival, message, dialog, &way),
        }
    }

    /// Forwards by a transaction, or without one when the tables are full.
    fn send_on(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        dialog: &Dialog,
        way: &Way<'_>,
    ) -> Disposition {
        // Whether a branch can be made is asked first, so that nothing is begun in vain.
        let free = self
            .branches
            .next_key()
            .and(reach.transactions.next_client());
        let Some(client) = free else {
            return self.pass_on_counted(reach, arrival, message, dialog, way);
        };
        // RFC 3261 §16.11 deviation: a request that went without a transaction and comes again
        // when there is room for one leaves with the branch of that, and not as before, because
        // nothing is remembered of what went without. Its far end tells it by its CSeq.
        let source = Source::Dialog {
            trunk: way.from_trunk,
        };
        let Some(key) = self.open(reach, arrival, message, source, way.routes_removed) else {
            return self.pass_on_counted(reach, arrival, message, dialog, way);
        };
        let mut loop_hash = 0;
        if let Some(context) = self.contexts.get_mut(key) {
            context.state = State::Proceeding;
            loop_hash = context.loop_hash;
        }
        let branch = token::Branch {
            shard: reach.turn.shard,
            transaction: Some(client.0),
            loop_hash,
        };
        let hop = hop_of(message, dialog, way, branch, &[]);
        let start = Start {
            flow: way.flow,
            far_end: way.far_end,
            request_uri: None,
            path: b"",
            called_party: false,
            asserted: hop.asserted,
            instance_group: 0,
            target: 0,
            patience_ms: None,
        };
        match self.send_branch(reach, key, message, &start, &hop) {
            Ok(()) => {}
            // RFC 3261 §16.11: what is forwarded without a transaction has no 100 either, so that
            // its sender goes on retransmitting it.
            Err(Unsent::Full) => {
                self.close(reach, key, 503);
                return self.pass_on_counted(reach, arrival, message, dialog, way);
            }
            Err(unsent @ (Unsent::TooLarge | Unsent::Nowhere)) => {
                let (status, counter) = unsent.refusal();
                return self.refuse(reach, key, message, status, Some(counter));
            }
        }
        if let Some(context) = self.contexts.get_mut(key) {
            context.call = call_of(reach.turn, dialog);
        }
        if message.method() == Method::Invite {
            // RFC 3261 §16.2: an INVITE is told at once that it is in hand.
            self.send_trying(reach, key, message);
        }
        self.arm(reach, key);
        Disposition::Forwarded
    }

    fn pass_on_counted(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        dialog: &Dialog,
        way: &Way<'_>,
    ) -> Disposition {
        let disposition = self.pass_on(reach, arrival, message, dialog, way);
        if disposition == Disposition::Forwarded {
            reach.turn.counters.add(Counter::ForwardedStateless);
            // Nobody will see the answer to this BYE.
            if message.method() == Method::Bye
                && let Some(call) = call_of(reach.turn, dialog)
            {
                self.end_call(reach.turn, call);
            }
        }
        disposition
    }

    /// Forwards without a transaction.
    fn pass_on(
        &mut self,
        reach: &mut Reach<'_, '_>,
        arrival: Arrival,
        message: Message<'_>,
        dialog: &Dialog,
        way: &Way<'_>,
    ) -> Disposition {
        let Some((branch, bound)) = stateless::branch_of(reach.turn, arrival, message) else {
            return unavailable(reach.turn, arrival, message);
        };
        let hop = hop_of(message, dialog, way, branch, bound.as_bytes());
        self.forward_stateless(reach, arrival, message, way.flow, &hop)
    }
}

/// The record of the dialog's call, when it was made here since the node was started.
fn call_of(turn: &Turn<'_>, dialog: &Dialog) -> Option<Key> {
    let (boot, call) = dialog.token.call?;
    (boot == turn.keys.boot && dialog.token.shard == turn.shard).then_some(call)
}

fn hop_of<'m>(
    message: Message<'m>,
    dialog: &'m Dialog,
    way: &Way<'m>,
    branch: token::Branch,
    bound: &'m [u8],
) -> Hop<'m> {
    let caller_tag = match dialog.direction {
        Direction::FromCaller => message.from_tag(),
        Direction::FromCallee => message.to_tag(),
    };
    let to_trunk = matches!(way.far_end, FarEnd::Trunk { .. });
    Hop {
        listener: way.flow.listener(),
        request_uri: way.request_uri,
        // RFC 3261 §16.6 item 4: a request that refreshes its dialog tells the way again.
        record_route: if forms_dialog(message.method()) {
            RecordRoute::New {
                token: &dialog.token,
                caller_tag,
            }
        } else {
            RecordRoute::No
        },
        routes_removed: way.routes_removed,
        last_route_removed: way.last_route_removed,
        route_appended: way.route_appended,
        path: b"",
        called_party: false,
        asserted: match (way.from_trunk, to_trunk) {
            (true, true) => Asserted::Kept,
            (true, false) => Asserted::KeptUnlessPrivate,
            (false, _) => Asserted::Removed,
        },
        branch,
        bound,
    }
}

/// Where the far end is; `None` when the request names another place than the token allows.
fn way_of<'m>(
    turn: &Turn<'_>,
    message: Message<'m>,
    routes: &Routes,
    dialog: &Dialog,
) -> Option<Way<'m>> {
    let token = &dialog.token;
    let (near, far) = match dialog.direction {
        Direction::FromCaller => (token.caller, token.callee),
        Direction::FromCallee => (token.callee, token.caller),
    };
    // RFC 3261 §16.4: behind a strict router the Request-URI to be is the last Route value.
    let restored = if routes.strict {
        Some(route::last_route(message)?.uri)
    } else {
        None
    };
    let request_uri = match restored {
        Some(uri) => uri,
        None => message.request_line()?.uri,
    };
    // RFC 3261 §16.6 item 6: a next hop without lr is a strict router, to be found in the
    // Request-URI; the Request-URI is then the last Route value.
    let mut strict_next = None;
    let flow = match far {
        FarEnd::Udp { listener, peer } => Flow::Udp { listener, peer },
        FarEnd::Stream {
            shard,
            listener,
            slot,
            generation,
        } => {
            // The connection's owner knows its peer.
            let peer = SourceAddr::from(SocketAddr::from(([0, 0, 0, 0], 0)));
            Flow::Stream {
                shard,
                listener,
                slot,
                generation,
                peer,
            }
        }
        FarEnd::Trunk { trunk, listener } => {
            let next = next_hop(message, routes).map(Uri::parse).transpose().ok()?;
            let uri = match &next {
                Some(next) => *next,
                None => Uri::parse(request_uri).ok()?,
            };
            if next.is_some() && uri.params.find("lr").is_none() {
                strict_next = next_hop(message, routes);
            }
            let trunk = turn.tables.trunk(trunk)?;
            let peer = reach_trunk(turn, trunk, &uri)?;
            Flow::Udp { listener, peer }
        }
    };
    // A token may be older than the listeners.
    forward::listener(turn.settings, flow.listener())?;
    Some(Way {
        flow,
        far_end: far,
        request_uri: strict_next.or(restored),
        last_route_removed: routes.strict,
        route_appended: strict_next.map(|_| request_uri),
        routes_removed: routes.leading + usize::from(strict_next.is_some()),
        from_trunk: matches!(near, FarEnd::Trunk { .. }),
    })
}

/// The first Route value behind ours, but for one that becomes the Request-URI.
fn next_hop<'m>(message: Message<'m>, routes: &Routes) -> Option<&'m [u8]> {
    let next = route::next_route(message, routes.leading)?;
    (!routes.strict || !only_last_left(message, routes)).then_some(next.uri)
}

/// True when the only value behind ours is the last one, which becomes the Request-URI.
fn only_last_left(message: Message<'_>, routes: &Routes) -> bool {
    route::next_route(message, routes.leading + 1).is_none()
}

/// The address that `uri` names, if it lies in the trunk's targets, sources or contacts.
fn reach_trunk(turn: &Turn<'_>, trunk: &Trunk, uri: &Uri<'_>) -> Option<SourceAddr> {
    // RFC 3261 §19.1.2: the default port.
    let port = uri.port.unwrap_or(5060);
    let ip: Option<IpAddr> = uri.host_addr();
    match ip {
        Some(ip) if turn.tables.trunk_reaches(trunk.id, ip, port) => {
            Some(SourceAddr::from(SocketAddr::new(ip, port)))
        }
        Some(_) => None,
        // A name is followed only where it is a target's own.
        None => trunk
            .targets
            .iter()
            .find(|target| is_host(target.host.as_bytes(), uri))
            .map(|target| SourceAddr::from(target.address)),
    }
}

/// True when `host`, as provisioned (`host[:port]`), is that of `uri`.
fn is_host(host: &[u8], uri: &Uri<'_>) -> bool {
    let (name, port) = match host.iter().position(|&octet| octet == b':') {
        Some(at) => (
            &host[..at],
            crate::wire::parse_decimal(&host[at + 1..], 65_535),
        ),
        None => (host, None),
    };
    name.eq_ignore_ascii_case(uri.host) && port == uri.port.map(u64::from)
}
