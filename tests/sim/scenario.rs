//! One run: who is there, a phase with faults, and one without in which everything must come
//! right.

use std::net::SocketAddr;

use ringfence::limits::Capacity;
use ringfence::sip::{
    Command, ContactsFull, Kept, Keys, Listener, ListenerId, NodeId, Now, Random, Settings,
    Steering, Strangers, Time, TokenKey, WallTime,
};
use ringfence::tenant::{self, Compiler, Tables};
use ringfence::wire::{DigestAlgorithm, Transport};

use crate::agent::attacker::{Attacker, MARK};
use crate::agent::{Agent, Identity, Manners, Outcome, UserAgent};
use crate::digest::Login;
use crate::network::{Faults, Place};
use crate::world::World;

/// 64*T1, and what the network adds.
const TRANSACTION_MS: u64 = 40_000;

/// RFC 3261 §16.6 item 11, shorter: longer than anybody here rings.
const TIMER_C_S: u32 = 100;

const PASSWORD: &str = "Wonderland-2026";

/// digest.test asks callers for credentials; office.test admits them by address.
const TENANTS: &str = r#"
[[trunk]]
name = "carrier"
targets = [
  { uri = "sip:203.0.113.80:5060", priority = 1, weight = 1 },
  { uri = "sip:203.0.113.81:5060", priority = 2, weight = 1 },
]
sources = ["203.0.113.80/31"]
listener = "inside"
first_response_ms = 1500
[[account]]
name = "one"
  [[account.credential_list]]
  name = "phones"
  users = [
    { username = "alice", password = "Wonderland-2026" },
    { username = "bob", password = "Wonderland-2026" },
    { username = "carol", password = "Wonderland-2026" },
    { username = "dave", password = "Wonderland-2026" },
  ]
  [[account.domain]]
  name = "digest.test"
  calls = { credential_lists = ["phones"] }
  registrations = { credential_lists = ["phones"] }
  [[account.route]]
  domain = "digest.test"
  prefix = "+"
  trunk = "carrier"
  [[account.route]]
  from_trunk = "carrier"
  number = "+15550100"
  aor = "alice@digest.test"
  [[account.route]]
  from_trunk = "carrier"
  number = "+15550101"
  aor = "bob@digest.test"
[[account]]
name = "two"
  [[account.credential_list]]
  name = "phones"
  users = [
    { username = "erin", password = "Wonderland-2026" },
    { username = "frank", password = "Wonderland-2026" },
  ]
  [[account.ip_acl]]
  name = "office"
  entries = ["198.51.100.0/26"]
  [[account.domain]]
  name = "office.test"
  calls = { ip_acls = ["office"] }
  registrations = { credential_lists = ["phones"] }
"#;

/// A phone: its name, user, domain, the address it has, and the one its NAT gives it.
const PHONES: [(&str, &str, &str, &str, &str); 7] = [
    ("alice1", "alice", "digest.test", "198.51.100.10:5060", ""),
    (
        "alice2",
        "alice",
        "digest.test",
        "10.0.0.2:5060",
        "198.51.100.11:30002",
    ),
    (
        "bob",
        "bob",
        "digest.test",
        "10.0.0.3:5062",
        "198.51.100.12:30003",
    ),
    ("carol", "carol", "digest.test", "198.51.100.13:5070", ""),
    (
        "dave",
        "dave",
        "digest.test",
        "192.168.1.5:5060",
        "198.51.100.14:30005",
    ),
    ("erin", "erin", "office.test", "198.51.100.15:5060", ""),
    (
        "frank",
        "frank",
        "office.test",
        "10.9.9.9:5060",
        "198.51.100.16:30007",
    ),
];

/// How rough one run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) shards: u8,
    /// Length of the phase with faults, seconds.
    pub(crate) safety_s: u64,
    pub(crate) attackers: usize,
    /// In 1000 seconds of the phase with faults: how often the process is killed.
    pub(crate) kills: u64,
    pub(crate) capacity: Capacity,
}

impl Plan {
    /// What a seed says.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        // Every fourth run has tables that are too small for what comes.
        let small = random.below(4) == 0;
        Self {
            shards: 1 + random.below(4) as u8,
            safety_s: 40 + random.below(80),
            attackers: random.below(3) as usize,
            kills: [0, 0, 0, 30][random.below(4) as usize],
            capacity: Capacity {
                bindings: 64,
                transactions: if small { 4 } else { 256 },
                absorbers: if small { 16 } else { 2_048 },
                // A page of 64 KiB for each of 23 size classes, and some.
                message_bytes: 2 << 20,
                sources: 64,
                nonces: if small { 4 } else { 256 },
                calls: 64,
            },
        }
    }

    /// Tables that hold whatever may come, and nobody who means ill.
    pub(crate) fn ample() -> Self {
        let random_plan = (0..).map(Self::of).find(Self::is_ample);
        let mut plan = random_plan.expect("most plans are ample");
        plan.attackers = 0;
        plan.kills = 0;
        plan
    }

    /// True when the tables hold whatever may come.
    pub(crate) fn is_ample(&self) -> bool {
        self.capacity.transactions >= 256
    }
}

/// A run.
pub(crate) struct Scenario {
    pub(crate) world: World,
    pub(crate) plan: Plan,
    pub(crate) phones: Vec<usize>,
    pub(crate) trunks: Vec<usize>,
    attackers: Vec<usize>,
    compiler: Compiler,
    /// The user whose credential is taken back, and until when.
    revoked: Option<(usize, Time)>,
}

impl Scenario {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let now = Now {
            time: Time::default().plus_ms(1_000_000),
            wall: WallTime(1_700_000_000_000),
        };
        let mut compiler = Compiler::new("ringfence");
        let tables = tables(&mut compiler, None);
        let mut world = World::new(seed, now, settings(&plan), keys(seed), tables);
        let phones = PHONES
            .iter()
            .map(|phone| add_phone(&mut world, phone))
            .collect();
        let trunks = ["203.0.113.80:5060", "203.0.113.81:5060"]
            .map(|address| add_trunk(&mut world, address))
            .to_vec();
        let attackers = (0..plan.attackers)
            .map(|number| add_attacker(&mut world, number))
            .collect();
        Self {
            world,
            plan,
            phones,
            trunks,
            attackers,
            compiler,
            revoked: None,
        }
    }

    /// Both phases.
    pub(crate) fn run(&mut self) {
        self.safety();
        self.calm();
        self.everybody_registers();
        self.everybody_calls_everybody();
        self.everything_comes_to_rest();
    }

    /// Faults, and everybody does as he likes.
    pub(crate) fn safety(&mut self) {
        self.world.faults = Faults::ROUGH;
        for &phone in &self.phones.clone() {
            let uris = self.whom_to_call(phone);
            self.behave(phone, wild(uris));
        }
        for &trunk in &self.trunks.clone() {
            let manners = Manners {
                registers: 0,
                unregisters: 0,
                reboots: 2,
                overloaded: 10,
                ..wild(vec![
                    "sip:+15550100@192.0.2.2:5060".to_owned(),
                    "sip:+15550101@192.0.2.2:5060".to_owned(),
                ])
            };
            self.behave(trunk, manners);
        }
        for _ in 0..self.plan.safety_s {
            self.world.run_ms(1_000);
            self.world.judge_bindings();
            self.mishap();
        }
    }

    /// Something that happens to agents and clocks.
    fn mishap(&mut self) {
        if self.world.random.below(1_000) < self.plan.kills {
            let shards = 1 + self.world.random.below(4) as u8;
            self.world.restart(shards);
        }
        if self
            .revoked
            .is_some_and(|(_, until)| until <= self.world.now.time)
        {
            self.restore();
        }
        let world = &mut self.world;
        let which = world.random.below(self.phones.len() as u64) as usize;
        let phone = self.phones[which];
        match world.random.below(40) {
            0 | 1 if world.places[phone].natted => world.places[phone].rebind(),
            2 => {
                let length_ms = 1_000 + world.random.below(20_000);
                world.places[phone].cut_until = world.now.time.plus_ms(length_ms);
            }
            3 => {
                let day_ms = 86_400_000;
                let sign = if world.random.below(2) == 0 { 1 } else { -1 };
                world.jump_wall_ms(sign * day_ms);
            }
            4 => {
                let (_, user, domain, ..) = PHONES[which];
                let aor = format!("{user}@{domain}");
                world.oracle.note_removed(&aor);
                world.command(&Command::RemoveBindings { id: 2, aor });
                world.judge_bindings();
            }
            5 if self.revoked.is_none() => self.revoke(which),
            _ => {}
        }
    }

    /// The credential of a user is deleted: his bindings go with it.
    fn revoke(&mut self, which: usize) {
        let (_, user, domain, ..) = PHONES[which];
        let tables = tables(&mut self.compiler, Some(user));
        let length_ms = 1_000 + self.world.random.below(15_000);
        let until = self.world.now.time.plus_ms(length_ms);
        self.revoked = Some((which, until));
        self.mark_revoked(user, true);
        self.world.oracle.note_removed(&format!("{user}@{domain}"));
        self.world.take_tables(tables);
        self.world.judge_bindings();
    }

    fn restore(&mut self) {
        if let Some((which, _)) = self.revoked.take() {
            let tables = tables(&mut self.compiler, None);
            self.mark_revoked(PHONES[which].1, false);
            self.world.take_tables(tables);
            self.world.judge_bindings();
        }
    }

    fn mark_revoked(&mut self, name: &str, revoked: bool) {
        for user in self.world.agents.iter_mut().filter_map(Agent::user_mut) {
            if user.identity.user == name
                && let Some(registration) = &mut user.registration
            {
                registration.expect_refusal(revoked);
            }
        }
    }

    pub(crate) fn behave(&mut self, agent: usize, manners: Manners) {
        let now = self.world.now.time;
        if let Some(user) = self.world.agents[agent].user_mut() {
            user.behave(manners, now);
        }
    }

    fn whom_to_call(&self, phone: usize) -> Vec<String> {
        let Some(own) = self.world.agents[phone].user() else {
            return Vec::new();
        };
        let (own, domain) = (own.identity.uri(), own.identity.domain.clone());
        let mut uris: Vec<_> = PHONES
            .iter()
            .map(|(_, user, host, ..)| (format!("sip:{user}@{host}"), *host))
            .filter(|(uri, host)| *uri != own && *host == domain)
            .map(|(uri, _)| uri)
            .collect();
        if domain == "digest.test" {
            uris.push("sip:+4930123@digest.test".to_owned());
        }
        uris
    }

    /// The faults end, and everybody finishes what is under way.
    fn calm(&mut self) {
        self.world.faults = Faults::NONE;
        self.restore();
        for agent in 0..self.world.agents.len() {
            self.world.places[agent].cut_until = Time::default();
            self.behave(agent, Manners::default());
        }
        for &attacker in &self.attackers {
            if let Agent::Attacker(attacker) = &mut self.world.agents[attacker] {
                attacker.idle_ms = 0;
            }
        }
        // The longest that anything here takes: a call rings, is given up, and lingers.
        self.world
            .run_ms(u64::from(TIMER_C_S) * 1_000 + 3 * TRANSACTION_MS);
        self.world.judge_bindings();
        for user in self.world.agents.iter().filter_map(Agent::user) {
            let unfinished = user.unfinished();
            if !unfinished.is_empty() {
                let name = &user.identity.name;
                self.world
                    .fail(&format!("{name} still has {unfinished:#?}"));
            }
        }
    }

    /// Liveness: whoever wants to be registered is.
    pub(crate) fn everybody_registers(&mut self) {
        let now = self.world.now.time;
        for &phone in &self.phones {
            if let Some(user) = self.world.agents[phone].user_mut()
                && let Some(registration) = &mut user.registration
            {
                registration.want(true, now);
            }
        }
        self.world.run_ms(10_000);
        self.world.judge_bindings();
        let rows = self.world.list_bindings();
        for &phone in &self.phones {
            let Some(user) = self.world.agents[phone].user() else {
                continue;
            };
            let now = self.world.now.time;
            let knows = user
                .registration
                .as_ref()
                .is_some_and(|it| it.is_registered(now));
            let contact = user.identity.contact();
            let address = self.world.places[phone].address;
            let bound = rows
                .iter()
                .any(|row| row.contact == contact && row.flow.peer().socket_addr() == address);
            if !knows || !bound {
                let name = &user.identity.name;
                self.world
                    .fail(&format!("{name} is not registered: {rows:#?}"));
            }
        }
    }

    /// Liveness: a call from every phone to every other user, and to and from the carrier.
    fn everybody_calls_everybody(&mut self) {
        for &phone in &self.phones.clone() {
            for uri in self.whom_to_call(phone) {
                self.call_must_succeed(phone, &uri);
            }
        }
        for &trunk in &self.trunks.clone() {
            self.call_must_succeed(trunk, "sip:+15550101@192.0.2.2:5060");
        }
    }

    fn call_must_succeed(&mut self, caller: usize, uri: &str) {
        let outcome = self.call(caller, uri, 4_000);
        let mut users = self.world.agents.iter().filter_map(Agent::user);
        let taken = users.any(|user| user.calls.taken.contains(&outcome.call_id));
        if outcome.status != 200 || !outcome.ended || !taken {
            let text = format!("a call of agent {caller} to {uri} came to {outcome:?}");
            self.world.fail(&text);
        }
    }

    /// Lets an agent call, and gives the call `milliseconds`.
    pub(crate) fn call(&mut self, caller: usize, uri: &str, milliseconds: u64) -> Outcome {
        let id = self.dial(caller, uri, 300);
        self.world.run_ms(milliseconds);
        self.outcome(caller, id)
    }

    /// Lets an agent call and hang up `hold_ms` after it was answered; the number of the call.
    pub(crate) fn dial(&mut self, caller: usize, uri: &str, hold_ms: u64) -> u64 {
        let id = self.world.with_agent(caller, |agent, io| {
            agent
                .user_mut()
                .map(|user| user.dial(io, uri, hold_ms, false))
        });
        id.unwrap_or_else(|| self.world.fail("an attacker does not call"))
    }

    /// How a call ended.
    pub(crate) fn outcome(&self, caller: usize, id: u64) -> Outcome {
        let user = self.world.agents[caller].user();
        let mut outcomes = user.into_iter().flat_map(|user| &user.calls.outcomes);
        match outcomes.find(|outcome| outcome.id == id) {
            Some(outcome) => outcome.clone(),
            None => self.world.fail(&format!("call {id} has not ended")),
        }
    }

    /// Nothing is kept of what is over; then the registrations end as well.
    fn everything_comes_to_rest(&mut self) {
        self.world.run_ms(3 * TRANSACTION_MS);
        for (shard, edge) in self.world.edges.iter().enumerate() {
            let (sizes, kept) = (edge.sizes(), edge.kept());
            if sizes != (0, 0, 0, 0) || kept.message_bytes != 0 || kept.timers != kept.bindings {
                let text = format!("shard {shard} still holds {sizes:?} and {kept:?}");
                self.world.fail(&text);
            }
        }
        let now = self.world.now.time;
        for &phone in &self.phones {
            if let Some(user) = self.world.agents[phone].user_mut() {
                // It is switched off; its bindings expire.
                user.off_until = now.plus_ms(1_000_000);
            }
        }
        self.world.run_ms(70_000);
        self.world.judge_bindings();
        let rows = self.world.list_bindings();
        if !rows.is_empty() {
            self.world
                .fail(&format!("bindings outlive their phones: {rows:#?}"));
        }
        for (shard, edge) in self.world.edges.iter().enumerate() {
            if edge.kept() != Kept::default() {
                let text = format!("shard {shard} still keeps {:?}", edge.kept());
                self.world.fail(&text);
            }
        }
        if self.plan.is_ample() && self.world.is_cramped() {
            self.world
                .fail("tables that hold everything were too small");
        }
    }
}

/// What somebody does in the phase with faults.
fn wild(calls: Vec<String>) -> Manners {
    Manners {
        calls,
        idle_ms: 4_000,
        refuses: 15,
        leaves_ringing: 5,
        cancels: 25,
        refreshes: 25,
        hangs_up: 30,
        registers: 20,
        unregisters: 6,
        reboots: 4,
        overloaded: 0,
    }
}

fn add_phone(world: &mut World, phone: &(&str, &str, &str, &str, &str)) -> usize {
    let &(name, user, domain, local, public) = phone;
    let local: SocketAddr = local.parse().expect("a phone's address is one");
    let natted = !public.is_empty();
    let identity = Identity {
        name: name.to_owned(),
        local,
        user: user.to_owned(),
        domain: domain.to_owned(),
        login: Some(Login {
            user: user.to_owned(),
            password: PASSWORD.to_owned(),
        }),
        listener: 0,
        rport: natted || world.random.below(2) == 0,
    };
    let mut agent = UserAgent::new(identity, Manners::default(), true, world.now.time);
    if let Some(registration) = &mut agent.registration
        && world.random.below(2) == 0
    {
        registration.instance = format!("<urn:uuid:00000000-0000-1000-8000-{name:0>12}>");
    }
    let address = if natted {
        public.parse().expect("a NAT's address is one")
    } else {
        local
    };
    world.add(Agent::User(Box::new(agent)), Place::new(address, natted))
}

fn add_trunk(world: &mut World, address: &str) -> usize {
    let local: SocketAddr = address.parse().expect("a carrier's address is one");
    let identity = Identity {
        name: format!("carrier{}", local.ip()),
        local,
        user: "+4930123".to_owned(),
        domain: local.to_string(),
        login: None,
        listener: 1,
        rport: false,
    };
    let agent = UserAgent::new(identity, Manners::default(), false, world.now.time);
    world.add(Agent::User(Box::new(agent)), Place::new(local, false))
}

fn add_attacker(world: &mut World, number: usize) -> usize {
    // The first lives next to the phones, so that nonces of their network are good for it; but
    // not in the office.
    let local = ["198.51.100.99:5060", "192.0.2.99:5060"][number % 2];
    let attacker = Attacker {
        name: format!("{MARK}{number}"),
        local: local.to_owned(),
        idle_ms: 300,
        next_at: world.now.time,
        overheard: Vec::new(),
    };
    let address: SocketAddr = local.parse().expect("an attacker's address is one");
    world.oracle.attackers.insert(address.ip());
    world.add(Agent::Attacker(attacker), Place::new(address, false))
}

fn settings(plan: &Plan) -> Settings {
    let listener = |id, bind: &str, name: Option<&str>, steering| Listener {
        id: ListenerId(id),
        transport: Transport::Udp,
        bind: bind.parse().expect("a listener's address is one"),
        sent_by: bind.into(),
        advertise: bind.parse().expect("a listener's address is one"),
        name: name.map(Into::into),
        steering,
    };
    Settings {
        node: NodeId(7),
        shards: plan.shards,
        listeners: Box::new([
            listener(0, "192.0.2.1:5060", None, Steering::Flow),
            listener(1, "192.0.2.2:5060", Some("inside"), Steering::CallId),
        ]),
        names: Box::new([]),
        realm: "ringfence".into(),
        nonce_lifetime_s: 30,
        algorithms: Box::new([DigestAlgorithm::Md5]),
        expires_min_s: 60,
        expires_max_s: 3600,
        expires_default_s: 3600,
        contacts_per_aor_max: 4,
        contacts_full: ContactsFull::Refuse,
        nat_keepalive_s: 25,
        registers_per_aor_s: 10,
        source_requests_s: 50,
        source_burst: 100,
        source_allowance_bytes: 16_384,
        strangers: Strangers::Answer,
        retry_after_s: 1,
        timer_c_s: TIMER_C_S,
        contact_silence_ms: 5_000,
        call_s_max: 14_400,
        trunk_options_s: 0,
        capacity: plan.capacity,
    }
}

fn keys(seed: u64) -> Keys {
    let mut random = Random::new(seed ^ 0x6b65_7973);
    let mut octets = || random.next_u64().to_be_bytes();
    let mut sixteen = || {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&octets());
        key[8..].copy_from_slice(&octets());
        key
    };
    let token = [1, 2].map(|id| TokenKey { id, key: sixteen() });
    let mut nonce = [0; 32];
    nonce[..16].copy_from_slice(&sixteen());
    Keys {
        token,
        partition: sixteen(),
        nonce,
        hash: sixteen(),
        boot: 1,
    }
}

/// The tables of all tenants, without one user.
fn tables(compiler: &mut Compiler, without: Option<&str>) -> Tables {
    let users = TENANTS.lines().filter(|line| {
        without.is_none_or(|user| !line.contains(&format!("username = \"{user}\"")))
    });
    let text = users.collect::<Vec<_>>().join("\n");
    let model = tenant::provision::parse(&text, "sim.toml".as_ref()).expect("it is well-formed");
    compiler.compile(&model).expect("it is whole")
}
