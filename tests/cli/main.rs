//! The binary as an operator uses it: start, commands, signals, and what it says when something is
//! wrong.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod edge;
mod readme;

use std::fs;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use edge::{Edge, Scratch, command, run_to_end};
use serde_json::Value;

const TENANTS: &str = r#"
[[account]]
name = "demo"
[[account.credential_list]]
name = "phones"
users = [{ username = "alice", password = "Wonderland-2026" }]
[[account.domain]]
name = "example.test"
calls = { ip_acls = ["local"] }
registrations = { credential_lists = ["phones"] }
[[account.ip_acl]]
name = "local"
entries = ["127.0.0.0/8"]
"#;

#[test]
fn an_edge_runs_takes_tenants_shows_itself_and_drains_on_sigterm() {
    let scratch = Scratch::new("life");
    let mut edge = Edge::start(&scratch, "", &[]);
    assert_eq!(edge.ready["ready"], true);
    assert_eq!(edge.ready["pid"], edge.pid());
    let address = edge.ready["udp"][0].as_str().unwrap();
    assert!(
        address.starts_with("127.0.0.1:") && !address.ends_with(":0"),
        "{address}"
    );

    let file = scratch.write("tenants.toml", TENANTS);
    let applied = edge.json(&["apply", &file, "--json"]);
    assert_eq!(applied["added"].as_array().unwrap().len(), 4, "{applied}");
    assert_eq!(edge.said(&["apply", &file]), "nothing to change\n");
    let stats = edge.json(&["stats", "--json"]);
    assert_eq!(stats["tenants"]["credentials"], 1);
    assert_eq!(stats["shards"].as_array().unwrap().len(), 2);
    let capacity = &stats["capacity"];
    assert_eq!(
        capacity["client_transactions"].as_u64().unwrap(),
        2 * capacity["transactions"].as_u64().unwrap()
    );
    assert_eq!(
        stats["total"]["reactor"]["tables_generation"],
        applied["generation"]
    );
    assert_eq!(
        edge.json(&["reg", "ls", "--json"]),
        Value::Array(Vec::new())
    );
    assert_eq!(edge.json(&["ready", "--json"]), edge.ready);

    let began = Instant::now();
    edge.signal("TERM");
    assert!(edge.wait().success());
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(edge.log().contains("draining"), "{}", edge.log());
    assert!(!scratch.path().join("state/control.sock").exists());
}

#[test]
fn the_ready_line_is_all_that_standard_output_gets() {
    let scratch = Scratch::new("stdout");
    let mut edge = Edge::start(&scratch, "", &[]);
    edge.signal("INT");
    assert!(edge.wait().success());
    assert_eq!(edge.rest_of_output(), "");
}

#[test]
fn a_phone_registers_with_digest_is_listed_and_removed() {
    let scratch = Scratch::new("phone");
    let file = scratch.write("tenants.toml", TENANTS);
    let edge = Edge::start(&scratch, "", &["auth.realm=example.test"]);
    edge.said(&["apply", &file]);
    let phone = edge::Phone::new(&edge);
    phone.register("alice", "example.test", "example.test", "Wonderland-2026");

    let rows = edge.json(&["reg", "ls", "--json"]);
    assert_eq!(rows[0]["aor"], "alice@example.test");
    assert_eq!(rows[0]["source"], phone.address());
    assert_eq!(rows[0]["user_agent"], "tests/cli");
    assert_eq!(rows[0]["listener"], edge.ready["udp"][0]);
    assert!(rows[0]["expires_in_s"].as_u64().unwrap() > 590, "{rows}");
    assert!(edge.said(&["reg", "ls"]).contains("alice@example.test"));
    assert_eq!(
        edge.json(&["reg", "ls", "--domain", "example.com", "--json"])[0],
        Value::Null
    );
    assert_eq!(
        edge.json(&["reg", "show", "sip:alice@EXAMPLE.test", "--json"])[0],
        rows[0]
    );

    assert_eq!(
        edge.json(&["reg", "rm", "alice@example.test", "--json"])["removed"],
        1
    );
    let (status, _, error) = edge.ask(&["reg", "rm", "alice@example.test"]);
    assert_eq!(status, 4);
    assert!(
        error.contains("alice@example.test is not registered"),
        "{error}"
    );
    assert_eq!(edge.ask(&["reg", "show", "alice@example.test"]).0, 4);
}

#[test]
fn a_listing_merges_the_pages_of_every_shard() {
    const PHONES: usize = 40;
    let scratch = Scratch::new("pages");
    let users: Vec<_> = (0..PHONES)
        .map(|n| format!("u{n},Password-of-{n:04}\n"))
        .collect();
    scratch.write("users.csv", &users.concat());
    let tenants = TENANTS.replace("users =", "users_file = \"users.csv\"\nusers =");
    let file = scratch.write("tenants.toml", &tenants);
    let edge = Edge::start(&scratch, "", &["auth.realm=r"]);
    edge.said(&["apply", &file]);
    let phone = edge::Phone::new(&edge);
    for n in 0..PHONES {
        phone.register(
            &format!("u{n}"),
            "example.test",
            "r",
            &format!("Password-of-{n:04}"),
        );
    }
    let rows = edge.json(&["reg", "ls", "--json"]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), PHONES);
    let mut aors: Vec<_> = rows
        .iter()
        .map(|row| row["aor"].as_str().unwrap())
        .collect();
    assert!(aors.is_sorted(), "{aors:?}");
    aors.dedup();
    assert_eq!(aors.len(), PHONES);
    let shards: Vec<_> = rows
        .iter()
        .map(|row| row["shard"].as_u64().unwrap())
        .collect();
    assert!(shards.contains(&0) && shards.contains(&1), "{shards:?}");

    let mut cursor = String::new();
    let mut paged = Vec::new();
    loop {
        let (status, body) = edge.get(&format!("/v1/registrations?count=7{cursor}"));
        assert_eq!(status, 200, "{body}");
        let page = body["registrations"].as_array().unwrap();
        assert!(page.len() <= 7);
        paged.extend(
            page.iter()
                .map(|row| row["aor"].as_str().unwrap().to_owned()),
        );
        let Some(next) = body["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    paged.sort();
    assert_eq!(paged, aors);
    assert_eq!(
        edge.json(&["reg", "ls", "--limit", "5", "--json"])
            .as_array()
            .unwrap()
            .len(),
        5
    );
}

#[test]
fn taking_a_credential_away_removes_its_registration_at_once() {
    let scratch = Scratch::new("revoked");
    let file = scratch.write("tenants.toml", TENANTS);
    let edge = Edge::start(&scratch, "", &["auth.realm=r"]);
    edge.said(&["apply", &file]);
    edge::Phone::new(&edge).register("alice", "example.test", "r", "Wonderland-2026");
    assert_eq!(
        edge.json(&["reg", "ls", "--json"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let without = TENANTS.replace("alice", "bob");
    let file = scratch.write("without.toml", &without);
    let said = edge.said(&["apply", &file]);
    assert!(
        said.contains("1 users added, 0 changed, 1 removed"),
        "{said}"
    );
    let deadline = Instant::now() + Duration::from_millis(500);
    while edge.json(&["reg", "ls", "--json"]) != Value::Array(Vec::new()) {
        assert!(Instant::now() < deadline, "alice is still registered");
    }
}

#[test]
fn sighup_reloads_the_tenants_and_names_what_takes_a_restart() {
    let scratch = Scratch::new("reload");
    let file = scratch.write("tenants.toml", TENANTS);
    let config =
        |realm: &str| format!("[bootstrap]\ntenants = {file:?}\n[auth]\nrealm = {realm:?}");
    let edge = Edge::start(&scratch, &config("a"), &[]);
    assert_eq!(edge.json(&["stats", "--json"])["tenants"]["domains"], 1);
    let more = format!("{TENANTS}[[account.domain]]\nname = \"example.com\"\n");
    scratch.write("tenants.toml", &more);
    edge.rewrite(&config("b"));
    edge.signal("HUP");
    edge.wait_for_log("reloaded");
    assert_eq!(edge.json(&["stats", "--json"])["tenants"]["domains"], 2);
    assert!(edge.log().contains("auth.realm"), "{}", edge.log());

    scratch.write("tenants.toml", "[[account]]\nnme = \"demo\"\n");
    edge.signal("HUP");
    edge.wait_for_log("tenants not reloaded");
    assert_eq!(edge.json(&["stats", "--json"])["tenants"]["domains"], 2);
}

/// An edge with alice registered, and a call to her that rings.
fn ringing(scratch: &Scratch) -> (Edge, edge::Phone, edge::Phone) {
    let file = scratch.write("tenants.toml", TENANTS);
    let edge = Edge::start(scratch, "", &["auth.realm=r", "limits.drain_s_max=60"]);
    edge.said(&["apply", &file]);
    let (alice, bob) = (edge::Phone::new(&edge), edge::Phone::new(&edge));
    alice.register("alice", "example.test", "r", "Wonderland-2026");
    bob.invite("alice@example.test");
    alice.receive("INVITE ");
    (edge, alice, bob)
}

#[test]
fn a_drain_waits_for_a_call_that_rings_and_takes_no_new_one() {
    let scratch = Scratch::new("drain");
    let (mut edge, alice, bob) = ringing(&scratch);
    assert_eq!(
        edge.json(&["stats", "--json"])["total"]["tables"]["bindings"],
        1
    );
    edge.signal("TERM");
    edge.wait_for_log("draining");
    assert_eq!(edge.json(&["ready", "--json"])["ready"], false);
    let carol = edge::Phone::new(&edge);
    carol.invite("alice@example.test");
    let refusal = carol.receive("SIP/2.0 503 ");
    assert!(refusal.contains("\r\nRetry-After: "), "{refusal}");
    assert!(edge.is_running(), "{}", edge.log());
    alice.answer_last("486 Busy Here");
    bob.receive("SIP/2.0 486 ");
    bob.acknowledge("alice@example.test");
    assert!(edge.wait().success());
}

#[test]
fn a_second_sigterm_stops_at_once() {
    let scratch = Scratch::new("second-term");
    let (mut edge, _alice, _bob) = ringing(&scratch);
    edge.signal("TERM");
    edge.wait_for_log("draining");
    std::thread::sleep(Duration::from_millis(500));
    assert!(edge.is_running(), "{}", edge.log());
    let began = Instant::now();
    edge.signal("TERM");
    assert!(edge.wait().success());
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_configuration_that_is_wrong_starts_nothing_and_says_everything() {
    let scratch = Scratch::new("bad-config");
    let text = "[shards]\ncont = 2\n[auth]\nrealm = 7\n[listen]\ntcp = [\"127.0.0.1:5060\"]\n";
    let file = scratch.write("edge.toml", text);
    for verb in ["run", "check"] {
        let (status, output, error) = run_to_end(&mut command(&[verb, "--config", &file]));
        assert_eq!((status, output.as_str()), (1, ""), "{verb}");
        for expected in [
            "edge.toml:2:1: shards.cont: there is no such key (did you mean shards.count?)",
            "edge.toml:4:9: auth.realm: 7 is not a string",
            "edge.toml:6:7: listen.tcp: [\"127.0.0.1:5060\"] asks for TCP listeners, which is not \
             supported in this version",
            "3 problems",
        ] {
            assert!(error.contains(expected), "{verb}: {expected}\n{error}");
        }
    }
}

#[test]
fn check_says_what_is_wrong_with_the_tenants() {
    let scratch = Scratch::new("bad-tenants");
    let tenants = scratch.write(
        "tenants.toml",
        &TENANTS.replace("[\"phones\"]", "[\"fones\"]"),
    );
    let file = scratch.write(
        "edge.toml",
        &format!("[bootstrap]\ntenants = {tenants:?}\n"),
    );
    let (status, _, error) = run_to_end(&mut command(&["check", "--config", &file]));
    assert_eq!(status, 1);
    assert!(
        error.contains("tenants.toml:") && error.contains("fones"),
        "{error}"
    );
    scratch.write("tenants.toml", TENANTS);
    let (status, output, _) = run_to_end(&mut command(&["check", "--config", &file, "--json"]));
    assert_eq!(status, 0);
    let counts: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(counts["credentials"], 1);
    assert!(!scratch.path().join("state").exists());
}

#[test]
fn a_port_in_use_is_named() {
    let scratch = Scratch::new("port");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let set = format!("listen.udp={address}");
    let (status, output, error) = Edge::try_start(&scratch, "", &[&set]);
    assert_eq!((status, output.as_str()), (1, ""));
    assert!(
        error.contains(&address) && error.contains("in use"),
        "{error}"
    );
}

#[test]
fn an_address_of_another_host_is_named() {
    let scratch = Scratch::new("foreign");
    let (status, _, error) = Edge::try_start(&scratch, "", &["listen.udp=192.0.2.1:5060"]);
    assert_eq!(status, 1);
    assert!(error.contains("192.0.2.1:5060"), "{error}");
}

#[test]
fn a_second_edge_on_the_same_state_folder_is_refused_and_the_first_goes_on() {
    let scratch = Scratch::new("second");
    let edge = Edge::start(&scratch, "", &[]);
    let (status, output, error) = Edge::try_start(&scratch, "", &[]);
    assert_eq!((status, output.as_str()), (1, ""));
    assert!(
        error.contains(&format!("process {}", edge.pid())),
        "{error}"
    );
    assert_eq!(edge.json(&["ready", "--json"]), edge.ready);
}

#[test]
fn what_a_killed_edge_left_behind_does_not_stop_the_next_one() {
    let scratch = Scratch::new("killed");
    let mut edge = Edge::start(&scratch, "", &[]);
    let keys = fs::read(scratch.path().join("state/keys")).unwrap();
    edge.signal("KILL");
    assert!(!edge.wait().success());
    assert!(scratch.path().join("state/control.sock").exists());
    let (status, _, error) = edge.ask(&["ready"]);
    assert_eq!(status, 3);
    assert!(error.contains("no edge is running at"), "{error}");
    let edge = Edge::start(&scratch, "", &[]);
    assert_eq!(edge.json(&["ready", "--json"]), edge.ready);
    assert_eq!(fs::read(scratch.path().join("state/keys")).unwrap(), keys);
}

#[test]
fn damaged_keys_stop_the_start_with_their_path() {
    let scratch = Scratch::new("keys");
    let mut edge = Edge::start(&scratch, "", &[]);
    edge.signal("INT");
    edge.wait();
    let keys = scratch.path().join("state/keys");
    let mode = fs::metadata(&keys).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, text.replacen("nonce = \"", "nonce = \"0", 1)).unwrap();
    let (status, _, error) = Edge::try_start(&scratch, "", &[]);
    assert_eq!(status, 1);
    assert!(error.contains("state/keys is damaged"), "{error}");
}

#[test]
fn a_socket_of_somebody_else_is_left_alone() {
    let scratch = Scratch::new("foreign-socket");
    fs::create_dir_all(scratch.path().join("state")).unwrap();
    let path = scratch.path().join("state/control.sock");
    let _theirs = UnixListener::bind(&path).unwrap();
    let (status, _, error) = Edge::try_start(&scratch, "", &[]);
    assert_eq!(status, 1);
    assert!(error.contains("control.sock"), "{error}");
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn what_is_not_http_or_no_path_does_no_harm() {
    let scratch = Scratch::new("http");
    let edge = Edge::start(&scratch, "", &[]);
    let (status, body) = edge.get("/v1/nothing");
    assert_eq!(status, 404);
    assert_eq!(body["errors"][0], "no such path");
    assert_eq!(edge.get("/v1/registrations?cursor=x").0, 422);
    assert_eq!(edge.get("/v1/registrations?colour=red").0, 400);
    let mut stream = UnixStream::connect(scratch.path().join("state/control.sock")).unwrap();
    stream.write_all(&[0xff; 4096]).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(edge.json(&["ready", "--json"]), edge.ready);
}

#[test]
fn both_backends_take_and_answer() {
    for io in ["uring", "mmsg"] {
        let scratch = Scratch::new(&format!("backend-{io}"));
        let edge = Edge::start(&scratch, "", &[&format!("shards.io={io}")]);
        assert_eq!(edge.ready["io"], io);
        let phone = edge::Phone::new(&edge);
        let answer = phone.options();
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }
}
