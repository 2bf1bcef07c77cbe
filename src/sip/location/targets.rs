//! Targets of an address of record, encoded so that they travel between shards as octets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::sip::{Flow, ListenerId, ShardId, SourceAddr};

/// One target: a contact and how to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The flow on which requests go.
    pub(crate) flow: Flow,
    /// Contact URI: the Request-URI.
    pub(crate) contact: &'a [u8],
    /// q-value in thousandths; equal q is tried in parallel, lower q after.
    pub(crate) q_milli: u16,
    /// Groups flows of one instance (`+sip.instance`): of one group the first is tried, the next
    /// only after 430 or silence. 0 = no instance.
    pub(crate) instance_group: u16,
    /// Path values to be pushed as Route, comma-separated; empty when none.
    pub(crate) path: &'a [u8],
}

const FLOW_UDP: u8 = 0;
const FLOW_STREAM: u8 = 1;

/// Octets of a target beside its texts: kind and listener, address and port, q, group, lengths.
const FIXED_BYTES: usize = 2 + 18 + 2 + 2 + 2 + 2;
/// Octets a connection adds: shard, slot, generation.
const STREAM_BYTES: usize = 1 + 4 + 4;

/// Encodes targets.
#[derive(Debug)]
pub(crate) struct TargetSetWriter<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> TargetSetWriter<'b> {
    /// Starts an empty set in `buffer`.
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Adds a target; false when it does not fit (it is then not in the set).
    pub(crate) fn push(&mut self, target: &Target<'_>) -> bool {
        let (Ok(contact_length), Ok(path_length)) = (
            u16::try_from(target.contact.len()),
            u16::try_from(target.path.len()),
        ) else {
            return false;
        };
        let extra = match target.flow {
            Flow::Udp { .. } => 0,
            Flow::Stream { .. } => STREAM_BYTES,
        };
        let size = FIXED_BYTES + extra + target.contact.len() + target.path.len();
        if size > self.buffer.len() - self.length {
            return false;
        }
        let kind = match target.flow {
            Flow::Udp { .. } => FLOW_UDP,
            Flow::Stream { .. } => FLOW_STREAM,
        };
        let peer = target.flow.peer();
        self.put(&[kind, target.flow.listener().0]);
        self.put(peer.octets());
        self.put(&peer.port().to_le_bytes());
        if let Flow::Stream {
            shard,
            slot,
            generation,
            ..
        } = target.flow
        {
            self.put(&[shard.0]);
            self.put(&slot.to_le_bytes());
            self.put(&generation.to_le_bytes());
        }
        self.put(&target.q_milli.to_le_bytes());
        self.put(&target.instance_group.to_le_bytes());
        self.put(&contact_length.to_le_bytes());
        self.put(&path_length.to_le_bytes());
        self.put(target.contact);
        self.put(target.path);
        true
    }

    /// Length of the encoded set.
    pub(crate) fn finish(self) -> usize {
        self.length
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.buffer[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}

/// An encoded set; iterating ends at the first target that is not whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TargetSet<'a> {
    octets: &'a [u8],
}

impl<'a> TargetSet<'a> {
    /// Reads an encoded set.
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { octets }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.octets.split_first_chunk::<N>()?;
        self.octets = rest;
        Some(*head)
    }

    fn take_slice(&mut self, length: u16) -> Option<&'a [u8]> {
        let (head, rest) = self.octets.split_at_checked(usize::from(length))?;
        self.octets = rest;
        Some(head)
    }

    fn take_target(&mut self) -> Option<Target<'a>> {
        let [kind, listener] = self.take()?;
        let listener = ListenerId(listener);
        let ip = Ipv6Addr::from(self.take::<16>()?);
        let port = u16::from_le_bytes(self.take()?);
        let peer = SourceAddr::from(SocketAddr::new(IpAddr::V6(ip), port));
        let flow = match kind {
            FLOW_UDP => Flow::Udp { listener, peer },
            FLOW_STREAM => {
                let [shard] = self.take()?;
                let slot = u32::from_le_bytes(self.take()?);
                let generation = u32::from_le_bytes(self.take()?);
                Flow::Stream {
                    shard: ShardId(shard),
                    listener,
                    slot,
                    generation,
                    peer,
                }
            }
            _ => return None,
        };
        let q_milli = u16::from_le_bytes(self.take()?);
        let instance_group = u16::from_le_bytes(self.take()?);
        let contact_length = u16::from_le_bytes(self.take()?);
        let path_length = u16::from_le_bytes(self.take()?);
        let contact = self.take_slice(contact_length)?;
        let path = self.take_slice(path_length)?;
        Some(Target {
            flow,
            contact,
            q_milli,
            instance_group,
            path,
        })
    }
}

impl<'a> Iterator for TargetSet<'a> {
    type Item = Target<'a>;
    fn next(&mut self) -> Option<Target<'a>> {
        let target = self.take_target();
        if target.is_none() {
            self.octets = &[];
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parts = (Flow, Vec<u8>, u16, u16, Vec<u8>);

    fn any_parts() -> impl Strategy<Value = Parts> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
        ];
        let peer = (address, any::<u16>())
            .prop_map(|(ip, port)| SourceAddr::from(SocketAddr::new(ip, port)));
        let flow = (peer, any::<u8>(), any::<Option<(u8, u32, u32)>>()).prop_map(
            |(peer, listener, stream)| {
                let listener = ListenerId(listener);
                match stream {
                    None => Flow::Udp { listener, peer },
                    Some((shard, slot, generation)) => Flow::Stream {
                        shard: ShardId(shard),
                        listener,
                        slot,
                        generation,
                        peer,
                    },
                }
            },
        );
        let text = prop::collection::vec(any::<u8>(), 0..200);
        (flow, text.clone(), any::<u16>(), any::<u16>(), text)
    }

    fn target(parts: &Parts) -> Target<'_> {
        let (flow, contact, q_milli, instance_group, path) = parts;
        Target {
            flow: *flow,
            contact,
            q_milli: *q_milli,
            instance_group: *instance_group,
            path,
        }
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_read_back_and_what_does_not_fit_is_left_out(
            all in prop::collection::vec(any_parts(), 0..12), room in 0usize..3000
        ) {
            let mut buffer = vec![0u8; room];
            let mut writer = TargetSetWriter::new(&mut buffer);
            let kept: Vec<_> = all.iter().map(target).filter(|one| writer.push(one)).collect();
            let length = writer.finish();
            prop_assert!(length <= room);
            prop_assert_eq!(TargetSet::new(&buffer[..length]).collect::<Vec<_>>(), kept);
        }

        #[test]
        fn a_set_cut_short_ends_early_and_nothing_worse(
            all in prop::collection::vec(any_parts(), 1..4), cut in any::<prop::sample::Index>()
        ) {
            let mut buffer = vec![0u8; 4096];
            let mut writer = TargetSetWriter::new(&mut buffer);
            let pushed = all.iter().filter(|one| writer.push(&target(one))).count();
            let length = writer.finish();
            let cut = cut.index(length);
            let read = TargetSet::new(&buffer[..cut]).collect::<Vec<_>>();
            prop_assert!(read.len() < pushed);
            for (read, written) in read.iter().zip(&all) {
                prop_assert_eq!(*read, target(written));
            }
        }

        #[test]
        fn any_octets_are_read_without_harm(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(TargetSet::new(&octets).count() <= octets.len());
        }
    }
}
