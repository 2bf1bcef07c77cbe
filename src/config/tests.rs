//! What the configuration accepts, and how it says what it does not.

use super::*;

fn problems(text: &str) -> Vec<String> {
    match Config::parse("edge.toml", text, &[]) {
        Ok(_) => Vec::new(),
        Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn set(assignments: &[&str]) -> Result<Config, Problems> {
    let assignments: Vec<String> = assignments.iter().map(|&text| text.to_owned()).collect();
    Config::parse("edge.toml", "[shards]\ncount = 2\n", &assignments)
}

fn reference() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/reference.toml");
    std::fs::read_to_string(path).expect("configs/reference.toml is in the repository")
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(Config::parse("edge.toml", "", &[]), Ok(Config::default()));
}

#[test]
fn the_reference_file_is_every_key_at_its_default() {
    let text = reference();
    assert_eq!(
        Config::parse("reference.toml", &text, &[]),
        Ok(Config::default())
    );
    let table: toml::Table = text.parse().expect("it was just parsed");
    let mut written: Vec<String> = Vec::new();
    for (section, keys) in &table {
        let keys = keys
            .as_table()
            .expect("every entry of the file is a section");
        written.extend(keys.keys().map(|key| format!("{section}.{key}")));
    }
    let mut known = Config::keys();
    known.sort();
    written.sort();
    assert_eq!(written, known);
}

#[test]
fn every_key_of_the_reference_file_is_explained() {
    let text = reference();
    let mut explained = false;
    for line in text.lines() {
        if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        }
        let follows_its_pair = ["tls", "ws", "wss", "source_burst"]
            .iter()
            .any(|key| line.starts_with(&format!("{key} = ")));
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(
                explained || follows_its_pair,
                "{line} has no explanation above it"
            );
        }
    }
}

#[test]
fn every_entry_read_back_gives_the_same_configuration() {
    let config = Config::parse("reference.toml", &reference(), &[]).expect("it is valid");
    let set: Vec<String> = config
        .entries()
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    assert!(set.len() > 40, "{set:?}");
    assert_eq!(Config::parse("edge.toml", "", &set), Ok(config));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    assert_eq!(
        problems("[auth]\nrealm = \"a\"\nalgoritms = [\"MD5\"]\n"),
        ["edge.toml:3:1: auth.algoritms: there is no such key (did you mean auth.algorithms?)"]
    );
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
    assert_eq!(
        problems("[node]\nexpires_max_s = 60\n"),
        ["edge.toml:2:1: node.expires_max_s: there is no such key \
          (did you mean registrar.expires_max_s?)"]
    );
}

#[test]
fn an_unknown_section_is_named_with_the_nearest_one() {
    assert_eq!(
        problems("[registar]\nexpires_max_s = 60\n"),
        ["edge.toml:1:2: registar: there is no such key (did you mean registrar?)"]
    );
}

#[test]
fn a_bad_value_is_named_with_its_bound_and_the_likely_fix() {
    assert_eq!(
        problems("[limits]\nsources = 1000\nmessage_bytes = 128\n"),
        [
            "edge.toml:3:17: limits.message_bytes: 128 is outside 2097152..=17179869184 \
             (octets, not megabytes: 128 MiB is 134217728)",
            "edge.toml:2:11: limits.sources: 1000 is not a power of two (the next one is 1024)",
        ]
    );
    assert_eq!(
        problems("[registrar]\ncontacts_full = \"replace\"\n"),
        [
            "edge.toml:2:17: registrar.contacts_full: \"replace\" is not one of \"refuse\", \
          \"replace-oldest\" (did you mean \"replace-oldest\"?)"
        ]
    );
    assert_eq!(
        problems("[listen]\nudp = [\"10.0.0.5\"]\n"),
        [
            "edge.toml:2:8: listen.udp: \"10.0.0.5\" is not an address and port \
             (add a port: \"10.0.0.5:5060\")",
        ]
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = "[node]\nregion = \"US 1\"\n[auth]\nrealm = 5\n[log]\nlevel = \"INFO\"\n";
    assert_eq!(problems(text).len(), 3, "{:?}", problems(text));
}

#[test]
fn a_syntax_error_is_named_with_its_line() {
    let found = problems("[auth]\nrealm = \n");
    assert!(found[0].starts_with("edge.toml:2:"), "{found:?}");
}

#[test]
fn features_of_later_versions_are_refused_and_never_ignored() {
    for text in [
        "[listen]\ntcp = [\"127.0.0.1:5060\"]",
        "[listen]\ntls = [\"127.0.0.1:5061\"]",
        "[listen]\nws = [\"127.0.0.1:80\"]",
        "[listen]\nwss = [\"127.0.0.1:443\"]",
        "[listen]\nudp = [{ bind = \"127.0.0.1:5060\", steering = \"ports\" }]",
        "[api]\nlisten = \"127.0.0.1:8080\"",
        "[filter]\ninterfaces = [\"eth0\"]",
        "[filter]\nmode = \"driver\"",
        "[registrar]\ndurability = \"reply-after-write\"",
        "[shards]\nio = \"afxdp\"",
        "[cluster]\nservers = [\"nats://127.0.0.1\"]",
        "[tls]\ncertificate = \"a.pem\"",
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(
            found[0].contains("not supported in this version"),
            "{found:?}"
        );
        assert!(found[0].starts_with("edge.toml:2:"), "{found:?}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    for text in [
        "[registrar]\nexpires_min_s = 7200",
        "[registrar]\nexpires_default_s = 30",
        "[registrar]\nexpires_default_s = 7200",
        "[registrar]\nexpires_max_s = 1800",
        "[shards]\ncount = 2\ncores = [0]",
        "[listen]\nudp = [\"10.0.0.1:5060\", \"10.0.0.1:5060\"]",
        "[auth]\nalgorithms = []",
        "[auth]\nalgorithms = [\"MD5\", \"MD5\"]",
    ] {
        assert_eq!(problems(text).len(), 1, "{text}: {:?}", problems(text));
    }
}

#[test]
fn a_listener_may_be_a_table() {
    let text = "[listen]\nudp = [\"127.0.0.1:5060\", { bind = \"[::1]:5062\", name = \"inside\", \
                advertise = \"Edge.Example.org\", steering = \"call-id\" }]";
    let config = Config::parse("edge.toml", text, &[]).expect("it is valid");
    let listener = &config.listen.udp[1];
    assert_eq!(listener.bind, "[::1]:5062".parse().expect("an address"));
    assert_eq!(listener.name.as_deref(), Some("inside"));
    assert_eq!(listener.steering, Steering::CallId);
    let sent_by = listener.advertise.as_ref().map(Advertise::sent_by);
    assert_eq!(sent_by.as_deref(), Some("edge.example.org:5062"));
    let found = problems("[listen]\nudp = [{ bnd = \"127.0.0.1:5060\" }]");
    assert!(
        found
            .iter()
            .any(|line| line.contains("did you mean listen.udp.bind")),
        "{found:?}"
    );
}

#[test]
fn advertise_takes_hosts_and_addresses_with_and_without_port() {
    let sent_by = |text| Advertise::parse(text, 5060).map(|advertise| advertise.sent_by());
    assert_eq!(
        sent_by("203.0.113.5:5080").as_deref(),
        Some("203.0.113.5:5080")
    );
    assert_eq!(sent_by("203.0.113.5").as_deref(), Some("203.0.113.5:5060"));
    assert_eq!(
        sent_by("[2001:db8::1]").as_deref(),
        Some("[2001:db8::1]:5060")
    );
    assert_eq!(
        sent_by("[2001:db8::1]:5070").as_deref(),
        Some("[2001:db8::1]:5070")
    );
    for text in [
        "",
        ":5060",
        "a:0",
        "a:65536",
        "2001:db8::1",
        "[1.2.3.4]",
        "a b",
        "1.2.3.400",
    ] {
        assert_eq!(sent_by(text), None, "{text}");
    }
}

#[test]
fn set_lays_values_over_the_file() {
    let config = set(&[
        "shards.count=1",
        "auth.realm=example.test",
        "node.state_dir = \"x\"",
    ])
    .expect("it is valid");
    assert_eq!(config.shards.count, OrAuto::Fixed(1));
    assert_eq!(config.auth.realm, "example.test");
    assert_eq!(config.node.state_dir, Path::new("x"));
    let config = set(&["listen.udp=[\"127.0.0.1:5070\"]", "shards.count=auto"]).expect("valid");
    assert_eq!(config.listen.udp[0].bind.port(), 5070);
    assert_eq!(config.shards.count, OrAuto::Auto);
}

#[test]
fn a_bare_word_of_set_that_is_not_toml_is_a_string() {
    let config = set(&["listen.udp=127.0.0.1:5070", "log.level=debug"]).expect("it is valid");
    assert_eq!(
        config.listen.udp,
        [UdpListener::new("127.0.0.1:5070".parse().expect("one"))]
    );
    assert_eq!(config.log.level, LogLevel::Debug);
}

#[test]
fn what_is_wrong_with_set_is_named() {
    let shown = |assignment: &str| match set(&[assignment]) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    assert!(
        shown("shards.count").contains("has no ="),
        "{}",
        shown("shards.count")
    );
    assert!(
        shown("shards.count=0")
            .starts_with("--set shards.count=0: shards.count: 0 is outside 1..=64")
    );
    assert!(shown("shards.cont=1").contains("did you mean shards.count?"));
    assert!(shown("listen.udp=[\"127.0.0.1:5060\"").contains("is not TOML"));
    assert!(shown("shards=1").contains("1 is not a table"));
}
