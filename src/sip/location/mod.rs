//! The location table of one shard: bindings of the addresses of record it owns.
//!
//! Owns bindings, their expiry and their keep-alives. Must not authenticate. Implements
//! RFC 3261 §10.3 (steps 6-8), RFC 5626 §6 (instance and reg-id).
//!
//! Everything is allocated and touched at start: a slab of addresses of record, a slab of
//! bindings, an index from keyed hash to the former, and an arena for texts. With any of them full
//! a change is refused whole. A binding that has expired, or whose domain, mapping or credential
//! is gone, is never seen, whether it was swept already or not.

#![forbid(unsafe_code)]

mod agents;
mod binding;
mod change;
mod index;
mod list;
mod strings;
mod sweep;
mod targets;

use siphasher::{sip, sip128};

pub(crate) use binding::Q_ABSENT;
pub(crate) use change::{ChangeRefused, Registration, Wanted, WantedList};
pub(crate) use sweep::HOUSEKEEPING_SLOT;
pub(crate) use targets::{Target, TargetSet, TargetSetWriter};

use agents::Agents;
use binding::{AddressOfRecord, Binding, NONE};
use index::Index;
use strings::Strings;
use sweep::Sweep;

use super::gather::Gather;
use super::turn::Turn;
use super::{Bytes, Counter, Flow, Keys, ShardId, Slab, Time, Timer, TimerKind, Wheel};
use crate::limits;
use crate::tenant::{CredentialListId, Tables};

/// Octets of texts per binding that the arena is made for: AoR 24, contact and instance 110, and
/// as much again for half of them.
const STRING_BYTES_PER_BINDING: usize = 192;

/// Octets of a timer in the wheel.
const TIMER_BYTES: usize = 24;

/// RFC 5626 §4.4.1: the keep-alive, as 4 octets so that it is no shorter than any NAT forwards.
const KEEPALIVE: &[u8] = b"\r\n\r\n";

/// The partition (0..256) of a canonical address of record, by keyed SipHash.
pub(crate) fn partition(keys: &Keys, aor: &[u8]) -> u8 {
    const _: () = assert!(limits::PARTITIONS == 1 << u8::BITS);
    sip::SipHasher24::new_with_key(&keys.partition).hash(aor) as u8
}

/// The shard that owns a canonical address of record.
pub(crate) fn owner(keys: &Keys, shards: u8, aor: &[u8]) -> ShardId {
    ShardId(partition(keys, aor) % shards)
}

/// The table.
#[derive(Debug)]
pub(crate) struct Location {
    aors: Slab<AddressOfRecord>,
    bindings: Slab<Binding>,
    /// Every address of record in `aors`, by the keyed hash of its text.
    index: Index,
    strings: Strings,
    agents: Agents,
    hash_key: [u8; 16],
    /// Generation of the tables that every binding is known to fit.
    swept: u64,
    /// The sweep in progress.
    sweep: Option<Sweep>,
}

impl Location {
    /// A table for `bindings` bindings; hashes are keyed by `hash_key`.
    pub(crate) fn new(bindings: u32, hash_key: [u8; 16]) -> Self {
        Self {
            aors: Slab::with_capacity(bindings),
            bindings: Slab::with_capacity(bindings),
            index: Index::with_capacity(bindings),
            strings: Strings::with_capacity(bindings as usize * STRING_BYTES_PER_BINDING),
            agents: Agents::new(hash_key),
            hash_key,
            swept: 0,
            sweep: None,
        }
    }

    /// Writes the targets of `aor` as of now, best first; none when it has no valid binding.
    pub(crate) fn locate(&self, turn: &Turn<'_>, aor: &[u8], out: &mut TargetSetWriter<'_>) {
        let mut ranked = [Ranked::default(); limits::CONTACTS_PER_AOR_MAX];
        let mut count = 0;
        let mut groups = 0;
        for view in self.live(turn.tables, turn.now.time, aor) {
            let mut this = Ranked {
                slot: view.slot,
                q_milli: view.q_milli(),
                group: 0,
            };
            if !view.instance().is_empty() {
                let newer = ranked[..count].iter().find(|newer| {
                    self.view(newer.slot)
                        .instance()
                        .eq_ignore_ascii_case(view.instance())
                });
                // RFC 5626 §5.3: of one instance the newest flow comes first, whatever its q.
                match newer {
                    Some(newer) => {
                        this.group = newer.group;
                        this.q_milli = this.q_milli.min(newer.q_milli);
                    }
                    None => {
                        groups += 1;
                        this.group = groups;
                    }
                }
            }
            // Behind its equals: they are newer.
            let at = ranked[..count].partition_point(|other| other.q_milli >= this.q_milli);
            ranked[at..=count].rotate_right(1);
            ranked[at] = this;
            count += 1;
        }
        for ranked in &ranked[..count] {
            let view = self.view(ranked.slot);
            out.push(&Target {
                flow: view.binding.target(),
                contact: view.contact(),
                q_milli: ranked.q_milli,
                instance_group: ranked.group,
                path: view.path(),
            });
        }
    }

    /// The bindings of `aor` that can be seen now, the one changed last first.
    pub(crate) fn live<'a>(
        &'a self,
        tables: &'a Tables,
        now: Time,
        aor: &'a [u8],
    ) -> impl Iterator<Item = View<'a>> {
        let trusted = self.swept == tables.generation;
        let mut fit = Fit::default();
        self.chain(self.find(aor))
            .map(|slot| self.view(slot))
            .filter(move |view| {
                view.binding.expires_at > now && (trusted || fit.ask(tables, aor, view.binding))
            })
    }

    /// True when the REGISTER `id` that came on `flow` was the last to change a binding of `aor`.
    pub(crate) fn is_retransmission(
        &self,
        turn: &Turn<'_>,
        aor: &[u8],
        id: &RequestId,
        flow: Flow,
    ) -> bool {
        let mut live = self.live(turn.tables, turn.now.time, aor);
        live.any(|view| view.was_changed_by(id) && view.flow() == flow)
    }

    /// What tells a REGISTER from others, hashed.
    pub(crate) fn request_id(&self, message: crate::wire::Message<'_>) -> RequestId {
        let via = message.top_via();
        let port = via.port.unwrap_or(0).to_be_bytes();
        let mut input = Gather::new(sip::SipHasher13::new_with_key(&self.hash_key));
        for part in [via.branch, b"\0", via.host, b"\0", &port] {
            input.put(part);
        }
        let call_id = sip128::SipHasher13::new_with_key(&self.hash_key).hash(message.call_id());
        RequestId {
            call_id: [call_id.h1, call_id.h2],
            cseq: message.cseq().number,
            branch: input.finish(),
        }
    }

    /// A timer of kind `Binding` or `KeepAlive` fired.
    pub(crate) fn handle_timer(&mut self, turn: &mut Turn<'_>, timer: Timer) {
        let Some(binding) = self.bindings.get_mut(timer.key) else {
            return;
        };
        binding.timer = None;
        if binding.expires_at <= turn.now.time {
            turn.counters.add(Counter::BindingsExpired);
            self.remove(turn.wheel, timer.key.slot);
            return;
        }
        if keepalive_interval(turn, binding).is_some() && turn.out.send(binding.target(), KEEPALIVE)
        {
            turn.counters.add(Counter::NatKeepalivesSent);
        }
        self.arm(turn, timer.key.slot, Phase::Next);
    }

    /// Bindings in the table, dead ones that were not swept yet included.
    pub(crate) fn len(&self) -> u32 {
        self.bindings.len()
    }

    /// What the table costs: of entries in use with their timers in the wheel, the whole index and
    /// every page of texts that holds one.
    pub(crate) fn bytes(&self) -> Bytes {
        let fixed = self.index.bytes() + self.agents.bytes();
        let binding = Slab::<Binding>::slot_bytes();
        let aor = Slab::<AddressOfRecord>::slot_bytes();
        Bytes {
            occupied: fixed
                + self.strings.bytes_used()
                + self.bindings.len() as usize * (binding + TIMER_BYTES)
                + self.aors.len() as usize * aor,
            allocated: fixed
                + self.strings.bytes_allocated()
                + self.bindings.capacity() as usize * (binding + TIMER_BYTES + aor),
        }
    }

    fn hash(&self, aor: &[u8]) -> u64 {
        sip::SipHasher13::new_with_key(&self.hash_key).hash(aor)
    }

    fn find(&self, aor: &[u8]) -> Option<u32> {
        self.index
            .find(self.hash(aor), |slot| self.aor_text(slot) == aor)
    }

    fn aor(&self, slot: u32) -> &AddressOfRecord {
        let (_, aor) = self
            .aors
            .at(slot)
            .expect("a slot in the index or a binding is in use");
        aor
    }

    fn aor_text(&self, slot: u32) -> &[u8] {
        let aor = self.aor(slot);
        self.strings.octets(aor.text, usize::from(aor.length))
    }

    fn set_first(&mut self, aor: u32, first: u32) {
        let (key, _) = self
            .aors
            .at(aor)
            .expect("a binding's address of record is in use");
        let aor = self
            .aors
            .get_mut(key)
            .expect("the key was read from the slot");
        aor.first = first;
    }

    fn binding(&self, slot: u32) -> &Binding {
        let (_, binding) = self.bindings.at(slot).expect("a linked slot is in use");
        binding
    }

    fn binding_mut(&mut self, slot: u32) -> &mut Binding {
        let (key, _) = self.bindings.at(slot).expect("a linked slot is in use");
        self.bindings
            .get_mut(key)
            .expect("the key was read from the slot")
    }

    fn view(&self, slot: u32) -> View<'_> {
        View {
            location: self,
            slot,
            binding: self.binding(slot),
        }
    }

    /// The slots of an address of record's bindings, the one changed last first.
    fn chain(&self, aor: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        let first = aor.map_or(NONE, |aor| self.aor(aor).first);
        let known = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(known(first), move |slot| known(self.binding(*slot).next))
    }

    /// Arms the one timer of a binding that has none.
    fn arm(&mut self, turn: &mut Turn<'_>, slot: u32, phase: Phase) -> bool {
        let (key, binding) = self.bindings.at(slot).expect("a linked slot is in use");
        let mut at = binding.expires_at;
        let mut kind = TimerKind::Binding;
        if let Some(interval) = keepalive_interval(turn, binding) {
            let wait = match phase {
                Phase::First => turn.random.below(interval),
                Phase::Next => interval,
            };
            let next = Time(turn.now.time.0 + wait);
            if next < at {
                at = next;
                kind = TimerKind::KeepAlive;
            }
        }
        let timer = turn.wheel.insert(at, Timer { kind, key });
        self.binding_mut(slot).timer = timer;
        timer.is_some()
    }

    /// Takes a binding out, and its address of record with the last one.
    fn remove(&mut self, wheel: &mut Wheel, slot: u32) {
        let aor = self.binding(slot).aor;
        let next = self.binding(slot).next;
        let before = self
            .chain(Some(aor))
            .find(|before| self.binding(*before).next == slot);
        match before {
            Some(before) => self.binding_mut(before).next = next,
            None => self.set_first(aor, next),
        }
        self.free(wheel, slot);
        self.drop_if_empty(aor);
    }

    /// Gives back what a binding holds; it must be in no list.
    fn free(&mut self, wheel: &mut Wheel, slot: u32) {
        let (key, _) = self.bindings.at(slot).expect("a slot to free is in use");
        let binding = self
            .bindings
            .remove(key)
            .expect("the key was read from the slot");
        if let Some(timer) = binding.timer {
            wheel.cancel(timer);
        }
        self.strings.release(binding.text);
        self.agents.release(&mut self.strings, binding.agent);
    }

    fn drop_if_empty(&mut self, slot: u32) {
        if self.aor(slot).first != NONE {
            return;
        }
        let hash = self.hash(self.aor_text(slot));
        self.index.remove(hash, slot);
        self.strings.release(self.aor(slot).text);
        if let Some((key, _)) = self.aors.at(slot) {
            self.aors.remove(key);
        }
    }
}

/// Where in its period a keep-alive is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Anywhere: so that bindings made at once do not speak at once.
    First,
    /// One interval from now.
    Next,
}

/// Nanoseconds between keep-alives of a binding; `None` when it gets none.
fn keepalive_interval(turn: &Turn<'_>, binding: &Binding) -> Option<u64> {
    let seconds = u64::from(turn.settings.nat_keepalive_s);
    (seconds > 0 && binding.wants_keepalives()).then_some(seconds * 1_000_000_000)
}

/// What tells one REGISTER from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    /// Keyed hash of the Call-ID.
    pub(crate) call_id: [u64; 2],
    /// The CSeq number.
    pub(crate) cseq: u32,
    /// Keyed hash of the top Via's branch and sent-by.
    pub(crate) branch: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ranked {
    slot: u32,
    q_milli: u16,
    group: u16,
}

/// A binding with its texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    location: &'a Location,
    slot: u32,
    binding: &'a Binding,
}

impl<'a> View<'a> {
    /// The contact URI as sent.
    pub(crate) fn contact(self) -> &'a [u8] {
        &self.texts()[..usize::from(self.binding.contact_length)]
    }

    /// The value of `+sip.instance` as sent, without quotes; empty when absent.
    pub(crate) fn instance(self) -> &'a [u8] {
        let start = usize::from(self.binding.contact_length);
        &self.texts()[start..start + usize::from(self.binding.instance_length)]
    }

    /// The Path values, comma-separated; empty when absent.
    pub(crate) fn path(self) -> &'a [u8] {
        &self.texts()[self.binding.text_length() - usize::from(self.binding.path_length)..]
    }

    /// The user agent; empty when unknown.
    pub(crate) fn agent(self) -> &'a [u8] {
        self.location
            .agents
            .text(&self.location.strings, self.binding.agent)
    }

    /// `reg-id`; 0 = none.
    pub(crate) const fn reg_id(self) -> u32 {
        self.binding.reg_id
    }

    /// The q-value in thousandths; 1000 when none was given.
    pub(crate) const fn q_milli(self) -> u16 {
        if self.binding.q_milli == Q_ABSENT {
            1000
        } else {
            self.binding.q_milli
        }
    }

    /// True when a q-value was given.
    pub(crate) const fn has_q(self) -> bool {
        self.binding.q_milli != Q_ABSENT
    }

    /// True when it was changed last by this REGISTER.
    pub(crate) fn was_changed_by(self, id: &RequestId) -> bool {
        self.binding.call_id == id.call_id
            && self.binding.cseq == id.cseq
            && self.binding.branch == id.branch
    }

    /// When it expires.
    pub(crate) const fn expires_at(self) -> Time {
        self.binding.expires_at
    }

    /// Listener and source of the REGISTER that changed it last.
    pub(crate) const fn flow(self) -> Flow {
        self.binding.flow.flow()
    }

    fn texts(self) -> &'a [u8] {
        self.location
            .strings
            .octets(self.binding.text, self.binding.text_length())
    }
}

/// Whether bindings fit the tables, with the last answer at hand: the bindings of one address of
/// record mostly come from one list, and were made under the same tables.
#[derive(Debug, Default)]
struct Fit {
    last: Option<(CredentialListId, u32, bool)>,
}

impl Fit {
    fn ask(&mut self, tables: &Tables, aor: &[u8], binding: &Binding) -> bool {
        let (list, made_under) = (binding.list, binding.tables);
        match self.last {
            Some((last, under, fits)) if (last, under) == (list, made_under) => fits,
            _ => {
                let fits = fits(tables, aor, list, made_under);
                self.last = Some((list, made_under, fits));
                fits
            }
        }
    }
}

/// True when the domain of the address of record still takes registrations, has the list mapped,
/// and the list has the user, all without a break since the tables under which a binding was made.
fn fits(tables: &Tables, aor: &[u8], list: CredentialListId, made_under: u32) -> bool {
    let Some(at) = aor.iter().rposition(|octet| *octet == b'@') else {
        return false;
    };
    tables
        .domain_by_name(&aor[at + 1..])
        .is_some_and(|domain| tables.stands(domain, list, &aor[..at], made_under))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::testing;

    #[test]
    fn partitions_are_the_same_everywhere_and_evenly_filled() {
        let keys = testing::keys();
        let mut counts = [0u32; limits::PARTITIONS];
        for number in 0..25_600 {
            let aor = format!("{number}@example.test");
            counts[usize::from(partition(&keys, aor.as_bytes()))] += 1;
        }
        // 100 expected, deviation 10: six of them are beyond chance.
        assert!(
            counts.iter().all(|count| (40..160).contains(count)),
            "{counts:?}"
        );
        // A number that moves here moves every binding of a deployment: never without a reason.
        assert_eq!(partition(&keys, b"alice@example.test"), 76);
        let mut others = testing::keys();
        others.token[0].key = [0xAA; 16];
        others.hash = [0xBB; 16];
        others.nonce = [0xCC; 32];
        for number in 0..100 {
            let aor = format!("{number}@example.test");
            let aor = aor.as_bytes();
            assert_eq!(partition(&keys, aor), partition(&others, aor));
            assert_eq!(owner(&keys, 3, aor).0, partition(&keys, aor) % 3);
        }
    }
}
