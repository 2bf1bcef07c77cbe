//! Phones that register, refresh, and ask for OPTIONS.

use std::io::Write as _;
use std::net::SocketAddr;

use md5::{Digest, Md5};
use ringfence::sip::SourceAddr;
use ringfence::tenant::{self, Tables};

use super::{BATCH, Batch, REALM, Watch, World, between};

/// Every phone's password.
const PASSWORD: &str = "Wonderland-2026";

/// The domain of every phone.
pub(crate) const DOMAIN: &str = "example.test";

/// Where callers are, admitted by their address.
pub(crate) const OFFICE: &str = "198.51.100.0/24";

/// Where the trunk's only target is.
pub(crate) const CARRIER: &str = "203.0.113.80:5060";

/// The user name of a phone: with the domain, an address of record of 24 octets.
pub(crate) fn user(number: u32) -> String {
    format!("{number:011}")
}

/// Where a phone is: each has an address of its own.
pub(crate) fn address(number: u32) -> SourceAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 5060)).into()
}

/// Tables with as many phones, whose calls are admitted from the office, and a trunk.
pub(crate) fn tables(phones: u32) -> Tables {
    let text = format!(
        r#"
        [[trunk]]
        name = "carrier"
        targets = [{{ uri = "sip:{CARRIER}", priority = 1, weight = 1 }}]
        sources = ["203.0.113.80"]
        calls_max = 1000000
        cps_max = 1000000
        [[account]]
        name = "bench"
          [[account.credential_list]]
          name = "phones"
          [[account.ip_acl]]
          name = "office"
          entries = ["{OFFICE}"]
          [[account.domain]]
          name = "{DOMAIN}"
          calls = {{ ip_acls = ["office"] }}
          registrations = {{ credential_lists = ["phones"] }}
          [[account.route]]
          domain = "{DOMAIN}"
          prefix = "+"
          trunk = "carrier"
        "#
    );
    let mut model =
        tenant::provision::parse(&text, "bench.toml".as_ref()).expect("it is well-formed");
    let users = (0..phones).map(|number| tenant::model::User {
        username: user(number).parse().expect("a user name"),
        secret: PASSWORD.parse().expect("a password"),
    });
    model.accounts[0].credential_lists[0].users = users.collect();
    tenant::compile(&model, REALM).expect("it is consistent")
}

/// What one phone knows of itself.
#[derive(Clone, Debug)]
struct Phone {
    ha1: [u8; 32],
    nonce: [u8; 32],
    nonce_count: u32,
    cseq: u32,
}

/// All phones.
#[derive(Debug)]
pub(crate) struct Phones {
    phones: Vec<Phone>,
    /// Who speaks next.
    next: u32,
    batch: Batch,
}

/// What came of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) accepted: usize,
    pub(crate) challenged: usize,
    pub(crate) others: usize,
}

impl Phones {
    pub(crate) fn new(count: u32) -> Self {
        let phone = |number| Phone {
            ha1: hash(&[
                user(number).as_bytes(),
                REALM.as_bytes(),
                PASSWORD.as_bytes(),
            ]),
            nonce: [b'-'; 32],
            nonce_count: 0,
            cseq: 0,
        };
        Self {
            phones: (0..count).map(phone).collect(),
            next: 0,
            batch: Batch::new(),
        }
    }

    /// Every phone registers for the first time: challenged once, then accepted.
    pub(crate) fn register_all<W: Watch>(&mut self, world: &mut World<W>) {
        let batches = self.phones.len().div_ceil(BATCH);
        for _ in 0..batches {
            let answers = self.register_challenged(world);
            assert_eq!(answers.accepted, self.batch.len(), "{answers:?}");
        }
    }

    /// A batch of phones registers without credentials, then with them.
    pub(crate) fn register_challenged<W: Watch>(&mut self, world: &mut World<W>) -> Answers {
        let first = self.next;
        let answers = self.send(world, |phones, number, bytes| {
            phones.write_register(number, false, bytes);
        });
        assert_eq!(answers.challenged, self.batch.len(), "{answers:?}");
        self.next = first;
        self.refresh(world)
    }

    /// A batch of phones registers again with the nonce that each has, and a fresh count.
    pub(crate) fn refresh<W: Watch>(&mut self, world: &mut World<W>) -> Answers {
        self.send(world, |phones, number, bytes| {
            phones.write_register(number, true, bytes);
        })
    }

    /// A batch of phones asks what the edge can do.
    pub(crate) fn ask_options<W: Watch>(&mut self, world: &mut World<W>) -> Answers {
        self.send(world, Self::write_options)
    }

    fn send<W: Watch>(
        &mut self,
        world: &mut World<W>,
        write: impl Fn(&mut Self, u32, &mut Vec<u8>),
    ) -> Answers {
        let mut batch = std::mem::replace(&mut self.batch, Batch::new());
        batch.clear();
        for _ in 0..BATCH.min(self.phones.len()) {
            let number = self.next;
            self.next = (self.next + 1) % self.phones.len() as u32;
            batch.add(address(number), |bytes| write(self, number, bytes));
        }
        world.feed(&batch);
        self.batch = batch;
        let mut answers = Answers::default();
        for (peer, octets) in world.sent.iter() {
            if octets.starts_with(b"SIP/2.0 200 ") {
                answers.accepted += 1;
            } else if octets.starts_with(b"SIP/2.0 401 ") {
                answers.challenged += 1;
                let [.., a, b, c] = *peer.octets();
                let phone = &mut self.phones[u32::from_be_bytes([0, a, b, c]) as usize];
                let nonce = between(octets, b"nonce=\"", b'"');
                phone.nonce.copy_from_slice(nonce);
                phone.nonce_count = 0;
            } else {
                answers.others += 1;
            }
        }
        answers
    }

    fn write_register(&mut self, number: u32, login: bool, bytes: &mut Vec<u8>) {
        let phone = &mut self.phones[number as usize];
        phone.cseq += 1;
        let address = address(number).socket_addr();
        let (cseq, user) = (phone.cseq, user(number));
        let contact = format!("sip:{user}@{address};x=");
        let result = write!(
            bytes,
            "REGISTER sip:{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};rport;branch=z9hG4bKPj{number:08x}c6b5a4{cseq:08x}4d3c2b1a\
             \r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@{DOMAIN}>;tag=5d0e9c8b{number:08x}\r\n\
             To: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: 9c2b7e61-04f8-4d1c-8a35-0000{number:08x}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Contact: <{contact:a<44}>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-\
             {number:012}>\"\r\n\
             Expires: 3600\r\n\
             Supported: outbound, path\r\n\
             User-Agent: {:.<40}\r\n",
            format!("Desk phone {}/1.0", number % 40)
        );
        result.expect("memory takes what is written");
        if login {
            phone.write_login(&user, bytes);
        }
        bytes.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }

    fn write_options(&mut self, number: u32, bytes: &mut Vec<u8>) {
        let phone = &mut self.phones[number as usize];
        phone.cseq += 1;
        let address = address(number).socket_addr();
        let (cseq, user) = (phone.cseq, user(number));
        let result = write!(
            bytes,
            "OPTIONS sip:{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {address};rport;branch=z9hG4bKPj{number:08x}c6b5a4{cseq:08x}4d3c2b1a\
             \r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@{DOMAIN}>;tag=5d0e9c8b{number:08x}\r\n\
             To: <sip:{DOMAIN}>\r\n\
             Call-ID: 1c2b7e61-04f8-4d1c-8a35-0000{number:08x}\r\n\
             CSeq: {cseq} OPTIONS\r\n\
             Contact: <sip:{user}@{address}>\r\n\
             Accept: application/sdp\r\n\
             User-Agent: Desk phone/1.0\r\n\
             Content-Length: 0\r\n\r\n"
        );
        result.expect("memory takes what is written");
    }
}

impl Phone {
    /// RFC 2617 §3.2.2.
    fn write_login(&mut self, user: &str, bytes: &mut Vec<u8>) {
        self.nonce_count += 1;
        let nc = format!("{:08x}", self.nonce_count);
        let uri = format!("sip:{DOMAIN}");
        let ha2 = hash(&[b"REGISTER", uri.as_bytes()]);
        let cnonce = b"7a6b5c4d";
        let parts: [&[u8]; 6] = [&self.ha1, &self.nonce, nc.as_bytes(), cnonce, b"auth", &ha2];
        let response = hash(&parts);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let result = write!(
            bytes,
            "Authorization: Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{}\", \
             uri=\"{uri}\", response=\"{}\", algorithm=MD5, cnonce=\"7a6b5c4d\", qop=auth, \
             nc={nc}\r\n",
            text(&self.nonce),
            text(&response),
        );
        result.expect("memory takes what is written");
    }
}

/// MD5 of the parts with colons between them, in hexadecimal.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Md5::new();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    let mut text = [0; 32];
    for (pair, octet) in text.chunks_exact_mut(2).zip(hasher.finalize()) {
        pair.copy_from_slice(format!("{octet:02x}").as_bytes());
    }
    text
}
