//! A core whose datagrams say what it shall do: the first octet is the order.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringfence::shard::{Core, datagram_in_hand};
use ringfence::sip::{
    Arrival, Command, Counter, Counters, Flow, Now, Outbox, Report, ShardId, ShardMessage, Time,
};
use ringfence::tenant::{DomainId, Tables};

/// Datagrams sent for one that orders many.
pub(crate) const REPLIES: u8 = 24;

/// Questions waiting for an answer: number, who wants to know.
const QUESTIONS_MAX: usize = 64;

/// The core.
pub(crate) struct ScriptCore {
    shard: ShardId,
    shards: u8,
    tables: Arc<Tables>,
    counters: Counters,
    questions: Vec<(u64, Flow)>,
    asked: u64,
    /// When a timer is due, and the number its report bears.
    timer: Option<(Time, u64)>,
    scratch: Vec<u8>,
}

impl ScriptCore {
    pub(crate) fn new(shard: ShardId, shards: u8, tables: Arc<Tables>) -> Self {
        Self {
            shard,
            shards,
            tables,
            counters: Counters::new(),
            questions: Vec::with_capacity(QUESTIONS_MAX),
            asked: 0,
            timer: None,
            scratch: Vec::with_capacity(70_000),
        }
    }

    fn other(&self) -> ShardId {
        ShardId((self.shard.0 + 1) % self.shards)
    }

    /// Sends our shard number and `bytes`.
    fn reply(&mut self, flow: Flow, bytes: &[u8], out: &mut Outbox) {
        self.scratch.clear();
        self.scratch.push(b'0' + self.shard.0);
        self.scratch.extend_from_slice(bytes);
        assert!(out.send(flow, &self.scratch));
    }

    /// Sends our shard number and the datagram in hand, if it is that flow's.
    fn reply_in_hand(&mut self, flow: Flow, out: &mut Outbox) {
        let held = datagram_in_hand(|source, bytes| (source, bytes.to_vec()));
        let (source, bytes) = held.unwrap();
        assert_eq!(source, flow.peer());
        self.reply(flow, bytes.strip_prefix(b"h").unwrap_or(&bytes), out);
    }

    /// Sends our shard number and `number`.
    fn reply_number(&mut self, flow: Flow, number: usize, out: &mut Outbox) {
        self.scratch.clear();
        write!(self.scratch, "{}{number}", self.shard.0).unwrap();
        assert!(out.send(flow, &self.scratch));
    }
}

impl Core for ScriptCore {
    fn handle_message(&mut self, now: Now, arrival: Arrival, bytes: &[u8], out: &mut Outbox) {
        self.counters.add(Counter::Received);
        assert!(now.time.0 > 0 && now.wall.0 > 1_600_000_000_000);
        let flow = arrival.flow;
        match bytes.first() {
            // Echo, untouched.
            Some(b'e') => assert!(out.send(flow, bytes)),
            // Which shard got it.
            Some(b'w') => self.reply(flow, &bytes[1..], out),
            // Hand it over: the other shard replies.
            Some(b'h') => {
                let sent =
                    out.try_to_shard(self.other(), ShardMessage::HandOver { arrival }, bytes);
                if !sent {
                    self.reply(flow, b"full", out);
                }
            }
            // Ask the other shard, reply when it answers.
            Some(b'q') => {
                self.asked += 1;
                let question = self.asked;
                let locate = ShardMessage::Locate {
                    question,
                    domain: DomainId(7),
                };
                assert!(out.try_to_shard(self.other(), locate, bytes));
                assert!(self.questions.len() < QUESTIONS_MAX);
                self.questions.push((question, flow));
            }
            // Fill the queue to the other shard with one-way messages, a hundred per datagram;
            // reply how many it took.
            Some(b'f') => {
                let message = ShardMessage::Release { limit: 9 };
                let taken = (0..100)
                    .take_while(|_| out.try_to_shard(self.other(), message, bytes))
                    .count();
                self.reply_number(flow, taken, out);
            }
            // The same with questions.
            Some(b'Q') => {
                let message = ShardMessage::Permit {
                    question: 0,
                    limit: 1,
                    calls_max: 1,
                    cps_max: 1,
                };
                let taken = (0..100)
                    .take_while(|_| out.try_to_shard(self.other(), message, bytes))
                    .count();
                self.reply_number(flow, taken, out);
            }
            // How many datagrams without an order came so far.
            Some(b'c') => {
                let count = self.counters.value(Counter::KeepAlives) as usize;
                self.reply_number(flow, count, out);
            }
            // What a panic's hook would see.
            Some(b'p') => self.reply_in_hand(flow, out),
            // Hold this shard up for so many milliseconds.
            Some(b's') => {
                let text = std::str::from_utf8(&bytes[1..]).unwrap();
                std::thread::sleep(Duration::from_millis(text.parse().unwrap()));
            }
            // Send to somebody else.
            Some(b't') => {
                let text = std::str::from_utf8(&bytes[1..]).unwrap();
                let peer = text.parse::<SocketAddr>().unwrap().into();
                assert!(out.send(
                    Flow::Udp {
                        listener: flow.listener(),
                        peer
                    },
                    b"hello"
                ));
            }
            // Many datagrams back.
            Some(b'm') => {
                for n in 0..REPLIES {
                    assert!(out.send(flow, &[b'm', n]));
                }
            }
            Some(_) | None => self.counters.add(Counter::KeepAlives),
        }
    }

    fn handle_shard_message(
        &mut self,
        _now: Now,
        from: ShardId,
        message: ShardMessage,
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        assert_ne!(from, self.shard);
        match message {
            ShardMessage::HandOver { arrival } if bytes[1..].first() == Some(&b'p') => {
                self.reply_in_hand(arrival.flow, out);
            }
            ShardMessage::HandOver { arrival } => self.reply(arrival.flow, &bytes[1..], out),
            ShardMessage::Locate { question, domain } => {
                assert_eq!(domain, DomainId(7));
                self.scratch.clear();
                self.scratch.extend_from_slice(bytes);
                self.scratch.push(b'!');
                let answer = ShardMessage::Located {
                    question,
                    replaying: false,
                };
                assert!(out.try_to_shard(from, answer, &self.scratch));
            }
            ShardMessage::Located { question, .. } => {
                let at = self
                    .questions
                    .iter()
                    .position(|asked| asked.0 == question)
                    .unwrap();
                let (_, flow) = self.questions.swap_remove(at);
                self.reply(flow, &bytes[1..], out);
            }
            ShardMessage::Permit { question, .. } => {
                let answer = ShardMessage::Permitted {
                    question,
                    granted: true,
                };
                assert!(out.try_to_shard(from, answer, &[]));
            }
            ShardMessage::Permitted { granted, .. } => assert!(granted),
            ShardMessage::Release { limit } => {
                assert_eq!((limit, bytes[0]), (9, b'f'));
                self.counters.add(Counter::Absorbed);
            }
            ShardMessage::Register { .. }
            | ShardMessage::Cancel { .. }
            | ShardMessage::CancelTaken { .. }
            | ShardMessage::TargetState { .. }
            | ShardMessage::Unreachable { .. } => panic!("nobody sends this"),
        }
    }

    fn handle_command(&mut self, now: Now, command: Command, out: &mut Outbox) {
        match command {
            Command::ListBindings { id, count, .. } => {
                for _ in 0..count {
                    out.report(Report::Removed {
                        id,
                        count: u32::from(self.shard.0),
                    });
                }
            }
            Command::RemoveBindings { id, aor } => {
                self.timer = Some((now.time.plus_ms(aor.parse().unwrap()), id));
            }
            Command::Drain => {}
        }
    }

    fn handle_tables(&mut self, _: Now, tables: Arc<Tables>, _: &mut Outbox) -> Arc<Tables> {
        assert!(tables.generation > self.tables.generation);
        std::mem::replace(&mut self.tables, tables)
    }

    fn handle_unreachable(&mut self, _: Now, flow: Flow, out: &mut Outbox) {
        self.counters.add(Counter::SendFailed);
        out.report(Report::Removed {
            id: u64::from(flow.peer().port()),
            count: 404,
        });
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        if let Some((_, id)) = self.timer.take_if(|(due, _)| *due <= now.time) {
            out.report(Report::Removed { id, count: 1 });
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.timer.map(|(due, _)| due)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
