//! Targets of an address of record, encoded so that they travel between shards as octets.

use crate::sip::Flow;
use crate::wire::Writer;

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

/// Encodes targets.
#[derive(Debug)]
pub(crate) struct TargetSetWriter<'b> {
    out: Writer<'b>,
}

impl<'b> TargetSetWriter<'b> {
    /// Starts an empty set in `buffer`.
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            out: Writer::new(buffer),
        }
    }
    /// Adds a target; false when it does not fit (it is then not in the set).
    pub(crate) fn push(&mut self, target: &Target<'_>) -> bool {
        unimplemented!("{target:?}")
    }
    /// Length of the encoded set.
    pub(crate) fn finish(self) -> usize {
        self.out.len()
    }
}

/// An encoded set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TargetSet<'a> {
    octets: &'a [u8],
}

impl<'a> TargetSet<'a> {
    /// Reads an encoded set.
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { octets }
    }
}

impl<'a> Iterator for TargetSet<'a> {
    type Item = Target<'a>;
    fn next(&mut self) -> Option<Target<'a>> {
        unimplemented!("{:?}", self.octets)
    }
}
