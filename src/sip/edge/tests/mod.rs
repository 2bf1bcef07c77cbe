//! Whole calls through one or more shards with their real parts.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

mod calls;
mod forks;
mod limits;
mod shards;
mod trunks;

/// alice, bob and carol of example.test, callable from anywhere; a carrier with two targets.
const TENANTS: &str = r#"
[[trunk]]
name = "carrier"
targets = [
  { uri = "sip:203.0.113.80:5060", priority = 1, weight = 1 },
  { uri = "sip:203.0.113.81:5060", priority = 2, weight = 1 },
]
sources = ["203.0.113.80/31"]
contacts = ["203.0.113.96/28"]
[[account]]
name = "one"
  [[account.credential_list]]
  name = "phones"
  users = [
    { username = "alice", password = "Wonderland-2026" },
    { username = "bob", password = "Wonderland-2026" },
    { username = "carol", password = "Wonderland-2026" },
  ]
  [[account.ip_acl]]
  name = "anywhere"
  entries = ["198.51.100.0/24", "2001:db8::/32", "192.0.2.0/24"]
  [[account.domain]]
  name = "example.test"
  calls = { ip_acls = ["anywhere"] }
  registrations = { credential_lists = ["phones"] }
  [[account.domain]]
  name = "closed.test"
  calls = { credential_lists = ["phones"] }
  [[account.route]]
  domain = "example.test"
  prefix = "+"
  trunk = "carrier"
  [[account.route]]
  domain = "example.test"
  number = "1000"
  aor = "bob@example.test"
  keep_number = true
  [[account.route]]
  domain = "example.test"
  number = "1001"
  status = 486
  [[account.route]]
  from_trunk = "carrier"
  number = "+15550100"
  aor = "bob@example.test"
"#;

const CALLER: &str = "198.51.100.7:5062";
const BOB: &str = "198.51.100.20:5060";
const BOB_2: &str = "198.51.100.21:5060";
const CARRIER: &str = "203.0.113.80:5060";
const CARRIER_2: &str = "203.0.113.81:5060";
