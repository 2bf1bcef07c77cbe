//! Phones behind address translation: they register, are called, call, and either side hangs up.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::agent::{Agent, Registration};
use super::call::call;
use super::edge::{Edge, Scratch, tenants};
use super::namespace::Namespace;

/// Where the phone is, for itself.
const PHONE: &str = "192.168.77.10";
/// The translator's address that the edge sees.
const OUTSIDE: &str = "203.0.113.2";
/// How long the translator remembers a flow that nobody uses, seconds.
const TRANSLATION_S: u64 = 2;

/// A phone, its translator, the edge and a far end, each in a network of its own.
struct Networks {
    phone: Namespace,
    /// Holds the translation.
    _translator: Namespace,
    edge: Namespace,
    far: Namespace,
}

impl Networks {
    fn new() -> Self {
        let [phone, translator, edge, far] = std::array::from_fn(|_| Namespace::new());
        translator.connect("inside", "192.168.77.1/24", &phone, &format!("{PHONE}/24"));
        translator.connect("outside", &format!("{OUTSIDE}/24"), &edge, "203.0.113.1/24");
        edge.connect("far", "198.51.100.1/24", &far, "198.51.100.20/24");
        phone.run("ip route add default via 192.168.77.1");
        far.run("ip route add default via 198.51.100.1");
        // What the edge sent to a private address would leave by here, and is counted.
        edge.run(&format!("ip route add default via {OUTSIDE}"));
        edge.run("nft add table ip watch");
        edge.run("nft add chain ip watch out { type filter hook output priority 0 ; }");
        edge.run("nft add counter ip watch private");
        edge.run("nft add rule ip watch out ip daddr 192.168.0.0/16 counter name private drop");
        translator.run("sysctl -q net.ipv4.ip_forward=1");
        translator.run("nft add table ip translation");
        translator
            .run("nft add chain ip translation out { type nat hook postrouting priority 100 ; }");
        translator.run(
            "nft add rule ip translation out oifname outside meta l4proto udp \
             masquerade to :40000-40999",
        );
        for timeout in ["udp_timeout", "udp_timeout_stream"] {
            translator.run(&format!(
                "sysctl -q net.netfilter.nf_conntrack_{timeout}={TRANSLATION_S}"
            ));
        }
        Self {
            phone,
            _translator: translator,
            edge,
            far,
        }
    }

    /// Datagrams that the edge's network tried to send to private addresses.
    fn sent_to_private(&self) -> u64 {
        let text = self.edge.run("nft -j list counter ip watch private");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let objects = json["nftables"].as_array().unwrap();
        let counter = objects.iter().find_map(|object| object.get("counter"));
        counter.unwrap()["packets"].as_u64().unwrap()
    }
}

/// Calls in both directions, each hung up by each side.
fn call_both_ways(phone: &Agent, far: &Agent) {
    for (caller, callee) in [(far, phone), (phone, far)] {
        let up = call(caller, callee, &callee.aor());
        up.caller.renew(&up.callee);
        up.caller.hang_up(&up.callee);
        let up = call(caller, callee, &callee.aor());
        up.callee.renew(&up.caller);
        up.callee.hang_up(&up.caller);
    }
}

#[test]
fn a_phone_behind_a_translator_is_called_calls_and_both_sides_hang_up() {
    let networks = Networks::new();
    let scratch = Scratch::new("nat");
    let text = tenants(["alice", "bob"], &["203.0.113.0/24", "198.51.100.0/24"]);
    let set = [
        "listen.udp=[\"203.0.113.1:5060\", \"198.51.100.1:5060\"]",
        "registrar.nat_keepalive_s=1",
    ];
    let edge = Edge::start_in(&networks.edge, &scratch, &text, &set);
    let agent = |network: &Namespace, user, host: &str, listener: usize| {
        let socket = network.inside(|| UdpSocket::bind((host, 5060)).unwrap());
        Agent::on(socket, user, edge.listener(listener))
    };
    let phone = agent(&networks.phone, "alice", PHONE, 0);
    let far = agent(&networks.far, "bob", "198.51.100.20", 1);
    Registration::new(&phone).register(600);
    Registration::new(&far).register(600);

    let rows = edge.registrations();
    let alice = rows.iter().find(|row| row["aor"] == "alice@example.test");
    let alice = alice.unwrap();
    assert_eq!(alice["contact"], format!("sip:alice@{PHONE}:5060"));
    assert_eq!(alice["behind_nat"], true);
    let source: SocketAddr = alice["source"].as_str().unwrap().parse().unwrap();
    assert_eq!(source.ip().to_string(), OUTSIDE);
    assert!((40_000..41_000).contains(&source.port()), "{source}");
    let bob = rows.iter().find(|row| row["aor"] == "bob@example.test");
    assert_eq!(bob.unwrap()["behind_nat"], false);

    // Only keep-alives hold the way open until somebody calls.
    let before = phone.keepalives();
    phone.expect_silence(Duration::from_secs(TRANSLATION_S + 1));
    let kept = phone.keepalives() - before;
    assert!(
        (2..=4).contains(&kept),
        "{kept} keep-alives in three seconds"
    );
    call_both_ways(&phone, &far);
    assert_eq!(
        far.keepalives(),
        0,
        "the far end is not behind a translator"
    );

    assert_eq!(networks.sent_to_private(), 0);
    edge.expect_counter("sends_failed_total", 0);
    // The watch does see what goes there.
    networks.edge.inside(|| {
        let socket = UdpSocket::bind("203.0.113.1:0").unwrap();
        let _ = socket.send_to(b"hello", (PHONE, 5060));
    });
    assert_eq!(networks.sent_to_private(), 1);
}

#[test]
fn a_phone_whose_source_is_not_its_contact_is_reached_at_its_source() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("source-{io}"));
        let io = format!("shards.io={io}");
        let set = [io.as_str(), "registrar.nat_keepalive_s=1"];
        let text = tenants(["alice", "bob"], &["127.0.0.0/8"]);
        let edge = Edge::start(&scratch, &text, &set);
        let phone = Agent::new("alice", "127.0.0.1", edge.address()).claiming("10.99.0.7:5062");
        let far = Agent::new("bob", "127.0.0.1", edge.address());
        Registration::new(&phone).register(600);
        Registration::new(&far).register(600);
        call_both_ways(&phone, &far);
        phone.expect_silence(Duration::from_millis(1_500));
        assert!(phone.keepalives() >= 1);
        assert_eq!(far.keepalives(), 0);
        edge.expect_counter("sends_failed_total", 0);
    }
}

#[test]
fn two_phones_behind_one_address_with_the_same_contact_are_told_apart() {
    let scratch = Scratch::new("same");
    let text = tenants(["alice", "bob", "carol"], &["127.0.0.0/8"]);
    let edge = Edge::start(&scratch, &text, &[]);
    let [alice, bob] = ["alice", "bob"]
        .map(|user| Agent::new(user, "127.0.0.1", edge.address()).claiming("192.168.1.2:5060"));
    let carol = Agent::new("carol", "127.0.0.1", edge.address());
    for agent in [&alice, &bob, &carol] {
        Registration::new(agent).register(600);
    }
    call_both_ways(&alice, &carol);
    call_both_ways(&bob, &carol);
    call_both_ways(&alice, &bob);
}
