//! The digest computation (RFC 7616 §3.4.1, with qop=auth and the plain algorithms).

use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::tenant::Credential;
use crate::wire::DigestAlgorithm;

/// Longest digest, in octets.
const DIGEST_BYTES_MAX: usize = 32;

/// What a response is computed over beside HA1; texts as they stand between the quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) algorithm: DigestAlgorithm,
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) nonce: &'a [u8],
    pub(super) nc: &'a [u8],
    pub(super) cnonce: &'a [u8],
    pub(super) qop: &'a [u8],
}

/// A question whose HA2 is computed, with the response a client gave: it can be checked against
/// several credentials.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    question: Question<'a>,
    /// HA2 in hexadecimal.
    ha2: Hex,
    /// What the client sent.
    response: [u8; DIGEST_BYTES_MAX],
}

impl<'a> Checker<'a> {
    /// `None` when `response` is not a digest of the algorithm in hexadecimal.
    pub(super) fn new(question: Question<'a>, response: &[u8]) -> Option<Self> {
        let length = digest_bytes(question.algorithm);
        let mut octets = [0; DIGEST_BYTES_MAX];
        read_hex(response, &mut octets[..length])?;
        let parts = [question.method, b":", question.uri];
        let ha2 = Hex::new(&hash(question.algorithm, &parts)[..length]);
        Some(Self {
            question,
            ha2,
            response: octets,
        })
    }

    /// True when the response was made with `credential`. The comparison takes the same time
    /// whatever it is compared with.
    pub(super) fn fits(&self, credential: &Credential) -> bool {
        let ha1 = match self.question.algorithm {
            DigestAlgorithm::Md5 => Hex::new(&credential.ha1_md5),
            DigestAlgorithm::Sha256 => Hex::new(&credential.ha1_sha256),
        };
        let Question {
            algorithm,
            nonce,
            nc,
            cnonce,
            qop,
            ..
        } = self.question;
        let parts = [
            ha1.as_bytes(),
            b":",
            nonce,
            b":",
            nc,
            b":",
            cnonce,
            b":",
            qop,
            b":",
            self.ha2.as_bytes(),
        ];
        hash(algorithm, &parts).ct_eq(&self.response).into()
    }
}

/// The hash of `parts` put together; octets behind a shorter digest are 0.
fn hash(algorithm: DigestAlgorithm, parts: &[&[u8]]) -> [u8; DIGEST_BYTES_MAX] {
    let mut out = [0; DIGEST_BYTES_MAX];
    match algorithm {
        DigestAlgorithm::Md5 => {
            let mut hasher = Md5::new();
            parts.iter().for_each(|part| hasher.update(part));
            out[..16].copy_from_slice(&hasher.finalize());
        }
        DigestAlgorithm::Sha256 => {
            let mut hasher = Sha256::new();
            parts.iter().for_each(|part| hasher.update(part));
            out.copy_from_slice(&hasher.finalize());
        }
    }
    out
}

const fn digest_bytes(algorithm: DigestAlgorithm) -> usize {
    match algorithm {
        DigestAlgorithm::Md5 => 16,
        DigestAlgorithm::Sha256 => 32,
    }
}

/// The name of an algorithm in challenges.
pub(super) const fn algorithm_name(algorithm: DigestAlgorithm) -> &'static str {
    match algorithm {
        DigestAlgorithm::Md5 => "MD5",
        DigestAlgorithm::Sha256 => "SHA-256",
    }
}

/// A digest in lower-case hexadecimal.
#[derive(Debug)]
struct Hex {
    characters: [u8; 2 * DIGEST_BYTES_MAX],
    length: usize,
}

impl Hex {
    fn new(digest: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut characters = [0; 2 * DIGEST_BYTES_MAX];
        for (octet, pair) in digest.iter().zip(characters.chunks_exact_mut(2)) {
            pair[0] = DIGITS[usize::from(octet >> 4)];
            pair[1] = DIGITS[usize::from(octet & 15)];
        }
        Self {
            characters,
            length: 2 * digest.len(),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.characters[..self.length]
    }
}

/// Reads exactly as many octets as `out` has.
fn read_hex(text: &[u8], out: &mut [u8]) -> Option<()> {
    if text.len() != 2 * out.len() {
        return None;
    }
    let mut worst = 0;
    for (pair, octet) in text.chunks_exact(2).zip(out) {
        let (high, low) = (digit(pair[0]), digit(pair[1]));
        worst |= high | low;
        *octet = (high << 4) | (low & 15);
    }
    (worst < 16).then_some(())
}

/// The value of a hexadecimal digit; 16 or more for anything else.
#[inline]
fn digit(character: u8) -> u8 {
    let letter = (character | 0x20).wrapping_sub(b'a');
    match character.wrapping_sub(b'0') {
        number @ 0..=9 => number,
        _ if letter < 6 => letter + 10,
        _ => 16,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;
    use crate::sip::testing::Login;

    const RFC_2617: Question<'_> = Question {
        algorithm: DigestAlgorithm::Md5,
        method: b"GET",
        uri: b"/dir/index.html",
        nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
        nc: b"00000001",
        cnonce: b"0a4f113b",
        qop: b"auth",
    };

    const RFC_7616: Question<'_> = Question {
        nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        ..RFC_2617
    };

    const RFC_7616_SHA: Question<'_> = Question {
        algorithm: DigestAlgorithm::Sha256,
        ..RFC_7616
    };

    #[test]
    fn published_answers_of_rfc_2617_and_rfc_7616_verify() {
        let old = ("testrealm@host.com", "Circle Of Life");
        let new = ("http-auth@example.org", "Circle of Life");
        let sha = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        for (question, (realm, password), published) in [
            (RFC_2617, old, "6629fae49393a05397450978507c4ef1"),
            (RFC_7616, new, "8ca523f5e9506fed4657c9700eebdbec"),
            (RFC_7616_SHA, new, sha),
        ] {
            let credential = Credential::from_password("Mufasa", realm, password);
            let fits = |response: &str| {
                let checker = Checker::new(question, response.as_bytes()).unwrap();
                checker.fits(&credential)
            };
            assert!(fits(published));
            assert!(!fits(&published.replace('6', "7")));
            let text = |octets| std::str::from_utf8(octets).unwrap();
            let client = Login {
                user: "Mufasa",
                password,
                realm,
                algorithm: question.algorithm,
                method: text(question.method),
                uri: text(question.uri),
                nonce: text(question.nonce),
                nc: text(question.nc),
                cnonce: text(question.cnonce),
            };
            assert_eq!(client.response(), published, "the client of the tests");
        }
    }

    #[test]
    fn every_part_of_the_question_counts() {
        let credential =
            Credential::from_password("Mufasa", "testrealm@host.com", "Circle Of Life");
        let answer = "6629fae49393a05397450978507c4ef1";
        for changed in [
            Question {
                method: b"PUT",
                ..RFC_2617
            },
            Question {
                uri: b"/dir/index.htm",
                ..RFC_2617
            },
            Question {
                nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c094",
                ..RFC_2617
            },
            Question {
                nc: b"00000002",
                ..RFC_2617
            },
            Question {
                cnonce: b"0a4f113c",
                ..RFC_2617
            },
            Question {
                qop: b"auth-int",
                ..RFC_2617
            },
        ] {
            assert!(
                !Checker::new(changed, answer.as_bytes())
                    .unwrap()
                    .fits(&credential)
            );
        }
    }

    #[test]
    fn a_response_of_the_wrong_length_or_alphabet_is_no_digest() {
        let good = "6629fae49393a05397450978507c4ef1";
        let sha = Question {
            algorithm: DigestAlgorithm::Sha256,
            ..RFC_2617
        };
        assert!(Checker::new(RFC_2617, good.as_bytes()).is_some());
        assert!(Checker::new(sha, good.as_bytes()).is_none());
        assert!(Checker::new(RFC_2617, &good.as_bytes()[..30]).is_none());
        assert!(Checker::new(RFC_2617, b"").is_none());
        assert!(Checker::new(RFC_2617, good.replace('6', "g").as_bytes()).is_none());
        assert!(Checker::new(RFC_2617, good.replace('6', "+").as_bytes()).is_none());
    }
}
