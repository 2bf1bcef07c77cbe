//! Request methods.

/// A request method; anything unregistered is `Other` and compared by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Method {
    Invite,
    Ack,
    Cancel,
    Bye,
    Register,
    Options,
    Prack,
    Update,
    Info,
    Message,
    Subscribe,
    Notify,
    Refer,
    Publish,
    Other,
}

impl Method {
    /// The method named by `token`; names are case-sensitive (RFC 3261 §7.1).
    pub fn from_token(token: &[u8]) -> Self {
        unimplemented!("{token:?}")
    }

    /// The name on the wire; empty for `Other`.
    pub const fn as_str(self) -> &'static str {
        ""
    }
}
