//! User agents, each distinct text kept once.
//!
//! Bounded: with the table or the arena full an agent is not kept and shown as empty, which costs
//! a column in a listing and nothing else.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::index::Index;
use super::strings::{StringId, Strings};
use crate::sip::Slab;

/// Distinct agents kept.
const AGENTS_MAX: u32 = 4096;

/// Octets kept of an agent; the rest is cut.
const AGENT_BYTES_MAX: usize = 128;

/// Names an agent; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AgentId(u16);

#[derive(Debug)]
struct Agent {
    text: StringId,
    /// Bindings that name it; never 0.
    uses: u32,
    length: u8,
}

/// The agents of one location table.
#[derive(Debug)]
pub(super) struct Agents {
    entries: Slab<Agent>,
    index: Index,
    key: [u8; 16],
}

const _: () = assert!(AGENTS_MAX < u16::MAX as u32);
const _: () = assert!(AGENT_BYTES_MAX <= u8::MAX as usize);

impl Agents {
    /// An empty table whose index is keyed by `key`.
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self {
            entries: Slab::with_capacity(AGENTS_MAX),
            index: Index::with_capacity(AGENTS_MAX),
            key,
        }
    }

    /// The id of `text`, used once more; none when it is empty or there is no room.
    pub(super) fn take(&mut self, strings: &mut Strings, text: &[u8]) -> AgentId {
        let text = &text[..text.len().min(AGENT_BYTES_MAX)];
        if text.is_empty() {
            return AgentId(0);
        }
        let hash = self.hash(text);
        let entries = &self.entries;
        let found = self.index.find(hash, |slot| {
            entries.at(slot).is_some_and(|(_, agent)| {
                strings.octets(agent.text, usize::from(agent.length)) == text
            })
        });
        if let Some(slot) = found {
            let id = AgentId(slot as u16 + 1);
            self.take_again(id);
            return id;
        }
        if self.entries.len() == AGENTS_MAX {
            return AgentId(0);
        }
        let Some(stored) = strings.store(&[text]) else {
            return AgentId(0);
        };
        let agent = Agent {
            text: stored,
            uses: 1,
            length: text.len() as u8,
        };
        match self.entries.insert(agent) {
            Ok(key) => {
                self.index.insert(hash, key.slot);
                AgentId(key.slot as u16 + 1)
            }
            Err(agent) => {
                strings.release(agent.text);
                AgentId(0)
            }
        }
    }

    /// One more use of an agent taken before.
    pub(super) fn take_again(&mut self, id: AgentId) {
        if let Some(agent) = self.entry(id) {
            agent.uses += 1;
        }
    }

    /// One use less; the last one forgets it.
    pub(super) fn release(&mut self, strings: &mut Strings, id: AgentId) {
        let Some(agent) = self.entry(id) else {
            return;
        };
        agent.uses -= 1;
        if agent.uses > 0 {
            return;
        }
        let (text, length) = (agent.text, usize::from(agent.length));
        let hash = self.hash(strings.octets(text, length));
        let slot = u32::from(id.0) - 1;
        self.index.remove(hash, slot);
        strings.release(text);
        if let Some((key, _)) = self.entries.at(slot) {
            self.entries.remove(key);
        }
    }

    /// The text; empty for none.
    pub(super) fn text<'a>(&self, strings: &'a Strings, id: AgentId) -> &'a [u8] {
        match u32::from(id.0)
            .checked_sub(1)
            .and_then(|slot| self.entries.at(slot))
        {
            Some((_, agent)) => strings.octets(agent.text, usize::from(agent.length)),
            None => b"",
        }
    }

    /// Octets allocated, texts apart.
    pub(super) fn bytes(&self) -> usize {
        AGENTS_MAX as usize * Slab::<Agent>::slot_bytes() + self.index.bytes()
    }

    fn entry(&mut self, id: AgentId) -> Option<&mut Agent> {
        let slot = u32::from(id.0).checked_sub(1)?;
        let (key, _) = self.entries.at(slot)?;
        self.entries.get_mut(key)
    }

    fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(text);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_kept_once_and_forgotten_with_its_last_use() {
        let mut strings = Strings::with_capacity(0);
        let mut agents = Agents::new([7; 16]);
        let first = agents.take(&mut strings, b"Phone/1.0");
        let again = agents.take(&mut strings, b"Phone/1.0");
        let other = agents.take(&mut strings, b"Phone/1.1");
        assert_eq!(first, again);
        assert_ne!(first, other);
        agents.release(&mut strings, first);
        assert_eq!(agents.text(&strings, again), b"Phone/1.0");
        agents.release(&mut strings, again);
        agents.release(&mut strings, other);
        assert_eq!(strings.bytes_used(), 0);
        assert!(agents.entries.is_empty());
    }

    #[test]
    fn an_agent_beyond_the_bound_is_empty_and_costs_nothing() {
        let mut strings = Strings::with_capacity(1 << 20);
        let mut agents = Agents::new([7; 16]);
        for number in 0..AGENTS_MAX {
            let id = agents.take(&mut strings, format!("Phone/{number}").as_bytes());
            assert_ne!(id, AgentId(0));
        }
        let used = strings.bytes_used();
        let id = agents.take(&mut strings, b"one too many");
        assert_eq!(agents.text(&strings, id), b"");
        agents.release(&mut strings, id);
        assert_eq!(strings.bytes_used(), used);
        let known = agents.take(&mut strings, b"Phone/17");
        assert_eq!(agents.text(&strings, known), b"Phone/17");
    }

    #[test]
    fn a_long_agent_is_cut() {
        let mut strings = Strings::with_capacity(0);
        let mut agents = Agents::new([7; 16]);
        let id = agents.take(&mut strings, &[b'x'; 1000]);
        assert_eq!(agents.text(&strings, id), [b'x'; AGENT_BYTES_MAX]);
    }
}
