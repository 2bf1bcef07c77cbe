//! From the configuration to what the core and the reactors are given.

use std::net::SocketAddr;

use crate::config::{self, Config, OrAuto};
use crate::shard::Bind;
use crate::sip::{ContactsFull, Listener, ListenerId, NodeId, Settings, Steering, Strangers};
use crate::wire::{DigestAlgorithm, Transport};

/// Busy wait where a shard has its core to itself, microseconds: a wake costs far more.
const SPIN_US: u32 = 1000;

/// From this many cores on, one is left to the control thread.
const CORES_WITH_ONE_TO_SPARE: usize = 4;

/// Which core each shard runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// The core of each shard.
    pub(super) cores: Vec<usize>,
    /// Longest busy wait of a shard, microseconds.
    pub(super) spin_us_max: u32,
    /// A core without a shard, for the control thread.
    pub(super) control_core: Option<usize>,
}

/// Places the shards on `available`, the cores that this process may use, in ascending order.
pub(super) fn place(shards: &config::Shards, available: &[usize]) -> Result<Placement, String> {
    let named: Vec<usize> = shards.cores.iter().map(|&core| usize::from(core)).collect();
    if let Some(core) = named.iter().find(|core| !available.contains(core)) {
        let list: Vec<_> = available.iter().map(ToString::to_string).collect();
        return Err(format!(
            "shards.cores: core {core} cannot be used by this process (it may use {})",
            list.join(", ")
        ));
    }
    let count = match (shards.count, named.len()) {
        (OrAuto::Fixed(count), _) => usize::from(count),
        (OrAuto::Auto, 0) if available.len() >= CORES_WITH_ONE_TO_SPARE => available.len() - 1,
        (OrAuto::Auto, 0) => available.len().max(1),
        (OrAuto::Auto, named) => named,
    };
    let count = count.min(crate::limits::SHARDS_MAX);
    let cores: Vec<usize> = if named.is_empty() {
        let spare = available.len().saturating_sub(count);
        (0..count)
            .filter_map(|shard| available[spare..].iter().cycle().nth(shard).copied())
            .collect()
    } else {
        named
    };
    let mut distinct = cores.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let shared = distinct.len() < cores.len() || available.len() < 2;
    let spin_us_max = match shards.spin_us_max {
        OrAuto::Fixed(spin) => spin,
        OrAuto::Auto if shared => 0,
        OrAuto::Auto => SPIN_US,
    };
    let control_core = available.iter().copied().find(|core| !cores.contains(core));
    Ok(Placement {
        cores,
        spin_us_max,
        control_core,
    })
}

/// One listener before its socket is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// The address, no wildcard.
    pub(super) address: SocketAddr,
    /// The entry of `[listen] udp` it comes from.
    pub(super) entry: usize,
}

/// Expands wildcards by `expand`; an address with an entry of its own is left to that entry.
pub(super) fn plan_listeners<E>(
    listen: &config::Listen,
    expand: impl Fn(SocketAddr) -> Result<Vec<SocketAddr>, E>,
) -> Result<Vec<Planned>, E> {
    let mut planned: Vec<Planned> = Vec::new();
    for (entry, listener) in listen.udp.iter().enumerate() {
        for address in expand(listener.bind)? {
            let own_entry = listen.udp.iter().any(|other| other.bind == address);
            if !listener.bind.ip().is_unspecified() || !own_entry {
                planned.push(Planned { address, entry });
            }
        }
    }
    Ok(planned)
}

/// What is to be bound, in order of the listeners' numbers.
pub(super) fn binds(planned: &[Planned]) -> Vec<Bind> {
    let bind = |(index, planned): (usize, &Planned)| Bind {
        id: ListenerId(u8::try_from(index).unwrap_or(u8::MAX)),
        address: planned.address,
    };
    planned.iter().enumerate().map(bind).collect()
}

/// The core's settings. `bound` are the addresses as they were bound, in order of `planned`.
pub(super) fn settings(
    config: &Config,
    shards: u8,
    planned: &[Planned],
    bound: &[Bind],
) -> Settings {
    let listener = |(planned, bound): (&Planned, &Bind)| {
        let entry = &config.listen.udp[planned.entry];
        let (sent_by, advertise) = advertised(entry, bound.address);
        Listener {
            id: bound.id,
            transport: Transport::Udp,
            bind: bound.address,
            sent_by: sent_by.into(),
            advertise,
            name: entry.name.as_deref().map(Into::into),
            steering: match entry.steering {
                config::Steering::Flow => Steering::Flow,
                config::Steering::CallId => Steering::CallId,
            },
        }
    };
    let registrar = &config.registrar;
    let limits = &config.limits;
    Settings {
        node: NodeId(0),
        shards,
        listeners: planned.iter().zip(bound).map(listener).collect(),
        names: config
            .listen
            .names
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
        realm: config.auth.realm.as_str().into(),
        nonce_lifetime_s: config.auth.nonce_lifetime_s,
        algorithms: config
            .auth
            .algorithms
            .iter()
            .map(|algorithm| match algorithm {
                config::Algorithm::Md5 => DigestAlgorithm::Md5,
                config::Algorithm::Sha256 => DigestAlgorithm::Sha256,
            })
            .collect(),
        expires_min_s: registrar.expires_min_s,
        expires_max_s: registrar.expires_max_s,
        expires_default_s: registrar.expires_default_s,
        contacts_per_aor_max: registrar.contacts_per_aor_max,
        contacts_full: match registrar.contacts_full {
            config::ContactsFull::Refuse => ContactsFull::Refuse,
            config::ContactsFull::ReplaceOldest => ContactsFull::ReplaceOldest,
        },
        nat_keepalive_s: registrar.nat_keepalive_s,
        registers_per_aor_s: registrar.registers_per_aor_s,
        source_requests_s: limits.source_requests_s,
        source_burst: limits.source_burst,
        source_allowance_bytes: limits.source_allowance_bytes,
        strangers: match config.filter.strangers {
            config::Strangers::Answer => Strangers::Answer,
            config::Strangers::Drop => Strangers::Drop,
        },
        retry_after_s: config.overload.retry_after_s,
        timer_c_s: limits.timer_c_s,
        contact_silence_ms: limits.contact_silence_ms,
        call_s_max: limits.call_s_max,
        trunk_options_s: limits.trunk_options_s,
        capacity: limits.capacity(),
    }
}

/// What peers of a listener are told, and the address in it where it holds one.
fn advertised(entry: &config::UdpListener, bound: SocketAddr) -> (String, SocketAddr) {
    let Some(advertise) = &entry.advertise else {
        return (bound.to_string(), bound);
    };
    let address = advertise
        .host
        .parse()
        .map_or(bound, |ip| SocketAddr::new(ip, advertise.port));
    (advertise.sent_by(), address)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;

    fn shards(set: &[&str]) -> config::Shards {
        let set: Vec<String> = set.iter().map(|&text| text.to_owned()).collect();
        Config::parse("edge.toml", "", &set).unwrap().shards
    }

    #[test]
    fn one_core_stays_with_the_control_thread_where_there_are_four() {
        let placement = place(&shards(&[]), &[0, 1, 2, 3]).unwrap();
        assert_eq!(placement.cores, [1, 2, 3]);
        assert_eq!(placement.control_core, Some(0));
        let placement = place(&shards(&[]), &[0, 1]).unwrap();
        assert_eq!(placement.cores, [0, 1]);
        assert_eq!(placement.control_core, None);
        assert_eq!(
            place(&shards(&["shards.count=1"]), &[2, 5]).unwrap().cores,
            [5]
        );
    }

    #[test]
    fn shards_that_share_a_core_do_not_spin() {
        let placement = place(&shards(&["shards.count=3"]), &[0, 1]).unwrap();
        assert_eq!(placement.cores, [0, 1, 0]);
        assert_eq!(placement.spin_us_max, 0);
        assert_eq!(place(&shards(&[]), &[0]).unwrap().spin_us_max, 0);
        assert_eq!(place(&shards(&[]), &[0, 1]).unwrap().spin_us_max, SPIN_US);
        let set = ["shards.count=2", "shards.spin_us_max=7"];
        assert_eq!(place(&shards(&set), &[0]).unwrap().spin_us_max, 7);
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = place(&shards(&["shards.cores=[0, 9]"]), &[0, 1]).unwrap_err();
        assert!(
            error.contains("core 9") && error.contains("0, 1"),
            "{error}"
        );
    }

    #[test]
    fn a_wildcard_leaves_an_address_to_its_own_entry() {
        let set = ["listen.udp=[\"0.0.0.0:5060\", { bind = \"10.0.0.1:5060\", name = \"in\" }]"];
        let config = Config::parse("edge.toml", "", &set.map(str::to_owned)).unwrap();
        let expand = |address: SocketAddr| {
            let local = if address.ip().is_unspecified() {
                vec![
                    "127.0.0.1:5060".parse().unwrap(),
                    "10.0.0.1:5060".parse().unwrap(),
                ]
            } else {
                vec![address]
            };
            Ok::<_, ()>(local)
        };
        let planned = plan_listeners(&config.listen, expand).unwrap();
        let shown: Vec<_> = planned
            .iter()
            .map(|planned| (planned.address.to_string(), planned.entry))
            .collect();
        assert_eq!(
            shown,
            [
                ("127.0.0.1:5060".to_owned(), 0),
                ("10.0.0.1:5060".to_owned(), 1)
            ]
        );
        let settings = settings(&config, 2, &planned, &binds(&planned));
        assert_eq!(&*settings.listeners[0].sent_by, "127.0.0.1:5060");
        assert_eq!(settings.listeners[1].name.as_deref(), Some("in"));
        assert_eq!(settings.listeners[1].id, ListenerId(1));
    }

    #[test]
    fn what_is_advertised_goes_into_sent_by() {
        let advertised_as = |advertise: &str| {
            let listener =
                format!("listen.udp={{ bind = \"10.0.0.1:5062\", advertise = \"{advertise}\" }}");
            let config = Config::parse("edge.toml", "", &[listener]).unwrap();
            advertised(&config.listen.udp[0], config.listen.udp[0].bind)
        };
        let (sent_by, address) = advertised_as("203.0.113.5");
        assert_eq!(
            (sent_by.as_str(), address.to_string()),
            ("203.0.113.5:5062", sent_by.clone())
        );
        let (sent_by, address) = advertised_as("edge.example.org:5060");
        assert_eq!(sent_by, "edge.example.org:5060");
        assert_eq!(address.to_string(), "10.0.0.1:5062");
    }
}
