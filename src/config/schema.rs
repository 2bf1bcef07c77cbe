//! Which keys there are, and what is wrong with their values.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::document::{Node, Table, Value};
use super::section::{Review, Section};
use super::types::is_host_name;
use super::{
    Advertise, Algorithm, Config, ContactsFull, Durability, FilterMode, Io, LogFormat, LogLevel,
    OrAuto, Steering, Strangers, UdpListener,
};
use crate::limits::{CONTACTS_PER_AOR_MAX, LISTENERS_MAX, MESSAGE_BYTES_MIN, SHARDS_MAX};

/// One year, the longest time that any key in seconds takes.
const YEAR_S: i64 = 31_536_000;

/// Reads every section of `root`; what is wrong goes to `review`.
pub(super) fn read(root: &Table, review: &mut Review) -> Config {
    let mut config = Config::default();
    Section::read(root, "node", review, |section| {
        read_node(section, &mut config)
    });
    Section::read(root, "shards", review, |section| {
        read_shards(section, &mut config)
    });
    Section::read(root, "listen", review, |section| {
        read_listen(section, &mut config)
    });
    Section::read(root, "api", review, |section| {
        section.later("listen", "the REST API and the console");
        section.later("tls", "the REST API and the console");
    });
    Section::read(root, "auth", review, |section| {
        read_auth(section, &mut config)
    });
    Section::read(root, "registrar", review, |section| {
        read_registrar(section, &mut config)
    });
    Section::read(root, "filter", review, |section| {
        read_filter(section, &mut config)
    });
    Section::read(root, "tls", review, |section| section.all_later("TLS"));
    Section::read(root, "limits", review, |section| {
        read_limits(section, &mut config)
    });
    Section::read(root, "overload", review, |section| {
        section.integer(
            "retry_after_s",
            1..=3600,
            "",
            &mut config.overload.retry_after_s,
        );
    });
    Section::read(root, "cluster", review, |section| {
        section.all_later("a cluster")
    });
    Section::read(root, "log", review, |section| {
        read_log(section, &mut config)
    });
    Section::read(root, "bootstrap", review, |section| {
        read_path(
            section,
            "tenants",
            |_| Ok(()),
            &mut config.bootstrap.tenants,
        );
    });
    review.sections_known(root, &["api", "tls", "cluster"]);
    review.judge_unknown();
    config
}

fn read_path(
    section: &mut Section<'_>,
    key: &'static str,
    check: impl FnOnce(&str) -> Result<(), (&'static str, &'static str)>,
    into: &mut PathBuf,
) {
    let mut text = into.display().to_string();
    section.text(key, check, &mut text);
    *into = PathBuf::from(text);
}

fn read_node(section: &mut Section<'_>, config: &mut Config) {
    let check_name = |text: &str| {
        let fits = text.is_empty() || is_host_name(text);
        let help = "letters, digits, hyphens and dots; empty = the host's name";
        if fits {
            Ok(())
        } else {
            Err(("is not a node name", help))
        }
    };
    section.text("name", check_name, &mut config.node.name);
    let check_region = |text: &str| {
        let fits = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let help = "1 to 32 lower-case letters, digits and hyphens, for example \"us1\"";
        if fits {
            Ok(())
        } else {
            Err(("is not a region", help))
        }
    };
    section.text("region", check_region, &mut config.node.region);
    let check_dir = |text: &str| {
        if text.is_empty() {
            Err(("names no folder", "for example \"var\""))
        } else {
            Ok(())
        }
    };
    read_path(section, "state_dir", check_dir, &mut config.node.state_dir);
}

fn read_shards(section: &mut Section<'_>, config: &mut Config) {
    let shards = &mut config.shards;
    let count_help = "one shard per core is enough; \"auto\" chooses";
    section.integer_or_auto(
        "count",
        1..=SHARDS_MAX as i64,
        count_help,
        &mut shards.count,
    );
    section.list(
        "cores",
        |section, item| match item.value {
            Value::Integer(core) if (0..1024).contains(&core) => u16::try_from(core).ok(),
            Value::Integer(_)
            | Value::Text(_)
            | Value::Boolean(_)
            | Value::Other(_)
            | Value::Array(_)
            | Value::Table(_) => {
                section.refuse(
                    "cores",
                    item,
                    "is not a core number",
                    "0 to 1023, see lscpu -e",
                );
                None
            }
        },
        &mut shards.cores,
    );
    let io = [("uring", Io::Uring), ("mmsg", Io::Mmsg)];
    section.choice_so_far("io", &io, &["afxdp"], &mut shards.io);
    let spin_help = "a wait of 1000 us is worth its cost; 0 = sleep at once";
    section.integer_or_auto(
        "spin_us_max",
        0..=1_000_000,
        spin_help,
        &mut shards.spin_us_max,
    );
    if let OrAuto::Fixed(count) = shards.count
        && !shards.cores.is_empty()
        && shards.cores.len() != usize::from(count)
    {
        let message = format!("names {} cores for {count} shards", shards.cores.len());
        let help = "name one core per shard, or leave one of the two keys out";
        section.refuse_key("cores", &["count"], message, help);
    }
    if shards.cores.len() > SHARDS_MAX {
        let message = format!("names more than {SHARDS_MAX} cores");
        section.refuse_key(
            "cores",
            &[],
            message,
            "that is the most shards a node can have",
        );
    }
}

fn read_listen(section: &mut Section<'_>, config: &mut Config) {
    let listen = &mut config.listen;
    section.list("udp", read_listener, &mut listen.udp);
    for (key, what) in [
        ("tcp", "TCP listeners"),
        ("tls", "TLS listeners"),
        ("ws", "WebSocket listeners"),
        ("wss", "secure WebSocket listeners"),
    ] {
        section.later(key, what);
    }
    section.list("names", read_host_name, &mut listen.names);
    let mut refuse = |message: String, help| section.refuse_key("udp", &[], message, help);
    if listen.udp.is_empty() {
        refuse(
            "names no address to listen on".to_owned(),
            "for example [\"10.0.0.5:5060\"]",
        );
    }
    if listen.udp.len() > LISTENERS_MAX {
        refuse(
            format!("has more than {LISTENERS_MAX} listeners"),
            "use a wildcard address",
        );
    }
    let mut binds = BTreeSet::new();
    let mut names = BTreeSet::new();
    for listener in &listen.udp {
        if !binds.insert(listener.bind) && listener.bind.port() != 0 {
            refuse(format!("has {} twice", listener.bind), "remove one of them");
        }
        if let Some(name) = &listener.name
            && !names.insert(name.as_str())
        {
            refuse(
                format!("has two listeners named {name:?}"),
                "give each a name of its own",
            );
        }
    }
}

fn read_host_name(section: &mut Section<'_>, item: &Node) -> Option<String> {
    match &item.value {
        Value::Text(text) if is_host_name(text) || text.parse::<IpAddr>().is_ok() => {
            Some(text.to_ascii_lowercase())
        }
        Value::Text(_)
        | Value::Integer(_)
        | Value::Boolean(_)
        | Value::Other(_)
        | Value::Array(_)
        | Value::Table(_) => {
            section.refuse(
                "names",
                item,
                "is not a host name",
                "for example \"sip.example.org\"",
            );
            None
        }
    }
}

/// A listener: `"address:port"` or a table.
fn read_listener(section: &mut Section<'_>, item: &Node) -> Option<UdpListener> {
    match &item.value {
        Value::Text(_) => read_bind(section, "udp", item).map(UdpListener::new),
        Value::Table(table) => {
            let mut listener = None;
            Section::read_item("listen.udp", table, section.review(), |section| {
                listener = read_listener_table(section, table);
            });
            if !table.entries.contains_key("bind") {
                section.refuse(
                    "udp",
                    item,
                    "has no bind",
                    "for example bind = \"10.0.0.5:5060\"",
                );
            }
            listener
        }
        Value::Integer(_) | Value::Boolean(_) | Value::Other(_) | Value::Array(_) => {
            section.refuse(
                "udp",
                item,
                "is no listener",
                "for example \"10.0.0.5:5060\"",
            );
            None
        }
    }
}

fn read_listener_table(section: &mut Section<'_>, table: &Table) -> Option<UdpListener> {
    let mut binds = Vec::new();
    section.list(
        "bind",
        |section, node| read_bind(section, "bind", node),
        &mut binds,
    );
    let mut steering = Steering::Flow;
    let words = [("flow", Steering::Flow), ("call-id", Steering::CallId)];
    section.choice_so_far("steering", &words, &["ports"], &mut steering);
    let mut name = String::new();
    let check_name = |text: &str| {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(())
        } else {
            Err(("is not a name", "1 to 64 visible ASCII characters"))
        }
    };
    section.text("name", check_name, &mut name);
    let mut advertise = String::new();
    let port = binds.first().map_or(5060, SocketAddr::port);
    let check_advertise = |text: &str| match Advertise::parse(text, port) {
        Some(_) => Ok(()),
        None => Err(("is no host and port", "for example \"203.0.113.5:5060\"")),
    };
    section.text("advertise", check_advertise, &mut advertise);
    if binds.len() != 1 {
        return None;
    }
    Some(UdpListener {
        bind: binds[0],
        advertise: Advertise::parse(&advertise, port),
        name: table.entries.contains_key("name").then_some(name),
        steering,
    })
}

fn read_bind(section: &mut Section<'_>, key: &'static str, node: &Node) -> Option<SocketAddr> {
    let Value::Text(text) = &node.value else {
        section.refuse(
            key,
            node,
            "is not an address",
            "for example \"10.0.0.5:5060\"",
        );
        return None;
    };
    let help = match text.parse::<SocketAddr>() {
        Ok(address) => return Some(address),
        Err(_) if text.parse::<std::net::Ipv4Addr>().is_ok() => {
            format!("add a port: \"{text}:5060\"")
        }
        Err(_) if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            format!("brackets and a port: \"[{text}]:5060\"")
        }
        Err(_) => "an address of this host and a port, for example \"10.0.0.5:5060\"".to_owned(),
    };
    section.refuse(key, node, "is not an address and port", &help);
    None
}

fn read_auth(section: &mut Section<'_>, config: &mut Config) {
    let auth = &mut config.auth;
    let check_realm = |text: &str| {
        let fits = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\');
        let help = "1 to 128 visible ASCII characters without quotes and backslashes";
        if fits {
            Ok(())
        } else {
            Err(("is not a realm", help))
        }
    };
    section.text("realm", check_realm, &mut auth.realm);
    let nonce_help = "a phone refreshes its registration with the nonce it has";
    section.integer(
        "nonce_lifetime_s",
        5..=86_400,
        nonce_help,
        &mut auth.nonce_lifetime_s,
    );
    let words = [("MD5", Algorithm::Md5), ("SHA-256", Algorithm::Sha256)];
    section.choices("algorithms", &words, &mut auth.algorithms);
    let twice = auth.algorithms.len() > 2
        || (auth.algorithms.len() == 2 && auth.algorithms[0] == auth.algorithms[1]);
    let message = match (auth.algorithms.is_empty(), twice) {
        (false, false) => return,
        (true, _) => "names no algorithm",
        (false, true) => "names an algorithm twice",
    };
    let help = "for example [\"MD5\"] or [\"SHA-256\", \"MD5\"]";
    section.refuse_key("algorithms", &[], message.to_owned(), help);
}

fn read_registrar(section: &mut Section<'_>, config: &mut Config) {
    let registrar = &mut config.registrar;
    section.integer(
        "expires_min_s",
        1..=YEAR_S,
        "",
        &mut registrar.expires_min_s,
    );
    section.integer(
        "expires_max_s",
        1..=YEAR_S,
        "",
        &mut registrar.expires_max_s,
    );
    section.integer(
        "expires_default_s",
        1..=YEAR_S,
        "",
        &mut registrar.expires_default_s,
    );
    let contacts = 1..=CONTACTS_PER_AOR_MAX as i64;
    section.integer(
        "contacts_per_aor_max",
        contacts,
        "",
        &mut registrar.contacts_per_aor_max,
    );
    let full = [
        ("refuse", ContactsFull::Refuse),
        ("replace-oldest", ContactsFull::ReplaceOldest),
    ];
    section.choice("contacts_full", &full, &mut registrar.contacts_full);
    section.integer(
        "registers_per_aor_s",
        1..=100_000,
        "",
        &mut registrar.registers_per_aor_s,
    );
    let nat_help = "most NATs forget a UDP flow after 30 s; 0 = off";
    section.integer(
        "nat_keepalive_s",
        0..=3600,
        nat_help,
        &mut registrar.nat_keepalive_s,
    );
    let later = ["reply-after-write", "reply-after-sync"];
    let durability = [("none", Durability::None)];
    section.choice_so_far("durability", &durability, &later, &mut registrar.durability);

    let (min, max) = (registrar.expires_min_s, registrar.expires_max_s);
    let default = registrar.expires_default_s;
    let (key, message) = if min > max {
        (
            "expires_min_s",
            format!("{min} is above registrar.expires_max_s = {max}"),
        )
    } else if !(min..=max).contains(&default) {
        (
            "expires_default_s",
            format!("{default} is outside expires_min_s..=expires_max_s"),
        )
    } else {
        return;
    };
    let help = "set expires_min_s <= expires_default_s <= expires_max_s";
    let others = ["expires_max_s", "expires_min_s"];
    section.refuse_key(key, &others, format!("{message} ({min}..={max})"), help);
}

fn read_filter(section: &mut Section<'_>, config: &mut Config) {
    section.later("interfaces", "the kernel filter");
    let modes = [("auto", FilterMode::Auto), ("off", FilterMode::Off)];
    section.choice_so_far(
        "mode",
        &modes,
        &["driver", "generic"],
        &mut config.filter.mode,
    );
    let strangers = [("answer", Strangers::Answer), ("drop", Strangers::Drop)];
    section.choice("strangers", &strangers, &mut config.filter.strangers);
}

fn read_limits(section: &mut Section<'_>, config: &mut Config) {
    let limits = &mut config.limits;
    section.integer("bindings", 16..=16_777_216, "", &mut limits.bindings);
    section.integer("transactions", 16..=4_194_304, "", &mut limits.transactions);
    section.integer("absorbers", 16..=16_777_216, "", &mut limits.absorbers);
    let bytes_help = "octets, not megabytes: 128 MiB is 134217728";
    section.integer(
        "message_bytes",
        MESSAGE_BYTES_MIN as i64..=1 << 34,
        bytes_help,
        &mut limits.message_bytes,
    );
    section.power_of_two("sources", 16..=16_777_216, &mut limits.sources);
    section.power_of_two("nonces", 16..=16_777_216, &mut limits.nonces);
    section.integer("calls", 16..=16_777_216, "", &mut limits.calls);
    let rate = 1..=100_000_000;
    section.integer(
        "source_requests_s",
        rate.clone(),
        "",
        &mut limits.source_requests_s,
    );
    section.integer("source_burst", rate, "", &mut limits.source_burst);
    let allowance = 0..=1_000_000_000;
    section.integer(
        "source_allowance_bytes",
        allowance,
        "",
        &mut limits.source_allowance_bytes,
    );
    let timer_c_help = "RFC 3261 §16.6 asks for more than 180";
    section.integer("timer_c_s", 1..=86_400, timer_c_help, &mut limits.timer_c_s);
    let silence = 100..=180_000;
    section.integer(
        "contact_silence_ms",
        silence,
        "",
        &mut limits.contact_silence_ms,
    );
    section.integer("call_s_max", 60..=YEAR_S, "", &mut limits.call_s_max);
    section.integer(
        "trunk_options_s",
        0..=86_400,
        "0 = off",
        &mut limits.trunk_options_s,
    );
    section.integer("drain_s_max", 0..=86_400, "", &mut limits.drain_s_max);
}

fn read_log(section: &mut Section<'_>, config: &mut Config) {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    section.choice("level", &levels, &mut config.log.level);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    section.choice("format", &formats, &mut config.log.format);
}
