//! An edge as a child process with a folder and a free port of its own, and a phone to try it.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde_json::Value;

/// How long anything may take: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder for one test, removed when the test ends.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        // Not below the repository: the path of a Unix socket is short.
        let name = format!("ringfence-cli-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary with these arguments.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Status, standard output and standard error.
pub(crate) fn run_to_end(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A running edge; killed when dropped.
pub(crate) struct Edge {
    child: Child,
    output: BufReader<ChildStdout>,
    log: PathBuf,
    config: String,
    set: Vec<String>,
    pub(crate) ready: Value,
}

fn configure(scratch: &Scratch, config: &str, set: &[&str]) -> (String, Vec<String>) {
    let file = scratch.write("edge.toml", config);
    let state = scratch.path().join("state");
    let mut all = vec![
        format!("node.state_dir={state:?}"),
        "shards.count=2".to_owned(),
        "shards.spin_us_max=0".to_owned(),
        "listen.udp=127.0.0.1:0".to_owned(),
        "limits.bindings=1024".to_owned(),
        "limits.transactions=1024".to_owned(),
        "limits.absorbers=1024".to_owned(),
        "limits.message_bytes=4194304".to_owned(),
    ];
    all.extend(set.iter().map(|&text| text.to_owned()));
    (file, all)
}

fn with_config(verbs: &[&str], config: &str, set: &[String]) -> Command {
    let mut command = command(verbs);
    command.args(["--config", config]);
    for assignment in set {
        command.args(["--set", assignment]);
    }
    command
}

impl Edge {
    /// Starts an edge and waits until it is ready.
    pub(crate) fn start(scratch: &Scratch, config: &str, set: &[&str]) -> Self {
        let (config, set) = configure(scratch, config, set);
        let log = scratch.path().join("log");
        let mut child = with_config(&["run"], &config, &set)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| {
            let _ = child.kill();
            panic!(
                "{line:?} is no ready line: {error}\n{}",
                fs::read_to_string(&log).unwrap()
            )
        });
        Self {
            child,
            output,
            log,
            config,
            set,
            ready,
        }
    }

    /// Starts an edge that is expected to refuse.
    pub(crate) fn try_start(
        scratch: &Scratch,
        config: &str,
        set: &[&str],
    ) -> (i32, String, String) {
        let (config, set) = configure(scratch, config, set);
        run_to_end(&mut with_config(&["run"], &config, &set))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes the configuration file anew.
    pub(crate) fn rewrite(&self, config: &str) {
        fs::write(&self.config, config).unwrap();
    }

    /// Runs a command against this edge: status, standard output and standard error.
    pub(crate) fn ask(&self, verbs: &[&str]) -> (i32, String, String) {
        run_to_end(&mut with_config(verbs, &self.config, &self.set))
    }

    /// The binary with this edge's configuration, for a shell.
    pub(crate) fn command_line(&self) -> String {
        let set: Vec<_> = self
            .set
            .iter()
            .map(|text| format!("--set '{text}'"))
            .collect();
        let binary = env!("CARGO_BIN_EXE_ringfence");
        format!("'{binary}' --config '{}' {}", self.config, set.join(" "))
    }

    /// What a command that succeeds says.
    pub(crate) fn said(&self, verbs: &[&str]) -> String {
        let (status, output, error) = self.ask(verbs);
        assert_eq!(status, 0, "{verbs:?}: {error}\n{}", self.log());
        output
    }

    pub(crate) fn json(&self, verbs: &[&str]) -> Value {
        let said = self.said(verbs);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{said}: {error}"))
    }

    /// Asks the control socket itself: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.ready["control"].as_str().unwrap()).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} in the log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What came on standard output behind the ready line.
    pub(crate) fn rest_of_output(&mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A phone on a socket of its own.
pub(crate) struct Phone {
    socket: UdpSocket,
    edge: String,
    /// The request or response received last.
    last: RefCell<String>,
}

impl Phone {
    pub(crate) fn new(edge: &Edge) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            last: RefCell::default(),
            edge: edge.ready["udp"][0].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    fn send(&self, message: &str) {
        self.socket.send_to(message.as_bytes(), &self.edge).unwrap();
    }

    /// The next message that begins so; others before it are passed over.
    pub(crate) fn receive(&self, beginning: &str) -> String {
        let mut octets = [0; 65_536];
        loop {
            let (length, from) = self.socket.recv_from(&mut octets).unwrap_or_else(|error| {
                panic!("no {beginning:?}: {error}; last: {}", self.last.borrow())
            });
            assert_eq!(from.to_string(), self.edge);
            let message = String::from_utf8(octets[..length].to_vec()).unwrap();
            self.last.replace(message.clone());
            if message.starts_with(beginning) {
                return message;
            }
        }
    }

    fn exchange(&self, request: &str) -> String {
        self.send(request);
        self.receive("SIP/2.0 ")
    }

    /// Calls an address of record.
    pub(crate) fn invite(&self, aor: &str) {
        let head = self.head("INVITE", &format!("sip:{aor}"), aor, 1);
        let contact = self.address();
        self.send(&format!(
            "{head}Contact: <sip:bob@{contact}>\r\nContent-Length: 0\r\n\r\n"
        ));
    }

    /// Sends the ACK for a final response that refused the call.
    pub(crate) fn acknowledge(&self, aor: &str) {
        let last = self.last.borrow();
        let to = last.lines().find(|line| line.starts_with("To: ")).unwrap();
        let head = self.head("INVITE", &format!("sip:{aor}"), aor, 1);
        let head = head
            .replacen("INVITE ", "ACK ", 1)
            .replace("CSeq: 1 INVITE", "CSeq: 1 ACK");
        let ours = head.lines().find(|line| line.starts_with("To: ")).unwrap();
        self.send(&format!(
            "{}Content-Length: 0\r\n\r\n",
            head.replace(ours, to)
        ));
    }

    /// Answers the request received last.
    pub(crate) fn answer_last(&self, status: &str) {
        let request = self.last.borrow();
        let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:"];
        let copied: Vec<_> = request
            .lines()
            .filter(|line| kept.iter().any(|name| line.starts_with(name)))
            .map(|line| {
                if line.starts_with("To:") {
                    format!("{line};tag=a")
                } else {
                    line.into()
                }
            })
            .collect();
        let headers = copied.join("\r\n");
        self.send(&format!(
            "SIP/2.0 {status}\r\n{headers}\r\nContent-Length: 0\r\n\r\n"
        ));
    }

    fn head(&self, method: &str, uri: &str, user: &str, number: u32) -> String {
        let address = self.address();
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};branch=z9hG4bK-{user}-{method}-{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}>;tag=f-{number}\r\nTo: <sip:{user}>\r\n\
             Call-ID: {user}-{method}\r\nCSeq: {number} {method}\r\nUser-Agent: tests/cli\r\n"
        )
    }

    /// The answer to an OPTIONS for the edge itself.
    pub(crate) fn options(&self) -> String {
        let uri = format!("sip:{}", self.edge);
        let head = self.head("OPTIONS", &uri, "somebody@127.0.0.1", 1);
        self.exchange(&format!("{head}Content-Length: 0\r\n\r\n"))
    }

    /// Registers with digest authentication, for ten minutes.
    pub(crate) fn register(&self, user: &str, domain: &str, realm: &str, password: &str) {
        let uri = format!("sip:{domain}");
        let aor = format!("{user}@{domain}");
        let rest = format!(
            "Contact: <sip:{user}@{}>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n",
            self.address()
        );
        let head = self.head("REGISTER", &uri, &aor, 1);
        let challenge = self.exchange(&format!("{head}{rest}"));
        assert!(challenge.starts_with("SIP/2.0 401 "), "{challenge}");
        assert!(
            challenge.contains(&format!("realm=\"{realm}\"")),
            "{challenge}"
        );
        let nonce = challenge
            .split_once("nonce=\"")
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap();
        let ha1 = md5(&format!("{user}:{realm}:{password}"));
        let ha2 = md5(&format!("REGISTER:{uri}"));
        let response = md5(&format!("{ha1}:{nonce}:00000001:c0ffee:auth:{ha2}"));
        let head = self.head("REGISTER", &uri, &aor, 2);
        let answer = self.exchange(&format!(
            "{head}Authorization: Digest username=\"{user}\", realm=\"{realm}\", \
             nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm=MD5, \
             qop=auth, nc=00000001, cnonce=\"c0ffee\"\r\n{rest}"
        ));
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes())
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}
