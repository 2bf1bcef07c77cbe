//! The proxy core (RFC 3261 §16): where requests go, forking, best response, CANCEL, dialogs by
//! token.

/// The proxy of one shard.
#[derive(Debug)]
pub(crate) struct Proxy;
