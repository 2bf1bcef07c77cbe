//! Digest responses of a simulated phone (RFC 2617 §3.2.2, MD5, qop=auth).

use md5::{Digest as _, Md5};

/// Lower-case hexadecimal MD5 of the parts joined by colons.
pub(crate) fn md5_hex(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Md5::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    let mut hex = [0; 32];
    for (at, byte) in hash.finalize().into_iter().enumerate() {
        hex[2 * at] = b"0123456789abcdef"[usize::from(byte >> 4)];
        hex[2 * at + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    hex
}

/// The response to a challenge.
pub(crate) fn response(
    ha1: &[u8; 32],
    method: &[u8],
    uri: &[u8],
    nonce: &[u8],
    nc: &[u8],
    cnonce: &[u8],
) -> [u8; 32] {
    let ha2 = md5_hex(&[method, uri]);
    md5_hex(&[ha1, nonce, nc, cnonce, b"auth", &ha2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_2617_section_3_5_is_reproduced() {
        let ha1 = md5_hex(&[b"Mufasa", b"testrealm@host.com", b"Circle Of Life"]);
        let nonce = b"dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let result = response(
            &ha1,
            b"GET",
            b"/dir/index.html",
            nonce,
            b"00000001",
            b"0a4f113b",
        );
        assert_eq!(&result, b"6629fae49393a05397450978507c4ef1");
    }
}
