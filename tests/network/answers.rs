//! Where answers go: to the source address and never another, and never much more than came.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::agent::{Agent, PATIENCE};
use super::edge::{Edge, Scratch, tenants};
use super::message::{Message, parameter};

/// A socket that stands for somebody whom an answer could be aimed at.
fn bystander(host: &str) -> UdpSocket {
    UdpSocket::bind((host, 0)).unwrap()
}

/// The first message at `socket` within `patience`.
fn received(socket: &UdpSocket, patience: Duration) -> Option<Message> {
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut octets = [0; 4096];
    let length = socket.recv(&mut octets).ok()?;
    Some(Message::read(&octets[..length]))
}

/// OPTIONS for the edge with this Via.
fn options(agent: &Agent, via: &str) -> String {
    let text = agent.request("OPTIONS", &format!("sip:{}", agent.edge()), "", "");
    let ours = text.lines().nth(1).unwrap().to_owned();
    text.replacen(
        &ours,
        &format!("Via: SIP/2.0/UDP {via};branch=z9hG4bK-{}", agent.fresh()),
        1,
    )
}

#[test]
fn an_answer_goes_to_its_source_whatever_the_via_says() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("via-{io}"));
        let text = tenants(["alice"], &["127.0.0.0/8"]);
        let edge = Edge::start(&scratch, &text, &[&format!("shards.io={io}")]);
        let agent = Agent::new("alice", "127.0.0.1", edge.address());
        let victim = bystander("127.0.0.99");
        let neighbour = bystander("127.0.0.1");
        let aimed = victim.local_addr().unwrap();
        let port = agent.address().port();
        let to_source = [
            format!("{aimed}"),
            format!("{aimed};rport"),
            format!("127.0.0.1:{port};maddr=127.0.0.99"),
            format!("127.0.0.1:{port};received=127.0.0.99"),
            format!("{aimed};received=127.0.0.99;rport={}", aimed.port()),
            format!("victim.test:{}", aimed.port()),
            format!("[::1]:{};rport", aimed.port()),
            // RFC 3581 §4: rport goes before the port of sent-by.
            format!("127.0.0.1:{};rport", neighbour.local_addr().unwrap().port()),
        ];
        for via in to_source {
            agent.send(options(&agent, &via).as_bytes());
            let answer = agent.receive_raw(PATIENCE);
            let answer = answer.unwrap_or_else(|| panic!("silence after {via}"));
            assert_eq!(answer.status(), Some(200), "{via}: {answer:?}");
            let stamped = answer.header("Via");
            if via.ends_with(";rport") {
                // RFC 3581 §4.
                let source = agent.address().port().to_string();
                assert_eq!(
                    parameter(stamped, "rport"),
                    Some(source.as_str()),
                    "{stamped}"
                );
                assert_eq!(
                    parameter(stamped, "received"),
                    Some("127.0.0.1"),
                    "{stamped}"
                );
            }
        }
        // RFC 3261 §18.2.2: without rport, the port of sent-by at the source address.
        let behind = format!("127.0.0.1:{}", neighbour.local_addr().unwrap().port());
        agent.send(options(&agent, &behind).as_bytes());
        let answer = received(&neighbour, PATIENCE).unwrap();
        assert_eq!(answer.status(), Some(200), "{answer:?}");
        agent.expect_silence(Duration::from_millis(50));
        assert!(received(&victim, Duration::from_millis(50)).is_none());
        assert!(received(&neighbour, Duration::from_millis(50)).is_none());
    }
}

#[test]
fn a_source_that_proved_nothing_is_sent_hardly_more_than_it_sent() {
    const SHARDS: u64 = 2;
    const ALLOWANCE: u64 = 4096;
    let scratch = Scratch::new("amplification");
    let edge = Edge::start(&scratch, &tenants(["alice"], &["127.0.0.0/8"]), &[]);
    let address = edge.address();
    let host: IpAddr = "127.0.0.67".parse().unwrap();
    let socket = UdpSocket::bind(SocketAddr::new(host, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let start = Instant::now();
    let (mut sent, mut requests) = (0, 0);
    // As short as a request for a challenge can be: the answer is longer.
    for number in 0..400 {
        let request = format!(
            "REGISTER sip:example.test SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK{number}\r\n\
             f:<sip:a@b>;tag=1\r\nt:<sip:u{number}@example.test>\r\ni:{number}\r\n\
             CSeq:1 REGISTER\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), address).unwrap();
        sent += request.len() as u64;
        requests += 1;
    }
    let mut octets = [0; 4096];
    let (mut back, mut answers) = (0, 0);
    while let Ok(length) = socket.recv(&mut octets) {
        back += length as u64;
        answers += 1;
    }
    let seconds = start.elapsed().as_secs() + 1;
    let bound = sent + ALLOWANCE * SHARDS * seconds;
    assert!(answers > 0 && answers < requests, "{answers} of {requests}");
    assert!(
        back <= bound,
        "{back} octets for {sent} in {seconds} s, {answers} answers"
    );
    edge.expect_counter("dropped_amplification_total", requests - answers);
    edge.expect_every_message_accounted_for();
}
