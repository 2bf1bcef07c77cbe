//! Digest credentials (RFC 2617 §3.2.2, RFC 7616 §3.4, RFC 8760).

use super::ParseError;

/// A digest algorithm the edge knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DigestAlgorithm {
    Md5,
    Sha256,
}

/// The fields of a Digest (Proxy-)Authorization value; texts are as between the quotes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Credentials<'a> {
    pub username: &'a [u8],
    pub realm: &'a [u8],
    pub nonce: &'a [u8],
    pub uri: &'a [u8],
    /// Lower-case hexadecimal as sent; 32 or 64 characters.
    pub response: &'a [u8],
    /// `None` when the parameter names an algorithm that the edge does not know; MD5 when absent.
    pub algorithm: Option<DigestAlgorithm>,
    pub cnonce: &'a [u8],
    /// The nonce count, hexadecimal as sent; empty when absent.
    pub nc: &'a [u8],
    /// Empty when absent.
    pub qop: &'a [u8],
    pub opaque: &'a [u8],
}

impl<'a> Credentials<'a> {
    /// Parses the value of Authorization or Proxy-Authorization. `Ok(None)` for another scheme.
    ///
    /// # Errors
    /// A Digest value with a broken, repeated or missing parameter.
    pub fn parse(value: &'a [u8]) -> Result<Option<Self>, ParseError> {
        unimplemented!("{value:?}")
    }
}
