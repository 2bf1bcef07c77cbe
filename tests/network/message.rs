//! SIP messages as an agent of the tests reads them: plainly, and strict about what it gets.

/// A message received.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The request or status line.
    pub(crate) start: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    /// Reads a message; panics at what RFC 3261 does not allow to be sent.
    pub(crate) fn read(octets: &[u8]) -> Self {
        let text = std::str::from_utf8(octets).unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("the head has no end: {text:?}"));
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            assert!(!line.contains(['\r', '\n']), "{line:?} in {text}");
            let (name, value) = line.split_once(':').unwrap();
            (name.trim().to_owned(), value.trim().to_owned())
        };
        let message = Self {
            start,
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        };
        let length: usize = message.header("Content-Length").parse().unwrap();
        assert_eq!(length, body.len(), "Content-Length of {text}");
        message
    }

    /// The values of every header field of this name, in order, one per line.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(this, _)| this.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of the first header field of this name; it must be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.all(name)
            .first()
            .copied()
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The status of a response; `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        let rest = self.start.strip_prefix("SIP/2.0 ")?;
        Some(rest.get(..3).unwrap().parse().unwrap())
    }

    /// The method of a request, or of the request that a response answers.
    pub(crate) fn method(&self) -> &str {
        self.header("CSeq").split(' ').next_back().unwrap()
    }

    /// The Request-URI.
    pub(crate) fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    /// What tells a message from every other one but its own retransmissions.
    pub(crate) fn identity(&self) -> String {
        let first = |name| self.all(name).first().copied().unwrap_or_default();
        let start = self.start.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let branch = parameter(first("Via"), "branch").unwrap_or_default();
        let tag = parameter(first("To"), "tag").unwrap_or_default();
        format!("{start} {} {branch} {tag}", first("CSeq"))
    }
}

/// The URI between the angle brackets of a header field's value.
pub(crate) fn uri_of(value: &str) -> &str {
    let (_, rest) = value.split_once('<').unwrap();
    rest.split_once('>').unwrap().0
}

/// A parameter of a header field's value; of its URI only where there are no angle brackets.
pub(crate) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let rest = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    let mut all = rest.split(';').skip(1).map(str::trim);
    all.find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
}

/// A parameter of a challenge, without its quotes.
pub(crate) fn challenge_parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let parameters = challenge.strip_prefix("Digest ").unwrap();
    let mut all = parameters.split(',').map(str::trim);
    let value = all.find_map(|one| one.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}
