//! The commands of README.md, run as they stand there, on free ports.

use std::process::{Command, Stdio};

use super::edge::{Edge, Scratch};

/// The blocks of commands in README.md.
fn blocks() -> Vec<String> {
    let text = include_str!("../../README.md");
    let mut parts = text.split("```sh\n");
    parts.next();
    parts
        .map(|part| part.split_once("```").unwrap().0.to_owned())
        .collect()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// A free port of four digits: sipsak 0.9.8 cuts longer ones in the URI it sends.
fn short_port() -> u16 {
    let start = 6000 + (std::process::id() % 3000) as u16;
    let is_free = |port: &u16| std::net::UdpSocket::bind(("127.0.0.1", *port)).is_ok();
    (start..9999).find(is_free).unwrap()
}

fn require(tool: &str, package: &str) {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {tool}")])
        .output()
        .unwrap();
    assert!(
        found.status.success(),
        "{tool} is missing; install it with: apt-get install {package}"
    );
}

/// What README.md takes for granted, and what stands for it here.
struct Stand {
    replaced: Vec<(String, String)>,
}

impl Stand {
    fn new(edge: &Edge, scratch: &Scratch) -> Self {
        let release = "target/release/ringfence --config configs/dev.toml".to_owned();
        let csv = scratch.path().join("alice.csv").display().to_string();
        let mut replaced = vec![
            (release, edge.command_line()),
            ("target/alice.csv".to_owned(), csv),
            (
                "127.0.0.1:5060".to_owned(),
                edge.ready["udp"][0].as_str().unwrap().to_owned(),
            ),
        ];
        for port in ["5070", "5071", "5072"] {
            replaced.push((port.to_owned(), free_port().to_string()));
        }
        Self { replaced }
    }

    /// Runs a block of commands from the top of the repository: what it printed. Each command
    /// must succeed.
    fn run(&self, block: &str) -> String {
        let mut script = block.to_owned();
        for (written, here) in &self.replaced {
            script = script.replace(written, here);
        }
        // SIPp says by 99 that it went to the background.
        script = script.replace(" -bg\n", " -bg || test $? = 99\n");
        let output = Command::new("timeout")
            .args(["60", "sh", "-euc", &script])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{text}\n{error}");
        text
    }
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    require("sipp", "sip-tester");
    require("sipsak", "sipsak");
    let root = env!("CARGO_MANIFEST_DIR");
    let scratch = Scratch::new("readme");
    let tenants = format!("bootstrap.tenants={root}/configs/demo-tenants.toml");
    let dev = std::fs::read_to_string(format!("{root}/configs/dev.toml")).unwrap();
    let listen = format!("listen.udp=127.0.0.1:{}", short_port());
    let edge = Edge::start(&scratch, &dev, &[&tenants, &listen]);
    let stand = Stand::new(&edge, &scratch);

    let blocks = blocks();
    let (made, typed): (Vec<_>, Vec<_>) =
        blocks.iter().partition(|block| block.starts_with("make "));
    assert_eq!(
        (made.len(), typed.len()),
        (2, 3),
        "README.md has other blocks than this test"
    );
    let said = stand.run(typed[0]);
    assert!(said.contains("alice@example.test"), "{said}");
    stand.run(typed[1]);
    let stats = edge.json(&["stats", "--json"]);
    assert_eq!(
        stats["total"]["counters"]["calls_answered_total"], 1,
        "{stats}"
    );
    let said = stand.run(typed[2]);
    assert!(said.contains("ready: process"), "{said}");
}
