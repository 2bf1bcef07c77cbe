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
    #[inline]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"CANCEL" => Self::Cancel,
            b"BYE" => Self::Bye,
            b"REGISTER" => Self::Register,
            b"OPTIONS" => Self::Options,
            b"PRACK" => Self::Prack,
            b"UPDATE" => Self::Update,
            b"INFO" => Self::Info,
            b"MESSAGE" => Self::Message,
            b"SUBSCRIBE" => Self::Subscribe,
            b"NOTIFY" => Self::Notify,
            b"REFER" => Self::Refer,
            b"PUBLISH" => Self::Publish,
            _ => Self::Other,
        }
    }

    /// The name on the wire; empty for `Other`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Cancel => "CANCEL",
            Self::Bye => "BYE",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Message => "MESSAGE",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Refer => "REFER",
            Self::Publish => "PUBLISH",
            Self::Other => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_case_counts() {
        let names = [
            "INVITE",
            "ACK",
            "CANCEL",
            "BYE",
            "REGISTER",
            "OPTIONS",
            "PRACK",
            "UPDATE",
            "INFO",
            "MESSAGE",
            "SUBSCRIBE",
            "NOTIFY",
            "REFER",
            "PUBLISH",
        ];
        for name in names {
            let method = Method::from_token(name.as_bytes());
            assert_eq!(method.as_str(), name);
            assert_eq!(
                Method::from_token(name.to_lowercase().as_bytes()),
                Method::Other
            );
            assert_eq!(
                Method::from_token(format!("{name}X").as_bytes()),
                Method::Other
            );
        }
        // RFC 4475 §3.1.1.5: an escape in a method is no escape.
        assert_eq!(Method::from_token(b"RE%47IST%45R"), Method::Other);
        assert_eq!(Method::from_token(b""), Method::Other);
        assert_eq!(Method::Other.as_str(), "");
    }
}
