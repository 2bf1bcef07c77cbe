//! In steady state a reactor allocates nothing: not for datagrams, not for messages between
//! shards, not for sleeping and waking.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "reactor/core.rs"]
mod core;

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringfence::shard::{Bind, Config, Io, Listeners, Meter, Origin, Runtime};
use ringfence::sip::ListenerId;
use ringfence::tenant::Tables;

use self::core::{REPLIES, ScriptCore};

/// Counts the allocations of threads that are shards.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Set by the shard's own core; const, so that reading it allocates nothing.
    static IS_SHARD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn count() {
    if IS_SHARD.try_with(std::cell::Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator unchanged; counting touches no heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above; `pointer` came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn start(io: Io, shards: u8) -> Runtime {
    let bind = Bind {
        id: ListenerId(0),
        address: "127.0.0.1:0".parse().unwrap(),
    };
    let listeners = Listeners::open(&[bind], usize::from(shards)).unwrap();
    let config = Config {
        io,
        cores: Vec::new(),
        spin_us_max: 20,
        meter: Meter::Monotonic,
        origin: Origin::new(),
        tables: Arc::new(Tables::default()),
        poison: Vec::new(),
    };
    let tables = Arc::clone(&config.tables);
    Runtime::start(&config, listeners, move |shard, _| {
        IS_SHARD.set(true);
        ScriptCore::new(shard, shards, Arc::clone(&tables))
    })
    .unwrap()
}

/// Every kind of work, over and over.
fn work(sockets: &[UdpSocket], rounds: usize) {
    let mut buffer = vec![0; 70_000];
    let large = vec![b'e'; 65_507];
    for round in 0..rounds {
        for socket in sockets {
            for order in [&b"e small"[..], b"h over", b"q user@host", b"f", b"Q"] {
                socket.send(order).unwrap();
                socket.recv(&mut buffer).unwrap();
            }
            socket.send(&large).unwrap();
            socket.recv(&mut buffer).unwrap();
            socket.send(b"m").unwrap();
            for _ in 0..REPLIES {
                socket.recv(&mut buffer).unwrap();
            }
        }
        if round % 10 == 0 {
            // Long enough to be parked and woken.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn steady_state_allocates_nothing() {
    for io in [Io::Uring, Io::Mmsg] {
        let runtime = start(io, 2);
        let sockets: Vec<UdpSocket> = (0..8)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket2::SockRef::from(&socket)
                    .set_recv_buffer_size(4 << 20)
                    .unwrap();
                socket.connect(runtime.binds()[0].address).unwrap();
                socket
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                socket
            })
            .collect();
        work(&sockets, 3);
        // Starting up does allocate, so the counter works.
        assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        work(&sockets, 40);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{io:?}");
        runtime.stop();
    }
}
