//! A registrar with real parts around it, and phones that speak to it in whole messages.

use md5::{Digest as _, Md5};

use crate::sip::location::{TargetSet, TargetSetWriter};
use crate::sip::outbox::Action;
use crate::sip::turn::Turn;
use crate::sip::{
    Arrival, BindingFilter, BindingRow, Buffers, Command, Counter, Counters, Disposition, Flow,
    Keys, Now, Outbox, Random, Report, Settings, ShardId, Time, WallTime, Wheel, testing,
};
use crate::tenant::{Compiler, Tables, provision};
use crate::wire::Index;

use super::super::{Addressee, Registrar};
use crate::sip::auth::Authenticator;
use crate::sip::rate::Sources;

/// alice, bob and carol of example.test, dave of other.test; off.test takes no registrations,
/// empty.test has nothing mapped; a trunk at 203.0.113.80.
pub(super) const TENANTS: &str = r#"
[[trunk]]
name = "carrier"
targets = [{ uri = "sip:203.0.113.80:5060", priority = 1, weight = 1 }]
sources = ["203.0.113.80/32"]
[[account]]
name = "one"
  [[account.credential_list]]
  name = "phones"
  users = [
    { username = "alice", password = "Wonderland-2026" },
    { username = "bob", password = "Wonderland-2026" },
    { username = "carol", password = "Wonderland-2026" },
  ]
  [[account.domain]]
  name = "example.test"
  registrations = { credential_lists = ["phones"] }
  [[account.domain]]
  name = "off.test"
  [[account.domain]]
  name = "empty.test"
  registrations = { credential_lists = [] }
[[account]]
name = "two"
  [[account.credential_list]]
  name = "phones"
  users = [{ username = "dave", password = "Wonderland-2026" }]
  [[account.domain]]
  name = "other.test"
  registrations = { credential_lists = ["phones"] }
"#;

pub(super) struct Bench {
    pub(super) settings: Settings,
    pub(super) now: Now,
    pub(super) counters: Counters,
    pub(super) registrar: Registrar,
    pub(super) wheel: Wheel,
    pub(super) out: Outbox,
    compiler: Compiler,
    keys: Keys,
    tables: Tables,
    buffers: Buffers,
    random: Random,
    authenticator: Authenticator,
    sources: Sources,
    index: Box<Index>,
}

/// A response to a REGISTER.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    /// The values of every header line `name`.
    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.text.lines().skip(1);
        lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(header, _)| *header == name)
            .map(|(_, value)| value)
            .collect()
    }

    pub(super) fn contacts(&self) -> Vec<&str> {
        self.headers("Contact")
    }
}

/// A target, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) contact: String,
    pub(super) flow: Flow,
    pub(super) peer: String,
    pub(super) q_milli: u16,
    pub(super) group: u16,
    pub(super) path: String,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_bindings(64)
    }

    pub(super) fn with_bindings(bindings: u32) -> Self {
        let mut settings = testing::settings();
        settings.registers_per_aor_s = 0;
        let keys = testing::keys();
        let mut compiler = Compiler::new(&settings.realm);
        let tables = compile(&mut compiler, TENANTS);
        let now = Now {
            time: Time(1_000_000_000_000),
            wall: WallTime(1_790_000_000_000),
        };
        Self {
            authenticator: Authenticator::new(1024, &keys, settings.node),
            sources: Sources::new(1024, keys.hash),
            registrar: Registrar::new(bindings, keys.hash),
            wheel: Wheel::with_capacity(bindings + 8, now.time),
            out: Outbox::new(),
            counters: Counters::new(),
            buffers: Buffers::with_capacity(1 << 16),
            random: Random::new(1),
            index: Index::new(),
            settings,
            now,
            compiler,
            keys,
            tables,
        }
    }

    /// Gives `f` the registrar and its surroundings.
    pub(super) fn turn<R>(&mut self, f: impl FnOnce(&mut Registrar, &mut Turn<'_>) -> R) -> R {
        let mut turn = Turn {
            now: self.now,
            shard: ShardId(0),
            settings: &self.settings,
            keys: &self.keys,
            tables: &self.tables,
            out: &mut self.out,
            counters: &mut self.counters,
            wheel: &mut self.wheel,
            buffers: &mut self.buffers,
            random: &mut self.random,
        };
        f(&mut self.registrar, &mut turn)
    }

    /// One message from `source`; the answer, if there is one.
    pub(super) fn deliver(&mut self, arrival: Arrival, text: &str) -> Option<Answer> {
        self.out.clear();
        let message = self.index.scan(text.as_bytes()).unwrap();
        let mut turn = Turn {
            now: self.now,
            shard: ShardId(0),
            settings: &self.settings,
            keys: &self.keys,
            tables: &self.tables,
            out: &mut self.out,
            counters: &mut self.counters,
            wheel: &mut self.wheel,
            buffers: &mut self.buffers,
            random: &mut self.random,
        };
        let disposition = self.registrar.handle_register(
            &mut turn,
            &mut self.authenticator,
            &mut self.sources,
            arrival,
            message,
            &Addressee::read(&self.tables, message),
        );
        let sent = self.sends();
        match disposition {
            Disposition::Answered => {
                let [(_, text)] = sent.try_into().unwrap();
                let status = text[8..11].parse().unwrap();
                Some(Answer { status, text })
            }
            Disposition::Dropped(_) => {
                assert_eq!(sent, []);
                None
            }
            other => panic!("a REGISTER was {other:?}"),
        }
    }

    /// The canonical address of record of a REGISTER.
    pub(super) fn address_of(&mut self, text: &str) -> Option<String> {
        let mut index = Index::new();
        let message = index.scan(text.as_bytes()).unwrap();
        let addressee = Addressee::read(&self.tables, message);
        Some(String::from_utf8(addressee.aor()?.to_vec()).unwrap())
    }

    /// What lies in the outbox.
    pub(super) fn sends(&self) -> Vec<(Flow, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut sends = Vec::new();
        for action in self.out.actions() {
            match action {
                Action::Send(send) => sends.push((send.flow, text(self.out.octets(&send.bytes)))),
                Action::ToShard(..) | Action::Report(_) => panic!("{action:?}"),
            }
        }
        sends
    }

    /// Lets time pass, running timers when they are due; what they sent, with the time.
    pub(super) fn pass_ms(&mut self, milliseconds: u64) -> Vec<(Time, Flow, String)> {
        let end = self.now.time.plus_ms(milliseconds);
        let mut sent = Vec::new();
        while self.now.time < end {
            let next = self.wheel.next_deadline().unwrap_or(end).max(self.now.time);
            let step = next.0.clamp(self.now.time.0 + 1_000_000, end.0) - self.now.time.0;
            self.now.time.0 += step;
            self.now.wall.0 += step / 1_000_000;
            while let Some(timer) = self.wheel.poll(self.now.time) {
                self.out.clear();
                self.turn(|registrar, turn| registrar.handle_timer(turn, timer));
                let at = self.now.time;
                sent.extend(
                    self.sends()
                        .into_iter()
                        .map(|(flow, text)| (at, flow, text)),
                );
            }
        }
        sent
    }

    /// Lets time pass without running any timer: as in a turn that is late.
    pub(super) fn jump_ms(&mut self, milliseconds: u64) {
        self.now.time = self.now.time.plus_ms(milliseconds);
        self.now.wall.0 += milliseconds;
    }

    pub(super) fn locate(&mut self, aor: &str) -> Vec<Found> {
        self.locate_in(aor, 65_536)
    }

    /// The same with room for so many octets.
    pub(super) fn locate_in(&mut self, aor: &str, room: usize) -> Vec<Found> {
        let mut buffer = vec![0; room];
        let mut out = TargetSetWriter::new(&mut buffer);
        self.turn(|registrar, turn| registrar.locate(turn, aor.as_bytes(), &mut out));
        let length = out.finish();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        TargetSet::new(&buffer[..length])
            .map(|target| Found {
                contact: text(target.contact),
                flow: target.flow,
                peer: target.flow.peer().socket_addr().to_string(),
                q_milli: target.q_milli,
                group: target.instance_group,
                path: text(target.path),
            })
            .collect()
    }

    /// The contact URIs of `aor`, best first.
    pub(super) fn located(&mut self, aor: &str) -> Vec<String> {
        self.locate(aor)
            .into_iter()
            .map(|found| found.contact)
            .collect()
    }

    pub(super) fn command(&mut self, command: Command) -> Option<Report> {
        self.out.clear();
        self.turn(|registrar, turn| registrar.handle_command(turn, command));
        let report = self.out.take_reports().next();
        report.map(|report| *report)
    }

    /// One page of a listing.
    pub(super) fn page(
        &mut self,
        cursor: u64,
        count: u32,
        filter: BindingFilter,
    ) -> (Vec<BindingRow>, Option<u64>) {
        let id = cursor ^ 77;
        let report = self.command(Command::ListBindings {
            id,
            cursor,
            count,
            filter,
        });
        match report {
            Some(Report::Bindings {
                id: answered,
                rows,
                cursor,
            }) => {
                assert_eq!(answered, id);
                (rows, cursor)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Every row, page by page.
    pub(super) fn list(&mut self, filter: &BindingFilter) -> Vec<BindingRow> {
        let mut all = Vec::new();
        let mut cursor = 0;
        loop {
            let (rows, next) = self.page(cursor, 7, filter.clone());
            all.extend(rows);
            match next {
                Some(next) => cursor = next,
                None => return all,
            }
        }
    }

    /// A new generation of tables, as `edit` leaves the provisioning text.
    pub(super) fn provision(&mut self, edit: impl FnOnce(String) -> String) {
        self.tables = compile(&mut self.compiler, &edit(TENANTS.to_owned()));
    }

    /// Tells the registrar of the last new tables.
    pub(super) fn announce_tables(&mut self) {
        self.out.clear();
        self.turn(|registrar, turn| registrar.handle_tables(turn));
    }

    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.counters.value(counter)
    }
}

fn compile(compiler: &mut Compiler, text: &str) -> Tables {
    let model = provision::parse(text, std::path::Path::new("tenants.toml")).unwrap();
    compiler.compile(&model).unwrap()
}

/// A phone: what it writes into its REGISTERs.
#[derive(Clone, Debug)]
pub(super) struct Phone {
    /// Where its datagrams come from.
    pub(super) source: String,
    /// The connection it speaks on instead.
    pub(super) connection: Option<Flow>,
    /// What it writes into Via.
    pub(super) via: String,
    pub(super) uri: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    pub(super) branch: u32,
    /// The REGISTER sent last.
    pub(super) last: String,
    nonce: Option<String>,
    nc: u32,
}

impl Phone {
    /// A phone of `user@example.test` that is not behind NAT.
    pub(super) fn new(user: &str, source: &str) -> Self {
        Self {
            source: source.into(),
            connection: None,
            via: source.into(),
            uri: "sip:example.test".into(),
            from: format!("<sip:{user}@example.test>"),
            to: format!("<sip:{user}@example.test>"),
            username: user.into(),
            password: "Wonderland-2026".into(),
            call_id: format!("{user}-{source}"),
            cseq: 0,
            branch: 0,
            last: String::new(),
            nonce: None,
            nc: 0,
        }
    }

    /// The same behind NAT.
    pub(super) fn behind_nat(user: &str, source: &str) -> Self {
        Self {
            via: "10.0.0.9:5060;rport".into(),
            ..Self::new(user, source)
        }
    }

    pub(super) fn arrival(&self) -> Arrival {
        match self.connection {
            Some(flow) => Arrival { flow },
            None => testing::arrival(&self.source),
        }
    }

    /// Registers with these header lines (each ended by CRLF), answering a challenge.
    pub(super) fn register(&mut self, bench: &mut Bench, lines: &str) -> Answer {
        for _ in 0..2 {
            let text = self.render(lines);
            let answer = bench.deliver(self.arrival(), &text).unwrap();
            if answer.status != 401 {
                return answer;
            }
            self.take_challenge(&answer);
        }
        panic!("challenged twice");
    }

    /// Registers one contact.
    pub(super) fn contact(&mut self, bench: &mut Bench, contact: &str) -> Answer {
        self.register(bench, &format!("Contact: {contact}\r\n"))
    }

    /// Registers without answering a challenge.
    pub(super) fn register_once(&mut self, bench: &mut Bench, lines: &str) -> Option<Answer> {
        let text = self.render(lines);
        bench.deliver(self.arrival(), &text)
    }

    /// The REGISTER sent last, octet for octet.
    pub(super) fn again(&mut self, bench: &mut Bench) -> Option<Answer> {
        bench.deliver(self.arrival(), &self.last.clone())
    }

    pub(super) fn take_challenge(&mut self, answer: &Answer) {
        let challenge = answer.headers("WWW-Authenticate")[0];
        let (_, rest) = challenge.split_once("nonce=\"").unwrap();
        self.nonce = Some(rest.split_once('"').unwrap().0.to_owned());
        self.nc = 0;
    }

    fn render(&mut self, lines: &str) -> String {
        self.cseq += 1;
        self.branch += 1;
        let authorization = self.authorization();
        let Self {
            via,
            uri,
            from,
            to,
            call_id,
            cseq,
            branch,
            ..
        } = self;
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {via};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\n\
             From: {from};tag=from\r\n\
             To: {to}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             {lines}{authorization}\
             Content-Length: 0\r\n\r\n"
        );
        self.last = text.clone();
        text
    }

    fn authorization(&mut self) -> String {
        let Some(nonce) = &self.nonce else {
            return String::new();
        };
        self.nc += 1;
        let Self {
            username,
            password,
            uri,
            nc,
            ..
        } = self;
        let ha1 = md5_hex(&format!("{username}:ringfence:{password}"));
        let ha2 = md5_hex(&format!("REGISTER:{uri}"));
        let response = md5_hex(&format!("{ha1}:{nonce}:{nc:08x}:c0ffee:auth:{ha2}"));
        format!(
            "Authorization: Digest username=\"{username}\", realm=\"ringfence\", \
             nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5, \
             cnonce=\"c0ffee\", qop=auth, nc={nc:08x}\r\n"
        )
    }
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text)
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}
