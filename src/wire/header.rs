//! Header field names.

/// A header field name that the edge reads or writes; `Other` is passed on untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum HeaderName {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    MaxForwards,
    Route,
    RecordRoute,
    ContentLength,
    ContentType,
    ContentEncoding,
    Expires,
    MinExpires,
    Require,
    ProxyRequire,
    Supported,
    Unsupported,
    Allow,
    Accept,
    Authorization,
    ProxyAuthorization,
    WwwAuthenticate,
    ProxyAuthenticate,
    AuthenticationInfo,
    ProxyAuthenticationInfo,
    Path,
    ServiceRoute,
    UserAgent,
    Server,
    Subject,
    Event,
    SessionExpires,
    MinSe,
    ReferTo,
    ReferredBy,
    Replaces,
    RetryAfter,
    Timestamp,
    Warning,
    Reason,
    Privacy,
    PAssertedIdentity,
    PPreferredIdentity,
    PCalledPartyId,
    RemotePartyId,
    Diversion,
    MaxBreadth,
    FlowTimer,
    RSeq,
    RAck,
    Date,
    Other,
}

impl HeaderName {
    /// Number of variants.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// The name written as `name`, in any case, long or compact (RFC 3261 §7.3.3, §20).
    pub fn from_bytes(name: &[u8]) -> Self {
        unimplemented!("{name:?}")
    }

    /// The long form as the edge writes it; empty for `Other`.
    pub const fn as_str(self) -> &'static str {
        ""
    }
}
