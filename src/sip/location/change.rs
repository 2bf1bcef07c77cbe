//! What one REGISTER does to the bindings of its address of record: planned, reserved, then
//! committed, so that it is done whole or not at all (RFC 3261 §10.3 step 7).

use super::binding::{Binding, NONE, PackedFlow};
use super::strings::StringId;
use super::{AddressOfRecord, Location, Phase, RequestId};
use crate::limits::CONTACTS_PER_AOR_MAX;
use crate::sip::turn::Turn;
use crate::sip::{ContactsFull, Counter, Flow, Time};
use crate::tenant::CredentialListId;
use crate::wire::Uri;

/// What the contacts of one REGISTER have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registration<'a> {
    /// Listener and source.
    pub(crate) flow: Flow,
    /// Call-ID, CSeq and top Via branch.
    pub(crate) id: RequestId,
    /// The list whose credential was verified.
    pub(crate) list: CredentialListId,
    /// The user agent; empty when absent.
    pub(crate) agent: &'a [u8],
    /// Path values, comma-separated; empty when none.
    pub(crate) path: &'a [u8],
    /// When the nonce of its credentials was made.
    pub(crate) nonce_at: Time,
    /// True when no binding may be added.
    pub(crate) draining: bool,
}

/// One contact of a REGISTER.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The URI as sent, at most `limits::CONTACT_URI_BYTES_MAX` octets.
    pub(crate) contact: &'a [u8],
    /// Its parts.
    pub(crate) uri: Uri<'a>,
    /// The value of `+sip.instance` without quotes, at most 255 octets; empty when absent.
    pub(crate) instance: &'a [u8],
    /// RFC 5626 §4.2: `reg-id`, 0 when absent or without an instance.
    pub(crate) reg_id: u32,
    /// In thousandths, or `Q_ABSENT`.
    pub(crate) q_milli: u16,
    /// Seconds it is to live; 0 = it is to be removed.
    pub(crate) expires_s: u32,
    /// Requests go to the source.
    pub(crate) behind_nat: bool,
    /// Port of the source address that requests go to.
    pub(crate) target_port: u16,
}

/// The contacts of one REGISTER, in order.
#[derive(Debug, Default)]
pub(crate) struct WantedList<'a> {
    items: [Option<Wanted<'a>>; CONTACTS_PER_AOR_MAX],
    length: usize,
}

impl<'a> WantedList<'a> {
    /// Adds a contact; false when there are `limits::CONTACTS_PER_AOR_MAX` already.
    pub(crate) fn push(&mut self, wanted: Wanted<'a>) -> bool {
        let Some(item) = self.items.get_mut(self.length) else {
            return false;
        };
        *item = Some(wanted);
        self.length += 1;
        true
    }

    /// The contacts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Wanted<'a>> {
        self.items[..self.length].iter().flatten()
    }
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeRefused {
    /// RFC 3261 §10.3 steps 6 and 7: a binding was changed by a later request of this Call-ID.
    OutOfOrder,
    /// Two contacts of the request are the same.
    Duplicate,
    /// More contacts than an address of record may have.
    TooManyContacts,
    /// No room in the table.
    Full,
    /// No binding may be added.
    Draining,
}

/// What becomes of one wanted contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Whatever it matches is removed.
    Remove,
    /// It takes the slot of an existing binding, named by its place in the list.
    Update(usize),
    /// It is new.
    Create,
}

/// A set of places in the list of existing bindings.
type Places = u32;
const _: () = assert!(CONTACTS_PER_AOR_MAX <= Places::BITS as usize);

/// What is to be done; nothing is changed yet.
#[derive(Debug)]
struct Plan {
    aor: Option<u32>,
    /// Slots of the existing bindings, the one changed last first.
    existing: [u32; CONTACTS_PER_AOR_MAX],
    count: usize,
    /// One for each wanted contact.
    steps: [Step; CONTACTS_PER_AOR_MAX],
    /// Existing bindings that go.
    victims: Places,
}

/// Where a wanted contact will be; everything it needs is taken.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: u32,
    /// Its texts; `None` when those in the slot are the same.
    text: Option<StringId>,
    was: Was,
}

/// What a place held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Was {
    /// Nothing: the slot was free.
    Free,
    /// The binding that is updated.
    Itself,
    /// Another binding, which goes.
    Victim,
}

type PlaceList = [Option<Place>; CONTACTS_PER_AOR_MAX];

impl Location {
    /// Adds, refreshes and removes bindings of `aor`, all or none.
    pub(crate) fn change(
        &mut self,
        turn: &mut Turn<'_>,
        aor: &[u8],
        registration: &Registration<'_>,
        wanted: &WantedList<'_>,
    ) -> Result<(), ChangeRefused> {
        self.remove_dead(turn, aor);
        let mut plan = self.list_existing(aor);
        self.plan_steps(&mut plan, registration, wanted)?;
        self.plan_count(turn, &mut plan, registration, wanted)?;
        let Some((aor, places)) = self.reserve(turn, aor, &mut plan, registration, wanted) else {
            return Err(ChangeRefused::Full);
        };
        if let Some(aor) = aor {
            self.commit(turn, aor, &plan, &places, registration, wanted);
        }
        Ok(())
    }

    /// Removes every binding of `aor` (RFC 3261 §10.3 step 6: Contact is `*`).
    pub(crate) fn change_all(
        &mut self,
        turn: &mut Turn<'_>,
        aor: &[u8],
        registration: &Registration<'_>,
    ) -> Result<(), ChangeRefused> {
        self.remove_dead(turn, aor);
        let plan = self.list_existing(aor);
        let slots = &plan.existing[..plan.count];
        if slots
            .iter()
            .any(|slot| is_out_of_order(self.binding(*slot), registration))
        {
            return Err(ChangeRefused::OutOfOrder);
        }
        for slot in slots {
            self.remove(turn.wheel, *slot);
            turn.counters.add(Counter::BindingsRemoved);
        }
        Ok(())
    }

    /// Takes out what can no longer be seen, so that it neither counts nor matches.
    fn remove_dead(&mut self, turn: &mut Turn<'_>, aor: &[u8]) {
        if self.bindings.is_empty() {
            // What is made from now on is made under these tables.
            self.swept = turn.tables.generation;
        }
        loop {
            let mut alive = [NONE; CONTACTS_PER_AOR_MAX];
            for (place, view) in alive
                .iter_mut()
                .zip(self.live(turn.tables, turn.now.time, aor))
            {
                *place = view.slot;
            }
            let dead = self
                .chain(self.find(aor))
                .find(|slot| !alive.contains(slot));
            let Some(dead) = dead else { break };
            let counter = if self.binding(dead).expires_at <= turn.now.time {
                Counter::BindingsExpired
            } else {
                Counter::BindingsRevoked
            };
            turn.counters.add(counter);
            self.remove(turn.wheel, dead);
        }
    }

    fn list_existing(&self, aor: &[u8]) -> Plan {
        let mut plan = Plan {
            aor: self.find(aor),
            existing: [NONE; CONTACTS_PER_AOR_MAX],
            count: 0,
            steps: [Step::Create; CONTACTS_PER_AOR_MAX],
            victims: 0,
        };
        for slot in self.chain(plan.aor) {
            plan.existing[plan.count] = slot;
            plan.count += 1;
        }
        plan
    }

    /// Decides what each contact matches, and judges the order of requests.
    fn plan_steps(
        &self,
        plan: &mut Plan,
        registration: &Registration<'_>,
        wanted: &WantedList<'_>,
    ) -> Result<(), ChangeRefused> {
        for (at, this) in wanted.iter().enumerate() {
            if wanted.iter().take(at).any(|other| is_same(this, other)) {
                // RFC 3261 §10.3 step 7: the second would find a binding with its own Call-ID and
                // a CSeq that is not higher, and fail; here it fails before anything is done.
                return Err(ChangeRefused::Duplicate);
            }
        }
        let mut matches = [0; CONTACTS_PER_AOR_MAX];
        let mut claimed: Places = 0;
        for (this, found) in wanted.iter().zip(&mut matches) {
            *found = self.places(plan, |binding, view| is_match(this, binding, view)) & !claimed;
            claimed |= *found;
        }
        for (this, found) in wanted.iter().zip(&mut matches) {
            if *found == 0 && this.expires_s > 0 && this.reg_id == 0 {
                *found = self.places(plan, |binding, view| {
                    binding.call_id == registration.id.call_id && is_same_user(this, view)
                }) & !claimed;
                claimed |= *found;
            }
        }
        let late = |at: &usize| {
            claimed & 1 << at != 0
                && is_out_of_order(self.binding(plan.existing[*at]), registration)
        };
        if (0..plan.count).any(|at| late(&at)) {
            return Err(ChangeRefused::OutOfOrder);
        }
        for ((this, found), step) in wanted.iter().zip(matches).zip(&mut plan.steps) {
            if this.expires_s == 0 {
                *step = Step::Remove;
                plan.victims |= found;
            } else if found != 0 {
                // The newest is updated, the others are replaced by it.
                *step = Step::Update(found.trailing_zeros() as usize);
                plan.victims |= found & (found - 1);
            }
        }
        Ok(())
    }

    /// Holds the number of contacts within its limit.
    fn plan_count(
        &self,
        turn: &Turn<'_>,
        plan: &mut Plan,
        registration: &Registration<'_>,
        wanted: &WantedList<'_>,
    ) -> Result<(), ChangeRefused> {
        let steps = &plan.steps[..wanted.length];
        let created = steps.iter().filter(|step| **step == Step::Create).count();
        if created == 0 {
            return Ok(());
        }
        let updated = steps.iter().fold(0, |places: Places, step| match step {
            Step::Update(at) => places | 1 << at,
            Step::Remove | Step::Create => places,
        });
        if registration.draining {
            return Err(ChangeRefused::Draining);
        }
        let max = usize::from(turn.settings.contacts_per_aor_max).min(CONTACTS_PER_AOR_MAX);
        let staying = plan.count - plan.victims.count_ones() as usize;
        let mut excess = (staying + created).saturating_sub(max);
        if excess > 0 && turn.settings.contacts_full == ContactsFull::Refuse {
            return Err(ChangeRefused::TooManyContacts);
        }
        for at in (0..plan.count).rev() {
            if excess > 0 && (updated | plan.victims) & 1 << at == 0 {
                plan.victims |= 1 << at;
                excess -= 1;
            }
        }
        if excess > 0 {
            return Err(ChangeRefused::TooManyContacts);
        }
        Ok(())
    }

    fn places(&self, plan: &Plan, is_it: impl Fn(&Binding, super::View<'_>) -> bool) -> Places {
        let mut found = 0;
        for (at, slot) in plan.existing[..plan.count].iter().enumerate() {
            if is_it(self.binding(*slot), self.view(*slot)) {
                found |= 1 << at;
            }
        }
        found
    }

    /// Takes everything that the plan needs. A new contact takes a victim's slot where there is
    /// one, so a full table can still exchange contacts. Gives everything back when one thing is
    /// missing. The address of record is `None` when there is none and none is needed.
    fn reserve(
        &mut self,
        turn: &mut Turn<'_>,
        aor: &[u8],
        plan: &mut Plan,
        registration: &Registration<'_>,
        wanted: &WantedList<'_>,
    ) -> Option<(Option<u32>, PlaceList)> {
        let mut places: PlaceList = [None; CONTACTS_PER_AOR_MAX];
        if plan.aor.is_none() && wanted.iter().all(|this| this.expires_s == 0) {
            return Some((None, places));
        }
        let aor = match plan.aor {
            Some(aor) => aor,
            None => self.add_aor(aor)?,
        };
        for (at, this) in wanted.iter().enumerate() {
            let place = match plan.steps[at] {
                Step::Remove => continue,
                Step::Update(existing) => {
                    self.reserve_in(plan.existing[existing], Was::Itself, registration, this)
                }
                Step::Create if plan.victims != 0 => {
                    let victim = plan.victims.trailing_zeros() as usize;
                    plan.victims &= plan.victims - 1;
                    self.reserve_in(plan.existing[victim], Was::Victim, registration, this)
                }
                Step::Create => self.reserve_fresh(turn, aor, registration, this),
            };
            if place.is_none() {
                self.give_back(turn, aor, &places);
                return None;
            }
            places[at] = place;
        }
        Some((Some(aor), places))
    }

    fn add_aor(&mut self, text: &[u8]) -> Option<u32> {
        let hash = self.hash(text);
        let stored = self.strings.store(&[text])?;
        let aor = AddressOfRecord {
            text: stored,
            first: NONE,
            length: text.len() as u16,
        };
        match self.aors.insert(aor) {
            Ok(key) => {
                self.index.insert(hash, key.slot);
                Some(key.slot)
            }
            Err(aor) => {
                self.strings.release(aor.text);
                None
            }
        }
    }

    fn reserve_in(
        &mut self,
        slot: u32,
        was: Was,
        registration: &Registration<'_>,
        wanted: &Wanted<'_>,
    ) -> Option<Place> {
        let view = self.view(slot);
        let is_same = view.contact() == wanted.contact
            && view.instance() == wanted.instance
            && view.path() == registration.path;
        let text = if is_same {
            None
        } else {
            Some(
                self.strings
                    .store(&[wanted.contact, wanted.instance, registration.path])?,
            )
        };
        Some(Place { slot, text, was })
    }

    fn reserve_fresh(
        &mut self,
        turn: &mut Turn<'_>,
        aor: u32,
        registration: &Registration<'_>,
        wanted: &Wanted<'_>,
    ) -> Option<Place> {
        let text = self
            .strings
            .store(&[wanted.contact, wanted.instance, registration.path])?;
        let binding = new_binding(turn, aor, text, registration, wanted);
        let key = match self.bindings.insert(binding) {
            Ok(key) => key,
            Err(binding) => {
                self.strings.release(binding.text);
                return None;
            }
        };
        if !self.arm(turn, key.slot, Phase::First) {
            self.free(turn.wheel, key.slot);
            return None;
        }
        Some(Place {
            slot: key.slot,
            text: None,
            was: Was::Free,
        })
    }

    fn give_back(&mut self, turn: &mut Turn<'_>, aor: u32, places: &PlaceList) {
        for place in places.iter().flatten() {
            if place.was == Was::Free {
                self.free(turn.wheel, place.slot);
            } else if let Some(text) = place.text {
                self.strings.release(text);
            }
        }
        self.drop_if_empty(aor);
    }

    /// Does what was planned; nothing can fail any more.
    fn commit(
        &mut self,
        turn: &mut Turn<'_>,
        aor: u32,
        plan: &Plan,
        places: &PlaceList,
        registration: &Registration<'_>,
        wanted: &WantedList<'_>,
    ) {
        let agent = self.agents.take(&mut self.strings, registration.agent);
        // The new order: what this request changed, as it named it, then the rest as it was.
        let mut order = [NONE; 2 * CONTACTS_PER_AOR_MAX];
        let mut count = 0;
        for (this, place) in wanted.iter().zip(places) {
            let Some(place) = place else { continue };
            self.agents.take_again(agent);
            match place.was {
                Was::Free => turn.counters.add(Counter::BindingsCreated),
                Was::Itself => turn.counters.add(Counter::BindingsRefreshed),
                Was::Victim => {
                    turn.counters.add(Counter::BindingsRemoved);
                    turn.counters.add(Counter::BindingsCreated);
                }
            }
            if place.was != Was::Free {
                let text = place.text.unwrap_or(self.binding(place.slot).text);
                let binding = new_binding(turn, aor, text, registration, this);
                self.overwrite(turn, *place, binding);
            }
            self.binding_mut(place.slot).agent = agent;
            order[count] = place.slot;
            count += 1;
        }
        self.agents.release(&mut self.strings, agent);
        for (at, slot) in plan.existing[..plan.count].iter().enumerate() {
            if plan.victims & 1 << at != 0 {
                self.free(turn.wheel, *slot);
                turn.counters.add(Counter::BindingsRemoved);
            } else if !order[..count].contains(slot) {
                order[count] = *slot;
                count += 1;
            }
        }
        let mut next = NONE;
        for slot in order[..count].iter().rev() {
            self.binding_mut(*slot).next = next;
            next = *slot;
        }
        self.set_first(aor, next);
        self.drop_if_empty(aor);
    }

    /// Puts `binding` into a slot in use. Its timer stays when it fires early enough.
    fn overwrite(&mut self, turn: &mut Turn<'_>, place: Place, mut binding: Binding) {
        let old = self.binding_mut(place.slot);
        binding.timer = old.timer;
        let is_due_sooner = binding.expires_at < old.expires_at
            || binding.wants_keepalives() && !old.wants_keepalives();
        let (old_text, old_agent) = (old.text, old.agent);
        *old = binding;
        if place.text.is_some() {
            self.strings.release(old_text);
        }
        self.agents.release(&mut self.strings, old_agent);
        let timer = self.binding(place.slot).timer;
        if is_due_sooner || timer.is_none() {
            if let Some(timer) = timer {
                turn.wheel.cancel(timer);
            }
            // The place in the wheel was given back in the line above.
            self.arm(turn, place.slot, Phase::First);
        }
    }
}

fn new_binding(
    turn: &Turn<'_>,
    aor: u32,
    text: StringId,
    registration: &Registration<'_>,
    wanted: &Wanted<'_>,
) -> Binding {
    let life_ns = u64::from(wanted.expires_s) * 1_000_000_000;
    Binding {
        call_id: registration.id.call_id,
        branch: registration.id.branch,
        expires_at: Time(turn.now.time.0 + life_ns),
        life_s: wanted.expires_s,
        // Seconds from 1970 fit 32 bits until 2106.
        registered_s: (turn.now.wall.0 / 1000).min(u64::from(u32::MAX)) as u32,
        flow: PackedFlow::new(registration.flow),
        aor,
        next: NONE,
        text,
        reg_id: wanted.reg_id,
        cseq: registration.id.cseq,
        list: registration.list,
        // One process publishes fewer than 2^32 tables.
        tables: turn.tables.generation as u32,
        timer: None,
        contact_length: wanted.contact.len() as u16,
        path_length: registration.path.len() as u16,
        target_port: wanted.target_port,
        q_milli: wanted.q_milli,
        agent: super::agents::AgentId::default(),
        instance_length: wanted.instance.len() as u8,
        behind_nat: wanted.behind_nat,
    }
}

/// RFC 3261 §10.3 step 7: a request of the binding's Call-ID must have a higher CSeq.
/// RFC 3261 §10.3 deviation: a lower one is taken when its nonce was made after the binding was
/// changed last, because a phone that starts again may count from the beginning, and a request
/// with such a nonce can not be an old one that was delayed.
fn is_out_of_order(binding: &Binding, registration: &Registration<'_>) -> bool {
    binding.call_id == registration.id.call_id
        && registration.id.cseq <= binding.cseq
        && registration.nonce_at <= binding.changed_at()
}

/// True when two contacts of one request name the same binding.
fn is_same(this: &Wanted<'_>, other: &Wanted<'_>) -> bool {
    if this.reg_id != 0 && other.reg_id != 0 {
        return this.reg_id == other.reg_id && this.instance.eq_ignore_ascii_case(other.instance);
    }
    let has_instance = !this.instance.is_empty() && this.reg_id == other.reg_id;
    has_instance && this.instance.eq_ignore_ascii_case(other.instance)
        || this.uri.equals(&other.uri)
}

/// True when a contact names this binding, or replaces it.
fn is_match(this: &Wanted<'_>, binding: &Binding, view: super::View<'_>) -> bool {
    let is_instance =
        !this.instance.is_empty() && this.instance.eq_ignore_ascii_case(view.instance());
    // RFC 5626 §6: with reg-id a binding is known by instance and reg-id, not by its URI.
    if this.reg_id != 0 {
        return is_instance && this.reg_id == binding.reg_id
            || binding.reg_id == 0 && is_same_uri(this, view);
    }
    // RFC 5626 §6 deviation: without reg-id the instance replaces its older binding, because it
    // is the same phone and its old contact leads nowhere.
    is_instance || is_same_uri(this, view)
}

fn is_same_uri(this: &Wanted<'_>, view: super::View<'_>) -> bool {
    this.contact == view.contact()
        || Uri::parse(view.contact()).is_ok_and(|uri| this.uri.equals(&uri))
}

/// True when a contact has the user part of a binding and is not known to be another instance.
fn is_same_user(this: &Wanted<'_>, view: super::View<'_>) -> bool {
    let may_be_it = this.instance.is_empty() || view.instance().is_empty();
    may_be_it && Uri::parse(view.contact()).is_ok_and(|uri| this.uri.user == uri.user)
}
