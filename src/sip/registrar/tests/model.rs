//! The registrar against a model that is slow and obvious.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::bench::{Bench, Phone};
use crate::sip::{BindingFilter, ContactsFull, Counter};

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const TABLE: u32 = 10;

/// One contact in a step: which, which instance and reg-id (0 = none), how long.
type Item = (u8, Option<(u8, u8)>, u32);

#[derive(Clone, Debug)]
enum Step {
    /// A user's phone number `device` sends these contacts.
    Register {
        user: usize,
        device: usize,
        items: Vec<Item>,
    },
    RemoveAll {
        user: usize,
        device: usize,
    },
    /// The last REGISTER of a device once more.
    Again {
        user: usize,
        device: usize,
    },
    /// A REGISTER with a CSeq used before.
    Late {
        user: usize,
        device: usize,
        item: Item,
    },
    Pass {
        seconds: u64,
    },
    /// The same without timers.
    Jump {
        seconds: u64,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let expires = prop_oneof![Just(0u32), Just(60), Just(90), Just(600)];
    let item = || (0u8..5, prop::option::of((0u8..2, 0u8..3)), expires.clone());
    let who = || (0..USERS.len(), 0usize..2);
    prop_oneof![
        6 => (who(), prop::collection::vec(item(), 1..4))
            .prop_map(|((user, device), items)| Step::Register { user, device, items }),
        1 => who().prop_map(|(user, device)| Step::RemoveAll { user, device }),
        1 => who().prop_map(|(user, device)| Step::Again { user, device }),
        1 => (who(), item())
            .prop_map(|((user, device), item)| Step::Late { user, device, item }),
        2 => (1u64..100).prop_map(|seconds| Step::Pass { seconds }),
        1 => (1u64..100).prop_map(|seconds| Step::Jump { seconds }),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Kept {
    contact: u8,
    instance: Option<(u8, u8)>,
    call_id: String,
    cseq: u32,
    /// Device and branch of the REGISTER that changed it last.
    branch: (usize, u32),
    expires_at: u64,
}

/// Bindings by user, the one changed last first.
#[derive(Clone, Debug, Default)]
struct Model {
    users: BTreeMap<usize, Vec<Kept>>,
}

impl Model {
    fn forget(&mut self, now: u64) {
        for kept in self.users.values_mut() {
            kept.retain(|kept| kept.expires_at > now);
        }
    }

    /// The status, and the change when it is 200.
    fn register(
        &mut self,
        settings: (usize, ContactsFull),
        now: u64,
        user: usize,
        (call_id, cseq, branch): (&str, u32, (usize, u32)),
        items: &[Item],
    ) -> u16 {
        let (max, full) = settings;
        let before = self.users.entry(user).or_default().clone();
        for (at, this) in items.iter().enumerate() {
            if items[..at].iter().any(|other| is_same(this, other)) {
                return 400;
            }
        }
        let owner = owners(&before, call_id, items);
        let late = |(kept, owner): (&Kept, &Option<usize>)| {
            owner.is_some() && kept.call_id == call_id && cseq <= kept.cseq
        };
        if before.iter().zip(&owner).any(late) {
            return 500;
        }
        let mut rest: Vec<Kept> = before
            .iter()
            .zip(&owner)
            .filter(|(_, owner)| owner.is_none())
            .map(|(kept, _)| kept.clone())
            .collect();
        let added: Vec<&Item> = items.iter().filter(|item| item.2 > 0).collect();
        let created = items
            .iter()
            .enumerate()
            .filter(|(at, item)| item.2 > 0 && !owner.contains(&Some(*at)))
            .count();
        if created > 0 && rest.len() + added.len() > max {
            let excess = rest.len() + added.len() - max;
            if full == ContactsFull::Refuse || excess > rest.len() {
                return 403;
            }
            rest.truncate(rest.len() - excess);
        }
        let total: usize = self.users.values().map(Vec::len).sum();
        if total - before.len() + rest.len() + added.len() > TABLE as usize {
            return 503;
        }
        let mut after: Vec<Kept> = added
            .into_iter()
            .map(|item| Kept {
                contact: item.0,
                instance: item.1,
                call_id: call_id.to_owned(),
                cseq,
                branch,
                expires_at: now + u64::from(item.2) * 1000,
            })
            .collect();
        after.extend(rest);
        self.users.insert(user, after);
        200
    }
}

/// Which item each binding belongs to: the one that names it by URI or instance; then by Call-ID
/// and user (every contact here has the same user), for what is left, unless instances differ.
fn owners(before: &[Kept], call_id: &str, items: &[Item]) -> Vec<Option<usize>> {
    let mut owner: Vec<Option<usize>> = vec![None; before.len()];
    for (at, item) in items.iter().enumerate() {
        for (kept, owner) in before.iter().zip(&mut owner) {
            let named = is_named(item, kept);
            if owner.is_none() && named {
                *owner = Some(at);
            }
        }
    }
    for (at, item) in items.iter().enumerate() {
        if item.2 == 0 || reg_id(item.1) > 0 || owner.contains(&Some(at)) {
            continue;
        }
        for (kept, owner) in before.iter().zip(&mut owner) {
            let may_be = item.1.is_none() || kept.instance.is_none();
            if owner.is_none() && kept.call_id == call_id && may_be {
                *owner = Some(at);
            }
        }
    }
    owner
}

fn reg_id(instance: Option<(u8, u8)>) -> u8 {
    instance.map_or(0, |(_, reg_id)| reg_id)
}

fn is_same_instance(one: Option<(u8, u8)>, other: Option<(u8, u8)>) -> bool {
    matches!((one, other), (Some((one, _)), Some((other, _))) if one == other)
}

/// Two contacts of one request that mean one binding.
fn is_same(one: &Item, other: &Item) -> bool {
    let same_instance = is_same_instance(one.1, other.1) && reg_id(one.1) == reg_id(other.1);
    let both_outbound = reg_id(one.1) > 0 && reg_id(other.1) > 0;
    same_instance || !both_outbound && one.0 == other.0
}

/// A contact that means this binding.
fn is_named(item: &Item, kept: &Kept) -> bool {
    let same_instance = is_same_instance(item.1, kept.instance);
    if reg_id(item.1) > 0 {
        same_instance && item.1 == kept.instance
            || reg_id(kept.instance) == 0 && item.0 == kept.contact
    } else {
        same_instance || item.0 == kept.contact
    }
}

fn line(item: &Item) -> String {
    let (contact, instance, expires) = item;
    let instance = instance.map(|(instance, reg_id)| match reg_id {
        0 => format!(";+sip.instance=\"<urn:x:{instance}>\""),
        _ => format!(";reg-id={reg_id};+sip.instance=\"<urn:x:{instance}>\""),
    });
    let instance = instance.unwrap_or_default();
    format!("Contact: <sip:u@192.0.2.5{contact}>;expires={expires}{instance}\r\n")
}

fn uri(contact: u8) -> String {
    format!("sip:u@192.0.2.5{contact}")
}

struct World {
    bench: Bench,
    model: Model,
    phones: Vec<[Phone; 2]>,
    /// A nonce older than every binding's change, as no exception to the order is to be made.
    start: u64,
}

impl World {
    fn new(max: u8, full: ContactsFull) -> Self {
        let mut bench = Bench::with_bindings(TABLE);
        bench.settings.contacts_per_aor_max = max;
        bench.settings.contacts_full = full;
        bench.settings.nonce_lifetime_s = 1_000_000;
        let mut phones: Vec<[Phone; 2]> = USERS
            .iter()
            .map(|user| [1, 2].map(|at| Phone::new(user, &format!("198.51.100.{at}:5060"))))
            .collect();
        for phone in phones.iter_mut().flatten() {
            phone.register(&mut bench, "");
            phone.cseq = 10;
        }
        bench.jump_ms(1000);
        let start = bench.now.time.as_ms();
        Self {
            bench,
            model: Model::default(),
            phones,
            start,
        }
    }

    fn now(&self) -> u64 {
        self.bench.now.time.as_ms() - self.start
    }

    fn settings(&self) -> (usize, ContactsFull) {
        let settings = &self.bench.settings;
        (
            usize::from(settings.contacts_per_aor_max),
            settings.contacts_full,
        )
    }

    fn run(&mut self, step: &Step) {
        let now = self.now();
        self.model.forget(now);
        match step {
            Step::Register {
                user,
                device,
                items,
            } => self.register(*user, *device, items),
            Step::Late { user, device, item } => {
                let phone = &mut self.phones[*user][*device];
                phone.cseq = phone.cseq.saturating_sub(2);
                self.register(*user, *device, std::slice::from_ref(item));
                self.phones[*user][*device].cseq += 10;
            }
            Step::RemoveAll { user, device } => {
                let phone = &mut self.phones[*user][*device];
                let answer = phone.register(&mut self.bench, "Contact: *\r\nExpires: 0\r\n");
                assert_eq!(answer.status, 200);
                self.model.users.remove(user);
            }
            Step::Again { user, device } => {
                let phone = &self.phones[*user][*device];
                let changed = |kept: &Kept| kept.branch == (*device, phone.branch);
                let known = self
                    .model
                    .users
                    .get(user)
                    .is_some_and(|all| all.iter().any(changed));
                let answer = self.phones[*user][*device].again(&mut self.bench).unwrap();
                assert_eq!(answer.status, if known { 200 } else { 401 });
            }
            Step::Pass { seconds } => {
                self.bench.pass_ms(seconds * 1000 + 20);
            }
            Step::Jump { seconds } => self.bench.jump_ms(seconds * 1000),
        }
    }

    fn register(&mut self, user: usize, device: usize, items: &[Item]) {
        let now = self.now();
        let settings = self.settings();
        let phone = &mut self.phones[user][device];
        let lines: String = items.iter().map(line).collect();
        let answer = phone.register(&mut self.bench, &lines);
        let call_id = phone.call_id.clone();
        let id = (call_id.as_str(), phone.cseq, (device, phone.branch));
        let status = self.model.register(settings, now, user, id, items);
        assert_eq!(answer.status, status, "{}", answer.text);
    }

    fn compare(&mut self) {
        let now = self.now();
        self.model.forget(now);
        for (at, user) in USERS.iter().enumerate() {
            let kept = self.model.users.get(&at).cloned().unwrap_or_default();
            let mut located = self.bench.located(&format!("{user}@example.test"));
            let mut expected: Vec<String> = kept.iter().map(|kept| uri(kept.contact)).collect();
            let filter = BindingFilter {
                aor: Some(format!("{user}@example.test")),
                host: None,
            };
            let rows = self.bench.list(&filter);
            let ends: Vec<u64> = rows
                .iter()
                .map(|row| row.expires_at.as_ms() - self.start)
                .collect();
            let expected_ends: Vec<u64> = kept.iter().map(|kept| kept.expires_at).collect();
            assert_eq!(ends, expected_ends);
            let listed: Vec<String> = rows.into_iter().map(|row| row.contact).collect();
            assert_eq!(listed, expected, "newest first");
            located.sort();
            expected.sort();
            assert_eq!(located, expected);
        }
        let counted = self.bench.count(Counter::BindingsCreated)
            - self.bench.count(Counter::BindingsRemoved)
            - self.bench.count(Counter::BindingsExpired);
        assert_eq!(u64::from(self.bench.registrar.len()), counted);
        assert_eq!(self.bench.wheel.len(), self.bench.registrar.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn what_can_be_seen_is_what_the_model_holds(
        max in 1u8..6,
        replaces in any::<bool>(),
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let full = if replaces { ContactsFull::ReplaceOldest } else { ContactsFull::Refuse };
        let mut world = World::new(max, full);
        let empty = world.bench.registrar.bytes();
        for step in &steps {
            world.run(step);
            world.compare();
        }
        world.bench.pass_ms(700_000);
        prop_assert_eq!(world.bench.registrar.bytes(), empty);
        prop_assert_eq!(world.bench.wheel.len(), 0);
    }
}
