//! SIP messages as agents have them: text in, text out. Written from RFC 3261 §7 without the crate
//! under test, for messages that are well-formed; what is not gives `None`.

use std::fmt::Write as _;

/// A request or response.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The start line.
    pub(crate) start: String,
    /// Header fields in order; names as written.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Message {
    pub(crate) fn request(method: &str, uri: &str) -> Self {
        Self {
            start: format!("{method} {uri} SIP/2.0"),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// RFC 3261 §8.2.6: a response to `request`, with `to_tag` where To has none.
    pub(crate) fn response(request: &Self, status: u16, to_tag: &str) -> Self {
        let mut response = Self {
            start: format!("SIP/2.0 {status} {}", phrase(status)),
            headers: Vec::new(),
            body: String::new(),
        };
        for (name, value) in &request.headers {
            let keeps = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route"];
            if !keeps.iter().any(|keep| name.eq_ignore_ascii_case(keep)) {
                continue;
            }
            let mut value = value.clone();
            if name.eq_ignore_ascii_case("To") && tag_of(&value).is_none() && status != 100 {
                value += ";tag=";
                value += to_tag;
            }
            response.add(name, value);
        }
        response
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect::<Option<Vec<_>>>()?;
        let message = Self {
            start,
            headers,
            body: body.to_owned(),
        };
        message.cseq()?;
        Some(message)
    }

    pub(crate) fn add(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(
            text,
            "Content-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        );
        text.into_bytes()
    }

    pub(crate) fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// The status of a response; 0 for a request.
    pub(crate) fn status(&self) -> u16 {
        self.start
            .strip_prefix("SIP/2.0 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or(0)
    }

    /// The method: of a response that of its CSeq.
    pub(crate) fn method(&self) -> &str {
        if self.is_request() {
            self.start.split(' ').next().unwrap_or("")
        } else {
            self.cseq().map_or("", |(_, method)| method)
        }
    }

    pub(crate) fn request_uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }

    /// The values of a header, one per element of its list.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| split_list(value))
            .collect()
    }

    /// The whole value of the first header of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    pub(crate) fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.get("CSeq")?.split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    pub(crate) fn cseq_number(&self) -> u32 {
        self.cseq().map_or(0, |(number, _)| number)
    }

    pub(crate) fn call_id(&self) -> &str {
        self.header("Call-ID")
    }

    pub(crate) fn tag_of_from(&self) -> &str {
        tag_of(self.header("From")).unwrap_or("")
    }

    pub(crate) fn tag_of_to(&self) -> &str {
        tag_of(self.header("To")).unwrap_or("")
    }

    pub(crate) fn top_via(&self) -> &str {
        self.all("Via").first().copied().unwrap_or("")
    }

    /// The branch of the top Via.
    pub(crate) fn branch(&self) -> &str {
        parameter(self.top_via(), "branch").unwrap_or("")
    }

    /// Sent-by of the top Via.
    pub(crate) fn sent_by(&self) -> &str {
        sent_by(self.top_via())
    }
}

/// Sent-by of a Via value.
pub(crate) fn sent_by(via: &str) -> &str {
    let rest = via.split_once(' ').map_or("", |(_, rest)| rest);
    rest.split(';').next().unwrap_or("").trim()
}

/// The parameter `name` behind a value.
pub(crate) fn parameter<'t>(value: &'t str, name: &str) -> Option<&'t str> {
    // What stands before the parameters has no semicolon but within brackets.
    let value = match value.split_once('>') {
        Some((address, rest)) if address.contains('<') => rest,
        _ => value,
    };
    value.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn tag_of(value: &str) -> Option<&str> {
    parameter(value, "tag")
}

/// The URI of a name-addr, or a bare URI without its parameters.
pub(crate) fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(""),
        None => value.split(';').next().unwrap_or("").trim(),
    }
}

/// Host and port of a SIP URI, as written.
pub(crate) fn host_port(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split([';', '?']).next().unwrap_or("")
}

/// The user part of a SIP URI.
pub(crate) fn user_of(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or("", |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// Splits at commas outside quotes and angle brackets.
fn split_list(value: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut bracketed) = (Vec::new(), 0, false, false);
    for (at, octet) in value.bytes().enumerate() {
        match octet {
            b'"' => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            b',' if !quoted && !bracketed => {
                parts.push(value[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(value[start..].trim());
    parts
}

const fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        486 => "Busy Here",
        487 => "Request Terminated",
        603 => "Decline",
        _ => "Status",
    }
}
