//! One binding, as the table holds it.

use super::agents::AgentId;
use super::strings::StringId;
use crate::sip::{Flow, ListenerId, ShardId, SourceAddr, Time, TimerId, WallTime};
use crate::tenant::CredentialListId;

/// `q` was not given; it counts as 1 (RFC 3261 §10.2.1.2: it is the registrar's to choose).
pub(crate) const Q_ABSENT: u16 = u16::MAX;

/// End of the list of an address of record.
pub(super) const NONE: u32 = u32::MAX;

/// A flow in 28 octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedFlow {
    peer: SourceAddr,
    listener: ListenerId,
    /// The shard of a connection; `UDP` for a datagram flow.
    shard: u8,
    slot: u32,
    generation: u32,
}

const UDP: u8 = u8::MAX;
const _: () = assert!(crate::limits::SHARDS_MAX <= UDP as usize);

impl PackedFlow {
    pub(super) const fn new(flow: Flow) -> Self {
        match flow {
            Flow::Udp { listener, peer } => Self {
                peer,
                listener,
                shard: UDP,
                slot: 0,
                generation: 0,
            },
            Flow::Stream {
                shard,
                listener,
                slot,
                generation,
                peer,
            } => Self {
                peer,
                listener,
                shard: shard.0,
                slot,
                generation,
            },
        }
    }

    pub(super) const fn flow(self) -> Flow {
        let Self {
            peer,
            listener,
            shard,
            slot,
            generation,
        } = self;
        if shard == UDP {
            Flow::Udp { listener, peer }
        } else {
            Flow::Stream {
                shard: ShardId(shard),
                listener,
                slot,
                generation,
                peer,
            }
        }
    }
}

/// An address of record with at least one binding (none only within a change).
#[derive(Debug)]
pub(super) struct AddressOfRecord {
    /// `user@host`, canonical.
    pub(super) text: StringId,
    /// The binding changed last; the others follow by `Binding::next`.
    pub(super) first: u32,
    /// Length of `text`.
    pub(super) length: u16,
}

/// A contact of an address of record.
#[derive(Debug)]
pub(super) struct Binding {
    /// Keyed hash of the Call-ID of the REGISTER that changed it last.
    pub(super) call_id: [u64; 2],
    /// Keyed hash of that REGISTER's top Via branch and sent-by.
    pub(super) branch: u64,
    /// From then on it is not seen, whether its timer has run or not.
    pub(super) expires_at: Time,
    /// Seconds from its last change to its expiry.
    pub(super) life_s: u32,
    /// When it was changed last, in seconds of wall-clock time.
    pub(super) registered_s: u32,
    /// Listener and source of the REGISTER that changed it last.
    pub(super) flow: PackedFlow,
    /// Slot of its address of record.
    pub(super) aor: u32,
    /// Slot of the binding of the same address of record changed next before it, or `NONE`.
    pub(super) next: u32,
    /// Contact URI, instance and Path, one behind the other.
    pub(super) text: StringId,
    /// RFC 5626 §4.2: `reg-id`; 0 = none.
    pub(super) reg_id: u32,
    /// CSeq of the REGISTER that changed it last.
    pub(super) cseq: u32,
    /// The list whose credential made it.
    pub(super) list: CredentialListId,
    /// Generation of the tables under which it was changed last.
    pub(super) tables: u32,
    /// The one timer: the next keep-alive or the expiry, whichever is earlier. It may fire before
    /// a later expiry, never after it. `None` only while it runs.
    pub(super) timer: Option<TimerId>,
    /// Length of the contact URI within `text`.
    pub(super) contact_length: u16,
    /// Length of the Path within `text`.
    pub(super) path_length: u16,
    /// Port of the source address that requests go to.
    pub(super) target_port: u16,
    /// In thousandths, or `Q_ABSENT`.
    pub(super) q_milli: u16,
    /// The user agent.
    pub(super) agent: AgentId,
    /// Length of the instance within `text`; 0 = none.
    pub(super) instance_length: u8,
    /// Requests go to the source, and over UDP the way is kept open.
    pub(super) behind_nat: bool,
}

const _: () = assert!(size_of::<Binding>() <= 120);

impl Binding {
    /// The flow on which requests go.
    pub(super) const fn target(&self) -> Flow {
        match self.flow.flow() {
            Flow::Udp { listener, peer } => Flow::Udp {
                listener,
                peer: peer.with_port(self.target_port),
            },
            stream @ Flow::Stream { .. } => stream,
        }
    }

    /// When it was changed last.
    pub(super) const fn changed_at(&self) -> Time {
        Time(self.expires_at.0 - self.life_s as u64 * 1_000_000_000)
    }

    /// When it was changed last, as people tell time.
    pub(super) const fn registered_at(&self) -> WallTime {
        WallTime(self.registered_s as u64 * 1000)
    }

    /// True when the way to it is to be kept open by datagrams.
    pub(super) const fn wants_keepalives(&self) -> bool {
        self.behind_nat && self.flow.shard == UDP
    }

    /// Octets of its texts.
    pub(super) const fn text_length(&self) -> usize {
        self.contact_length as usize + self.instance_length as usize + self.path_length as usize
    }
}
