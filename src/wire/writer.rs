//! A bounded writer over borrowed memory.

/// Appends octets to a borrowed buffer; never allocates. What does not fit is not written and
/// remembered as an overflow.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
    overflow: bool,
}

impl<'b> Writer<'b> {
    /// A writer that fills `buffer` from its start.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            length: 0,
            overflow: false,
        }
    }

    /// Appends `bytes`, or sets the overflow mark when they do not fit whole.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(target) = self.buffer.get_mut(self.length..end) {
            target.copy_from_slice(bytes);
            self.length = end;
        } else {
            self.overflow = true;
        }
    }

    /// Appends `number` in decimal.
    #[inline]
    pub fn put_decimal(&mut self, mut number: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(&digits[at..]);
    }

    /// Appends `bytes` in lower-case hexadecimal.
    #[inline]
    pub fn put_hex(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            self.put(&[digit(byte >> 4), digit(byte & 15)]);
        }
    }

    /// Whether something did not fit.
    #[inline]
    pub fn has_overflowed(&self) -> bool {
        self.overflow
    }

    /// Octets written so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// True while nothing was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What was written so far.
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// The length written, or `None` when something did not fit.
    #[inline]
    pub fn finish(self) -> Option<usize> {
        (!self.overflow).then_some(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_written_and_what_does_not_is_remembered() {
        let mut buffer = [0u8; 8];
        let mut out = Writer::new(&mut buffer);
        assert!(out.is_empty());
        out.put(b"ab");
        out.put_decimal(0);
        out.put_hex(&[0x0f, 0xa0]);
        assert_eq!((out.written(), out.len()), (&b"ab00fa0"[..], 7));
        out.put(b"xy");
        assert!(out.has_overflowed());
        assert_eq!(out.written(), b"ab00fa0");
        assert_eq!(out.finish(), None);
        let mut out = Writer::new(&mut buffer);
        out.put(b"12345678");
        assert_eq!(out.finish(), Some(8));
    }

    #[test]
    fn decimals_are_written_whole() {
        let mut buffer = [0u8; 40];
        let mut out = Writer::new(&mut buffer);
        out.put_decimal(u64::MAX);
        out.put_decimal(10);
        assert_eq!(out.written(), b"1844674407370955161510");
    }
}
