//! The scanner against a slow, obvious parser, and against itself; for tests only.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};

use super::*;

/// What a plain reader makes of a message.
#[derive(Debug, PartialEq, Eq)]
struct Plain {
    start_line: Vec<u8>,
    /// Name in lower case, and value with its folds.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// Reads a datagram line by line. `None` when its lines are wrong.
fn read_plainly(datagram: &[u8]) -> Option<Plain> {
    let mut rest = datagram;
    while rest.starts_with(b"\r\n") {
        rest = &rest[2..];
    }
    let mut lines: Vec<Vec<u8>> = Vec::new();
    loop {
        let end = (0..rest.len()).find(|&at| rest[at..].starts_with(b"\r\n"))?;
        let line = rest[..end].to_vec();
        rest = &rest[end + 2..];
        if line.is_empty() {
            break;
        }
        if line[0] == b' ' || line[0] == b'\t' {
            // A continuation of the start line is none.
            if lines.len() < 2 {
                return None;
            }
            let before = lines.last_mut()?;
            before.extend_from_slice(b"\r\n");
            before.extend_from_slice(&line);
        } else {
            lines.push(line);
        }
    }
    let mut fields = Vec::new();
    for line in &lines[1..] {
        if has_stray_control(line) {
            return None;
        }
        let text = line;
        let colon = text.iter().position(|&byte| byte == b':')?;
        let name = text[..colon].to_ascii_lowercase();
        let kept = name.iter().rposition(|byte| !b" \t".contains(byte))? + 1;
        let name = name[..kept].to_vec();
        if !name
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
        {
            return None;
        }
        fields.push((name, text[colon + 1..].trim_ascii().to_vec()));
    }
    let lengths = fields
        .iter()
        .filter(|(name, _)| name == b"content-length" || name == b"l");
    let lengths: Vec<_> = lengths.map(|(_, value)| value).collect();
    let body = match lengths[..] {
        [] => rest.len(),
        [digits] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).unwrap().parse().ok()?
        }
        _ => return None,
    };
    Some(Plain {
        start_line: lines[0].clone(),
        fields,
        body: rest.get(..body)?.to_vec(),
    })
}

/// Whether a control character stands outside folds and quoted pairs.
fn has_stray_control(field: &[u8]) -> bool {
    let text = String::from_utf8_lossy(field).replace("\r\n", "  ");
    let mut quoted = false;
    let mut escaped = false;
    for letter in text.chars() {
        let control = letter.is_ascii_control() && letter != '\t';
        if control && !(escaped && letter != '\r' && letter != '\n') {
            return true;
        }
        let was_escaped = escaped;
        escaped = quoted && letter == '\\' && !was_escaped;
        if letter == '"' && !was_escaped {
            quoted = !quoted;
        }
    }
    false
}

/// What the scanner made of the same message.
fn plain_of(message: Message<'_>) -> Plain {
    let bytes = message.bytes();
    Plain {
        start_line: bytes[..message.head_start() - 2].to_vec(),
        fields: message
            .fields()
            .map(|field| (field.name_text.to_ascii_lowercase(), field.value.to_vec()))
            .collect(),
        body: message.body().to_vec(),
    }
}

/// Reads everything that can be read.
fn read_all(message: Message<'_>) {
    let _ = format!("{:?} {:?}", message.request_line(), message.reason_phrase());
    let _ = (
        message.method(),
        message.status(),
        message.request_uri_range(),
        message.body(),
    );
    let _ = (
        message.top_via(),
        message.cseq(),
        message.from_tag(),
        message.to_tag(),
    );
    let _ = (message.call_id(), message.max_forwards(), message.expires());
    assert!(message.head_start() <= message.head_end());
    for via in Vias::new(message).flatten() {
        assert!(via.start < via.end && usize::from(via.end) <= message.bytes().len());
        via.params.for_each(drop);
    }
    for field in message.fields() {
        assert_eq!(
            message
                .headers(field.name)
                .filter(|f| f.line_start == field.line_start)
                .count(),
            1
        );
        split_values(field.value).for_each(drop);
        let _ = Credentials::parse(field.value);
        for address in NameAddrs::new(message, field.name).flatten() {
            if let Ok(uri) = Uri::parse(address.uri) {
                assert!(uri.scheme == Scheme::Other || uri.equals(&uri));
                let mut text = [0u8; 64];
                let _ = uri.write_user(&mut Writer::new(&mut text));
                let _ = uri.write_number(&mut Writer::new(&mut text));
                let _ = uri.host_addr();
            }
        }
    }
    let _ = Contacts::of(message);
}

/// Answers a refused request, and checks that the answer can be framed.
fn answer(message: Message<'_>) {
    read_all(message);
    let mut text = vec![0u8; 2 * message.bytes().len() + 1024];
    let mut out = Writer::new(&mut text);
    let reply = ReplyTo {
        source: "192.0.2.200:6000".parse().unwrap(),
    };
    ResponseHead::write(&mut out, message, 400, "Bad Request", b"here", reply);
    ResponseHead::end(&mut out, b"");
    let length = out.finish().unwrap();
    let mut index = Index::new();
    if let Err(rejected) = index.scan(&text[..length]) {
        assert!(
            !rejected.error.reason.loses_framing(),
            "{rejected:?} {}",
            text.escape_ascii()
        );
    }
}

/// Scans `datagram` and holds the outcome against the plain reader.
fn check(datagram: &[u8]) -> Result<(), TestCaseError> {
    let plain = read_plainly(datagram);
    let mut index = Index::new();
    match index.scan(datagram) {
        Ok(message) => {
            read_all(message);
            prop_assert_eq!(Some(plain_of(message)), plain);
        }
        Err(rejected) => {
            if let Some(plain) = plain {
                prop_assert!(
                    !rejected.error.reason.loses_framing()
                        || rejected.error.reason == Reason::NotSip
                        || has_stray_control(&plain.start_line),
                    "{:?}",
                    rejected
                );
            }
            if let Some(message) = rejected.answerable {
                answer(message);
            }
        }
    }
    Ok(())
}

/// White space that may stand around a separator.
fn space() -> impl Strategy<Value = String> {
    select(vec!["", "", " ", "\t", "\r\n ", " \r\n\t "]).prop_map(str::to_owned)
}

/// A well-formed request and what is in it.
#[derive(Clone, Debug)]
struct Sample {
    text: String,
    method: String,
    uri: String,
    vias: Vec<(String, u16, String)>,
    from_tag: String,
    to_tag: Option<String>,
    call_id: String,
    cseq: u32,
    contacts: Vec<String>,
    body: String,
}

prop_compose! {
    fn sample()(
        method in select(vec!["INVITE", "REGISTER", "OPTIONS", "ACK", "PING"]),
        uri in "sip:[a-z]{1,8}@[a-z]{1,6}\\.test(:[1-9][0-9]{3})?(;lr)?",
        vias in prop::collection::vec(
            ("[a-z]{1,8}\\.test", 1u16.., "z9hG4bK[a-zA-Z0-9.]{1,20}"),
            1..5,
        ),
        joined in any::<bool>(),
        tags in ("[a-zA-Z0-9.]{1,12}", prop::option::of("[a-zA-Z0-9]{1,12}")),
        display in select(vec!["", "Alice ", "\"A, <B>; \\\"C\\\"\" ", "J\u{fc}rgen "]),
        call_id in "[a-z0-9]{1,20}(@[a-z.]{1,9})?",
        cseq in 0u32..0x8000_0000,
        contacts in prop::collection::vec("sip:[a-z]{1,5}@[a-z]{1,5};x=[0-9]{1,3}", 0..4),
        body in "[ -~\r\n]{0,40}",
        spaces in prop::collection::vec(space(), 6),
        compact in any::<bool>(),
        counted in any::<bool>(),
        more in prop::collection::vec("X-[A-Za-z]{1,9}: [ -~]{0,30}\r\n", 0..6),
        order in any::<Pick>(),
    ) -> Sample {
        let name = |long: &str, short: &str| if compact { short } else { long }.to_owned();
        let [a, b, c, d, e, f] = &spaces[..] else { unreachable!("six were made") };
        let via = |(host, port, branch): &(String, u16, String)| {
            format!("SIP{a}/2.0/UDP {b}{host}{c}:{d}{port}{e};{f}branch{a}={b}{branch};rport")
        };
        let mut lines = if joined {
            let values: Vec<String> = vias.iter().map(via).collect();
            vec![format!("{}:{a}{}\r\n", name("Via", "v"), values.join(&format!("{b},{c}")))]
        } else {
            vec![]
        };
        let tag = |tag: &str| format!("{a};{b}tag{c}={d}{tag}");
        let to_tag = tags.1.as_deref().map_or(String::new(), tag);
        let from = format!("{display}<sip:alice@a.test>{}", tag(&tags.0));
        lines.push(format!("{}:{e}{from}\r\n", name("From", "f")));
        lines.push(format!("{}: sip:bob@b.test{to_tag}{f}\r\n", name("To", "t")));
        lines.push(format!("{} \t:{a}{call_id}\r\n", name("Call-ID", "i")));
        lines.push(format!("CSeq:{b}{cseq} {c}{method}\r\n"));
        if counted {
            lines.push(format!("{}:{d}{:04}\r\n", name("Content-Length", "l"), body.len()));
        }
        if !contacts.is_empty() {
            let values: Vec<String> = contacts.iter().map(|uri| format!("<{uri}>;q=0.5")).collect();
            let values = values.join(&format!("{f},{a}"));
            lines.push(format!("{}:{e}{values}\r\n", name("Contact", "m")));
        }
        lines.extend(more);
        let turn = order.index(lines.len());
        lines.rotate_left(turn);
        if !joined {
            // Several fields keep their order.
            let fields = vias.iter().map(|one| format!("{}: {}\r\n", name("Via", "v"), via(one)));
            lines.splice(0..0, fields);
        }
        Sample {
            text: format!("{method} {uri} SIP/2.0\r\n{}\r\n{body}", lines.concat()),
            method: method.to_owned(), uri, vias, from_tag: tags.0, to_tag: tags.1,
            call_id, cseq, contacts, body,
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Checks that `message` holds what `sample` was made from.
fn check_sample(message: Message<'_>, sample: &Sample) -> Result<(), TestCaseError> {
    let line = message.request_line().unwrap();
    prop_assert_eq!(text(line.method_text), &sample.method);
    prop_assert_eq!(text(line.uri), &sample.uri);
    let vias: Vec<_> = Vias::new(message).map(Result::unwrap).collect();
    prop_assert_eq!(vias.len(), sample.vias.len());
    for (via, (host, port, branch)) in vias.iter().zip(&sample.vias) {
        prop_assert_eq!((text(via.host), via.port), (host.as_str(), Some(*port)));
        prop_assert_eq!(text(via.branch), branch);
        prop_assert_eq!(via.rport, Some(None));
        prop_assert_eq!(via.params.value("branch"), Some(branch.as_bytes()));
    }
    prop_assert_eq!(message.top_via().start, vias[0].start);
    prop_assert_eq!(text(message.from_tag()), &sample.from_tag);
    prop_assert_eq!(
        text(message.to_tag()),
        sample.to_tag.as_deref().unwrap_or("")
    );
    prop_assert_eq!(text(message.call_id()), &sample.call_id);
    prop_assert_eq!(message.cseq().number, sample.cseq);
    prop_assert_eq!(text(message.cseq().method_text), &sample.method);
    let contacts: Vec<_> = NameAddrs::new(message, HeaderName::Contact)
        .map(|c| text(c.unwrap().uri))
        .collect();
    prop_assert_eq!(
        contacts,
        sample
            .contacts
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
    );
    prop_assert_eq!(text(message.body()), &sample.body);
    Ok(())
}

/// Writes a message anew from what was read of it.
fn emit(message: Message<'_>) -> Vec<u8> {
    let line = message.request_line().unwrap();
    let mut out = [line.method_text, b" ", line.uri, b" SIP/2.0\r\n"].concat();
    for field in message.fields() {
        let known = field.name.as_str().as_bytes();
        let name = if field.name == HeaderName::Other {
            field.name_text
        } else {
            known
        };
        out.extend([name, b": ", field.value, b"\r\n"].concat());
    }
    out.extend([b"\r\n", message.body()].concat());
    out
}

proptest! {
    #[test]
    fn well_formed_requests_read_as_they_were_made(sample in sample()) {
        let mut index = Index::new();
        let message = index.scan(sample.text.as_bytes());
        let message = message.map_err(|r| TestCaseError::fail(format!("{r:?} {sample:?}")))?;
        check_sample(message, &sample)?;
        check(sample.text.as_bytes())?;
    }

    #[test]
    fn what_is_emitted_reads_as_before(sample in sample()) {
        let (mut index, mut again) = (Index::new(), Index::new());
        let message = index.scan(sample.text.as_bytes()).unwrap();
        let emitted = emit(message);
        let second = again.scan(&emitted).unwrap();
        check_sample(second, &sample)?;
        prop_assert_eq!(plain_of(second).body, plain_of(message).body);
        prop_assert_eq!(emit(second), emitted);
        let mut copy = vec![0u8; sample.text.len()];
        let mut out = Writer::new(&mut copy);
        prop_assert!(Splice::new(message).write(&mut out));
        prop_assert_eq!(out.written(), message.bytes());
    }

    #[test]
    fn removing_values_one_by_one_leaves_the_others(sample in sample(), count in 1usize..5) {
        let (mut index, mut again) = (Index::new(), Index::new());
        let message = index.scan(sample.text.as_bytes()).unwrap();
        let count = count.min(sample.contacts.len());
        let mut splice = Splice::new(message);
        for _ in 0..count {
            splice.remove_first_value(HeaderName::Contact);
        }
        let mut buffer = vec![0u8; sample.text.len()];
        let mut out = Writer::new(&mut buffer);
        prop_assert!(splice.write(&mut out));
        let mut expected = sample.clone();
        expected.contacts.drain(..count);
        check_sample(again.scan(out.written()).unwrap(), &expected)?;
    }

    #[test]
    fn mutated_requests_read_as_a_plain_reader_reads_them(
        sample in sample(),
        edits in prop::collection::vec(
            (any::<Pick>(), 0usize..4, "[\r\n\t :;,<>\"\\\\\u{0}\u{7f}a0@=]{0,3}"),
            1..4,
        ),
    ) {
        let mut bytes = sample.text.into_bytes();
        for (at, removed, inserted) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted.into_bytes());
        }
        check(&bytes)?;
    }

    #[test]
    fn truncated_requests_are_no_other_requests(sample in sample(), at in any::<Pick>()) {
        check(&sample.text.as_bytes()[..at.index(sample.text.len())])?;
    }

    #[test]
    fn any_octets_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
        let framed = [b"OPTIONS sip:a SIP/2.0\r\n", &bytes[..], b"\r\n\r\n"].concat();
        check(&framed)?;
        let _ = Uri::parse(&bytes);
        let _ = NameAddr::parse(&bytes);
        let _ = Credentials::parse(&bytes);
        let digest = [b"Digest ", &bytes[..]].concat();
        let _ = Credentials::parse(&digest);
    }
}
