//! The reactor with real sockets: every test runs over io_uring and over recvmmsg/sendmmsg.

#![allow(
    clippy::unwrap_used,
    clippy::field_reassign_with_default,
    missing_docs,
    reason = "a test"
)]

mod core;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence::limits;
use ringfence::shard::{
    Bind, Config, Io, Listeners, Meter, Origin, Poison, Runtime, Snapshot, datagram_in_hand,
};
use ringfence::sip::{Command, Counter, ListenerId, Report, ShardId};
use ringfence::tenant::Tables;

use self::core::{REPLIES, ScriptCore};

const PATIENCE: Duration = Duration::from_secs(10);

fn config(io: Io) -> Config {
    Config {
        io,
        cores: Vec::new(),
        spin_us_max: 50,
        meter: Meter::Monotonic,
        origin: Origin::new(),
        tables: Arc::new(Tables::default()),
        poison: Vec::new(),
    }
}

fn binds(addresses: &[&str]) -> Vec<Bind> {
    addresses
        .iter()
        .enumerate()
        // Gaps in the numbering, as where TCP listeners lie between.
        .map(|(n, text)| Bind {
            id: ListenerId(n as u8 * 3),
            address: text.parse().unwrap(),
        })
        .collect()
}

fn start(io: Io, addresses: &[&str], shards: u8) -> Runtime {
    let listeners = Listeners::open(&binds(addresses), usize::from(shards)).unwrap();
    start_on(io, listeners)
}

fn start_on(io: Io, listeners: Listeners) -> Runtime {
    let shards = listeners.shards() as u8;
    let config = config(io);
    let tables = Arc::clone(&config.tables);
    Runtime::start(&config, listeners, move |shard, _| {
        ScriptCore::new(shard, shards, Arc::clone(&tables))
    })
    .unwrap()
}

/// A phone: a socket connected to listener `index`.
fn client(runtime: &Runtime, index: usize) -> UdpSocket {
    let server = runtime.binds()[index].address;
    let any: SocketAddr = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    }
    .parse()
    .unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    // Room for the bursts of these tests.
    socket2::SockRef::from(&socket)
        .set_recv_buffer_size(4 << 20)
        .unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ask(socket: &UdpSocket, bytes: &[u8]) -> Vec<u8> {
    socket.send(bytes).unwrap();
    receive(socket)
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// A phone whose datagrams arrive at `shard`.
fn client_of(runtime: &Runtime, shard: u8) -> UdpSocket {
    for _ in 0..200 {
        let socket = client(runtime, 0);
        if ask(&socket, b"w")[0] == b'0' + shard {
            return socket;
        }
    }
    panic!("no flow reaches shard {shard}");
}

/// Waits until a shard's published numbers satisfy `check`.
fn wait_for(runtime: &Runtime, shard: u8, check: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let snapshot = runtime.snapshot(ShardId(shard));
        if check(&snapshot) {
            return snapshot;
        }
        assert!(
            Instant::now() < deadline,
            "never seen; last: {:?}",
            snapshot.stats
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn report(runtime: &Runtime) -> (ShardId, Report) {
    let (shard, report) = runtime.reports().recv_timeout(PATIENCE).unwrap();
    (shard, *report)
}

fn a_datagram_is_echoed_to_its_source(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let (first, second) = (client(&runtime, 0), client(&runtime, 0));
    for round in 0..20 {
        assert_eq!(
            ask(&first, format!("e1 {round}").as_bytes()),
            format!("e1 {round}").as_bytes()
        );
        assert_eq!(
            ask(&second, format!("e2 {round}").as_bytes()),
            format!("e2 {round}").as_bytes()
        );
    }
    let snapshot = wait_for(&runtime, 0, |now| now.stats.sent == 40);
    assert_eq!(snapshot.stats.received, 40);
    assert_eq!(snapshot.counter(Counter::Received), 40);
    assert!(snapshot.stats.busy_ns > 0 && snapshot.stats.busy_turns > 0);
    runtime.stop();
}

fn every_listener_answers_from_its_own_address(io: Io) {
    let runtime = start(io, &["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"], 2);
    for index in 0..3 {
        let socket = client(&runtime, index);
        // A connected socket takes datagrams of that address and port alone.
        assert_eq!(ask(&socket, b"e hello"), b"e hello");
        assert_eq!(ask(&socket, b"h over")[1..], *b" over");
    }
}

fn the_largest_datagram_is_taken_and_sent_whole(io: Io) {
    let runtime = start(io, &["127.0.0.1:0", "[::1]:0"], 1);
    for index in 0..2 {
        let socket = client(&runtime, index);
        let mut large: Vec<u8> = (0..limits::DATAGRAM_BYTES_MAX).map(|n| n as u8).collect();
        large[0] = b'e';
        assert!(ask(&socket, &large) == large);
        assert_eq!(ask(&socket, b"e small"), b"e small");
    }
}

fn a_datagram_beyond_the_largest_is_counted_and_dropped(io: Io) {
    let runtime = start(io, &["[::1]:0"], 1);
    let socket = client(&runtime, 0);
    // IPv6 permits 20 octets more than IPv4.
    socket
        .send(&vec![b'e'; limits::DATAGRAM_BYTES_MAX + 1])
        .unwrap();
    assert_eq!(ask(&socket, b"e after"), b"e after");
    wait_for(&runtime, 0, |now| now.stats.truncated == 1);
}

fn an_empty_datagram_reaches_the_core(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    client(&runtime, 0).send(&[]).unwrap();
    wait_for(&runtime, 0, |now| now.counter(Counter::KeepAlives) == 1);
}

fn ten_thousand_datagrams_in_a_window_are_all_answered(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let socket = client(&runtime, 0);
    let (total, window) = (10_000_u32, 200);
    let mut seen = vec![false; total as usize];
    let (mut sent, mut received) = (0, 0);
    while received < total {
        while sent < total && sent - received < window {
            let mut datagram = b"e".to_vec();
            datagram.extend_from_slice(&sent.to_be_bytes());
            socket.send(&datagram).unwrap();
            sent += 1;
        }
        let reply = receive(&socket);
        let number = u32::from_be_bytes(reply[1..5].try_into().unwrap());
        assert!(
            !std::mem::replace(&mut seen[number as usize], true),
            "{number} came twice"
        );
        received += 1;
    }
    wait_for(&runtime, 0, |now| now.stats.sent == u64::from(total));
}

fn a_burst_larger_than_all_buffers_waits_in_the_sockets(io: Io) {
    // The kernel fills a few dozen buffers per socket at a time, so it takes several sockets.
    let addresses = ["127.0.0.1:0"; 16];
    let runtime = start(io, &addresses, 1);
    let sockets: Vec<UdpSocket> = (0..16).map(|index| client(&runtime, index)).collect();
    sockets[0].send(b"s150").unwrap();
    let each = 4 * limits::RECEIVE_BUFFERS / 16;
    for socket in &sockets {
        for _ in 0..each {
            socket.send(b"nothing").unwrap();
        }
    }
    let burst = 16 * each as u64;
    let snapshot = wait_for(&runtime, 0, |now| now.counter(Counter::KeepAlives) == burst);
    assert_eq!(snapshot.stats.received, burst + 1);
    for socket in &sockets {
        assert_eq!(ask(socket, b"e still here"), b"e still here");
    }
    if io == Io::Uring {
        let empty = wait_for(&runtime, 0, |now| now.stats.receive_buffers_empty > 0);
        // Counted and re-armed, not spun on.
        assert!(empty.stats.receive_buffers_empty < 500, "{:?}", empty.stats);
    }
}

fn a_flood_of_one_listener_does_not_silence_the_others(io: Io) {
    let addresses = ["127.0.0.1:0"; 8];
    let runtime = start(io, &addresses, 1);
    let flooded: Vec<UdpSocket> = (0..4).map(|index| client(&runtime, index)).collect();
    let quiet = client(&runtime, 7);
    flooded[0].send(b"s400").unwrap();
    for _ in 0..20 * limits::RECEIVE_BUFFERS {
        for socket in &flooded {
            socket.send(b"nothing").unwrap();
        }
    }
    // How much of the flood was dealt with before the quiet one was heard.
    let before = ask_number(&quiet, b"c") as u64;
    let all = 80 * limits::RECEIVE_BUFFERS as u64;
    assert!(before < all / 4, "{before} of {all}");
    wait_for(&runtime, 0, |now| now.counter(Counter::KeepAlives) == all);
}

fn what_overflows_a_socket_is_counted(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let socket = client(&runtime, 0);
    socket.send(b"s1500").unwrap();
    let large = vec![b'n'; 60_000];
    // Linux doubles the size that was asked for; twice that is more than a socket can hold.
    let sent = 4 * limits::SOCKET_BUFFER_BYTES / large.len();
    for _ in 0..sent {
        socket.send(&large).unwrap();
    }
    let snapshot = wait_for(&runtime, 0, |now| now.stats.overflowed > 0);
    assert!(snapshot.stats.received + snapshot.stats.overflowed <= 1 + sent as u64);
}

fn more_sends_than_one_submission_holds_are_all_made(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let socket = client(&runtime, 0);
    socket.send(b"s50").unwrap();
    // The kernel hands over at most 32 at a time, so the second batch is a full one.
    let requests = 64;
    for _ in 0..requests {
        socket.send(b"m").unwrap();
    }
    for n in 0..requests * usize::from(REPLIES) {
        let reply = receive(&socket);
        assert_eq!(reply, [b'm', (n % usize::from(REPLIES)) as u8], "reply {n}");
    }
    let snapshot = wait_for(&runtime, 0, |now| {
        now.stats.sent as usize == requests * usize::from(REPLIES)
    });
    assert!(snapshot.stats.submissions_early > 0, "{:?}", snapshot.stats);
}

fn a_message_is_handed_over_and_answered_by_the_other_shard(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 2);
    for shard in 0..2 {
        let socket = client_of(&runtime, shard);
        let other = b'0' + (1 - shard);
        for round in 0..50 {
            let reply = ask(&socket, format!("h{round}").as_bytes());
            assert_eq!(reply[0], other);
            assert_eq!(reply[1..], *format!("{round}").as_bytes());
        }
        let large = vec![b'h'; 40_000];
        assert_eq!(ask(&socket, &large).len(), 40_000);
    }
    for shard in 0..2 {
        wait_for(&runtime, shard, |now| {
            now.stats.hops_received == 51 && now.stats.hops == 51
        });
    }
}

fn a_question_is_answered_by_the_other_shard(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 2);
    let socket = client_of(&runtime, 0);
    for round in 0..3 * limits::SHARD_REQUESTS_MAX {
        let reply = ask(&socket, format!("q{round}").as_bytes());
        assert_eq!(reply, format!("0{round}!").as_bytes());
    }
}

fn a_full_queue_is_told_to_the_core_and_nothing_is_lost(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 2);
    let (busy, stuck) = (client_of(&runtime, 0), client_of(&runtime, 1));
    stuck.send(b"s600").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let (mut one_way, mut questions) = (0, 0);
    for _ in 0..limits::SHARD_HANDOVERS_MAX / 100 + 3 {
        one_way += ask_number(&busy, b"f");
        questions += ask_number(&busy, b"Q");
    }
    assert_eq!(one_way, limits::SHARD_HANDOVERS_MAX);
    assert_eq!(questions, limits::SHARD_REQUESTS_MAX);
    // The other shard goes on: all that was taken arrives, all questions are answered, and there
    // is room again.
    let all = |now: &Snapshot| now.counter(Counter::Absorbed) as usize == one_way;
    wait_for(&runtime, 1, all);
    wait_for(&runtime, 0, |now| {
        now.stats.hops_received as usize == questions
    });
    assert!(wait_for(&runtime, 0, |_| true).stats.hops_full > 0);
    assert_eq!(ask_number(&busy, b"f"), 100);
    assert_eq!(ask_number(&busy, b"Q"), 100);
}

fn ask_number(socket: &UdpSocket, order: &[u8]) -> usize {
    let reply = ask(socket, order);
    std::str::from_utf8(&reply[1..]).unwrap().parse().unwrap()
}

fn shards_that_fill_each_others_queues_with_questions_do_not_deadlock(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 2);
    let sockets = [client_of(&runtime, 0), client_of(&runtime, 1)];
    let mut taken = [0; 2];
    for _ in 0..60 {
        for (taken, socket) in taken.iter_mut().zip(&sockets) {
            *taken += ask_number(socket, b"Q");
        }
    }
    for (shard, asked) in taken.into_iter().enumerate() {
        // Each shard receives the other one's questions and the answers to its own.
        let expected = taken[0] + taken[1];
        let snapshot = wait_for(&runtime, shard as u8, |now| {
            now.stats.hops_received as usize == expected
        });
        assert!(asked > 0 && snapshot.stats.hops as usize == expected);
    }
}

fn a_parked_shard_is_woken_by_datagrams_shards_and_commands(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 2);
    let socket = client_of(&runtime, 0);
    for round in 1..5 {
        std::thread::sleep(Duration::from_millis(30));
        let parks = [0, 1].map(|shard| wait_for(&runtime, shard, |now| now.stats.parks > 0));
        let started = Instant::now();
        assert_eq!(ask(&socket, b"h over"), b"1 over");
        // Far less than the longest sleep, so it was woken.
        assert!(started.elapsed() < Duration::from_millis(limits::PARK_MS_MAX / 2));
        let command = Command::ListBindings {
            id: round,
            cursor: 0,
            count: 1,
            filter: Default::default(),
        };
        std::thread::sleep(Duration::from_millis(30));
        let started = Instant::now();
        runtime.command(ShardId(1), command).unwrap();
        assert!(matches!(report(&runtime).1, Report::Removed { id, .. } if id == round));
        assert!(started.elapsed() < Duration::from_millis(limits::PARK_MS_MAX / 2));
        for (shard, before) in parks.iter().enumerate() {
            wait_for(&runtime, shard as u8, |now| {
                now.stats.parks > before.stats.parks
            });
        }
    }
    assert!(wait_for(&runtime, 0, |_| true).stats.wakes >= 4);
}

fn no_wake_is_lost_over_thousands_of_sleeps(io: Io) {
    let listeners = Listeners::open(&binds(&["127.0.0.1:0"]), 2).unwrap();
    // Without polling, every message finds both shards asleep or about to be.
    let config = Config {
        spin_us_max: 0,
        ..config(io)
    };
    let tables = Arc::clone(&config.tables);
    let runtime = Runtime::start(&config, listeners, move |shard, _| {
        ScriptCore::new(shard, 2, Arc::clone(&tables))
    })
    .unwrap();
    let socket = client_of(&runtime, 0);
    for round in 0..3_000 {
        let started = Instant::now();
        assert_eq!(ask(&socket, b"q?"), b"0?!");
        let elapsed = started.elapsed();
        assert!(
            elapsed < Duration::from_millis(limits::PARK_MS_MAX * 9 / 10),
            "round {round}"
        );
    }
    wait_for(&runtime, 0, |now| {
        now.stats.parks > 1_000 && now.stats.wakes > 500
    });
}

fn a_datagram_that_ended_the_last_process_is_dropped_for_a_while(io: Io) {
    let listeners = Listeners::open(&binds(&["127.0.0.1:0"]), 1).unwrap();
    let server = listeners.binds()[0].address;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let source = socket.local_addr().unwrap();
    let poison = vec![Poison::new(source.into(), b"e of death")];
    let config = Config {
        poison,
        ..config(io)
    };
    let tables = Arc::clone(&config.tables);
    let runtime = Runtime::start(&config, listeners, move |shard, _| {
        ScriptCore::new(shard, 1, Arc::clone(&tables))
    })
    .unwrap();
    socket.send(b"e of death").unwrap();
    assert_eq!(ask(&socket, b"e of life"), b"e of life");
    // The same octets of somebody else are not it.
    assert_eq!(ask(&client(&runtime, 0), b"e of death"), b"e of death");
    wait_for(&runtime, 0, |now| {
        now.stats.poisoned == 1 && now.stats.received == 3
    });
}

fn the_datagram_in_hand_can_be_read_while_the_core_has_it(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 2);
    let socket = client_of(&runtime, 0);
    let expected = format!("p {}", socket.local_addr().unwrap());
    assert_eq!(ask(&socket, expected.as_bytes())[1..], *expected.as_bytes());
    // The same where it was handed over to.
    assert_eq!(
        ask(&socket, format!("h{expected}").as_bytes())[1..],
        *expected.as_bytes()
    );
    assert_eq!(datagram_in_hand(|_, bytes| bytes.len()), None);
}

fn a_parked_shard_runs_its_timer_in_time(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let started = Instant::now();
    let command = Command::RemoveBindings {
        id: 5,
        aor: "150".to_owned(),
    };
    runtime.command(ShardId(0), command).unwrap();
    assert!(matches!(
        report(&runtime).1,
        Report::Removed { id: 5, count: 1 }
    ));
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(150), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(900), "{elapsed:?}");
}

fn an_idle_shard_sleeps_and_still_shows_life(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    wait_for(&runtime, 0, |now| now.stats.parks > 0);
    let before = runtime.snapshot(ShardId(0)).stats;
    std::thread::sleep(Duration::from_millis(2_500));
    let after = runtime.snapshot(ShardId(0)).stats;
    assert!(after.turns > before.turns);
    assert!(
        after.parks - before.parks <= 5,
        "it wakes without reason: {before:?} {after:?}"
    );
}

fn reports_that_nobody_takes_hold_commands_back_and_are_not_lost(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let pages = 100;
    let rounds = limits::REPORTS_MAX as u64 / pages + 5;
    let mut accepted = 0;
    for id in 0..rounds {
        let mut command = Command::ListBindings {
            id,
            cursor: 0,
            count: pages as u32,
            filter: Default::default(),
        };
        while let Err(back) = runtime.command(ShardId(0), command) {
            command = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        accepted += 1;
    }
    std::thread::sleep(Duration::from_millis(100));
    for expected in 0..accepted * pages {
        let (shard, report) = report(&runtime);
        assert_eq!(shard, ShardId(0));
        assert!(matches!(report, Report::Removed { id, .. } if id == expected / pages));
    }
    assert_eq!(runtime.snapshot(ShardId(0)).stats.reports_lost, 0);
}

fn too_many_commands_come_back(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    client(&runtime, 0).send(b"s400").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let accepted = (0..2 * limits::COMMANDS_MAX)
        .filter(|_| runtime.command(ShardId(0), Command::Drain).is_ok())
        .count();
    assert_eq!(accepted, limits::COMMANDS_MAX);
    wait_for(&runtime, 0, |now| {
        now.stats.commands as usize == limits::COMMANDS_MAX
    });
}

fn tables_reach_every_shard_and_old_ones_are_freed_by_the_control_side(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 2);
    let mut watches = Vec::new();
    for generation in 1..=20 {
        let mut tables = Tables::default();
        tables.generation = generation;
        let tables = Arc::new(tables);
        watches.push(Arc::downgrade(&tables));
        let started = Instant::now();
        runtime.publish(tables);
        while runtime.tables_generation() < generation {
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // Where the last publication did not free them yet, because a shard was still to leave them.
    runtime.free_tables();
    let alive = watches
        .iter()
        .filter(|watch| watch.strong_count() > 0)
        .count();
    assert_eq!(alive, 1, "only the current generation is held");
}

fn an_icmp_error_becomes_an_event_for_its_peer_alone(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let socket = client(&runtime, 0);
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for _ in 0..5 {
        socket.send(format!("t{closed}").as_bytes()).unwrap();
        let (_, report) = report(&runtime);
        let port = u64::from(closed.port());
        assert!(
            matches!(report, Report::Removed { id, count: 404 } if id == port),
            "{report:?}"
        );
        // The error of that peer does not harm the next send to another one.
        assert_eq!(ask(&socket, b"e mine"), b"e mine");
    }
}

fn icmp_errors_do_not_harm_sends_to_others_in_the_same_turn(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let socket = client(&runtime, 0);
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    socket.send(b"s50").unwrap();
    let rounds = 40;
    for _ in 0..rounds {
        socket.send(format!("t{closed}").as_bytes()).unwrap();
        socket.send(b"e mine").unwrap();
    }
    for _ in 0..rounds {
        assert_eq!(receive(&socket), b"e mine");
    }
    let reported = report(&runtime);
    assert!(matches!(reported.1, Report::Removed { count: 404, .. }));
}

fn a_send_that_the_kernel_refuses_is_an_event(io: Io) {
    let runtime = start(io, &["127.0.0.1:0"], 1);
    let socket = client(&runtime, 0);
    // A loopback socket can not reach a foreign network, and an IPv4 socket no IPv6 peer.
    for peer in ["192.0.2.1:5060", "[::1]:5061"] {
        socket.send(format!("t{peer}").as_bytes()).unwrap();
        let port = u64::from(peer.parse::<SocketAddr>().unwrap().port());
        let (_, report) = report(&runtime);
        assert!(
            matches!(report, Report::Removed { id, count: 404 } if id == port),
            "{report:?}"
        );
    }
    assert_eq!(ask(&socket, b"e still here"), b"e still here");
    wait_for(&runtime, 0, |now| {
        now.stats.sends_refused == 2 && now.stats.sent == 1
    });
}

fn a_stopped_runtime_frees_its_port_at_once(io: Io) {
    let mut addresses = vec!["127.0.0.1:0".to_owned(), "[::1]:0".to_owned()];
    for _ in 0..5 {
        let texts: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let opening = Instant::now();
        let runtime = start(io, &texts, 2);
        assert!(opening.elapsed() < Duration::from_millis(limits::BIND_RETRY_MS));
        assert_eq!(ask(&client(&runtime, 0), b"e again"), b"e again");
        addresses = runtime
            .binds()
            .iter()
            .map(|bind| bind.address.to_string())
            .collect();
        runtime.stop();
        for address in &addresses {
            UdpSocket::bind(address).unwrap();
        }
    }
}

fn a_core_that_does_not_exist_is_an_error(io: Io) {
    let listeners = Listeners::open(&binds(&["127.0.0.1:0"]), 1).unwrap();
    let mut config = config(io);
    config.cores = vec![4_095];
    let tables = Arc::clone(&config.tables);
    let error = Runtime::start(&config, listeners, move |shard, _| {
        ScriptCore::new(shard, 1, Arc::clone(&tables))
    });
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("[shards] cores") && text.contains("4095"),
        "{text}"
    );
}

macro_rules! on_both_backends {
    ($($name:ident,)+) => {
        mod uring {
            $(#[test] fn $name() { super::$name(ringfence::shard::Io::Uring); })+
        }
        mod mmsg {
            $(#[test] fn $name() { super::$name(ringfence::shard::Io::Mmsg); })+
        }
    };
}

on_both_backends! {
    a_datagram_is_echoed_to_its_source,
    every_listener_answers_from_its_own_address,
    the_largest_datagram_is_taken_and_sent_whole,
    a_datagram_beyond_the_largest_is_counted_and_dropped,
    an_empty_datagram_reaches_the_core,
    ten_thousand_datagrams_in_a_window_are_all_answered,
    a_burst_larger_than_all_buffers_waits_in_the_sockets,
    a_flood_of_one_listener_does_not_silence_the_others,
    what_overflows_a_socket_is_counted,
    more_sends_than_one_submission_holds_are_all_made,
    a_message_is_handed_over_and_answered_by_the_other_shard,
    a_question_is_answered_by_the_other_shard,
    a_full_queue_is_told_to_the_core_and_nothing_is_lost,
    shards_that_fill_each_others_queues_with_questions_do_not_deadlock,
    a_parked_shard_is_woken_by_datagrams_shards_and_commands,
    no_wake_is_lost_over_thousands_of_sleeps,
    a_datagram_that_ended_the_last_process_is_dropped_for_a_while,
    the_datagram_in_hand_can_be_read_while_the_core_has_it,
    a_parked_shard_runs_its_timer_in_time,
    an_idle_shard_sleeps_and_still_shows_life,
    reports_that_nobody_takes_hold_commands_back_and_are_not_lost,
    too_many_commands_come_back,
    tables_reach_every_shard_and_old_ones_are_freed_by_the_control_side,
    an_icmp_error_becomes_an_event_for_its_peer_alone,
    icmp_errors_do_not_harm_sends_to_others_in_the_same_turn,
    a_send_that_the_kernel_refuses_is_an_event,
    a_stopped_runtime_frees_its_port_at_once,
    a_core_that_does_not_exist_is_an_error,
}
