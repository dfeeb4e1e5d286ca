//! SSH wire encoding (RFC 4251, section 5): `string`, `uint32`, `uint64`, and a reader that never reads
//! past its bytes. Used by the certificate, the KRL and the agent protocol.

use thiserror::Error;

/// The bytes ended, or said they were longer than they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the bytes end before the value does")]
pub struct Short;

/// Appends `value` as an SSH `string`: length, then bytes.
pub fn put_string(out: &mut Vec<u8>, value: &[u8]) {
    put_u32(out, u32::try_from(value.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(value);
}

/// Appends a `uint32`, big-endian.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a `uint64`, big-endian.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Reads SSH wire values from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Short)?;
        self.rest = tail;
        Ok(head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Short> {
        let (first, tail) = self.rest.split_first().ok_or(Short)?;
        self.rest = tail;
        Ok(*first)
    }

    /// A `uint32`.
    pub fn u32(&mut self) -> Result<u32, Short> {
        let (head, tail) = self.rest.split_first_chunk::<4>().ok_or(Short)?;
        self.rest = tail;
        Ok(u32::from_be_bytes(*head))
    }

    /// A `uint64`.
    pub fn u64(&mut self) -> Result<u64, Short> {
        let (head, tail) = self.rest.split_first_chunk::<8>().ok_or(Short)?;
        self.rest = tail;
        Ok(u64::from_be_bytes(*head))
    }

    /// An SSH `string`.
    pub fn string(&mut self) -> Result<&'a [u8], Short> {
        let length = usize::try_from(self.u32()?).map_err(|_| Short)?;
        self.take(length)
    }

    /// Whether everything has been read.
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_read_back() {
        let mut out = Vec::new();
        put_string(&mut out, b"abc");
        put_u32(&mut out, 7);
        put_u64(&mut out, u64::MAX);
        out.push(9);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.string(), Ok(&b"abc"[..]));
        assert_eq!(reader.u32(), Ok(7));
        assert_eq!(reader.u64(), Ok(u64::MAX));
        assert!(!reader.is_done());
        assert_eq!(reader.byte(), Ok(9));
        assert!(reader.is_done());
    }

    #[test]
    fn never_reads_past_the_end() {
        let mut out = Vec::new();
        put_string(&mut out, b"abc");
        for cut in 0..out.len() {
            assert_eq!(Reader::new(&out[..cut]).string(), Err(Short));
        }
        assert_eq!(Reader::new(&[0xff; 7]).string(), Err(Short));
        assert_eq!(Reader::new(&[0; 7]).u64(), Err(Short));
        assert_eq!(Reader::new(&[0; 3]).u32(), Err(Short));
        assert_eq!(Reader::new(&[]).byte(), Err(Short));
        assert_eq!(Reader::new(&[1]).take(usize::MAX), Err(Short));
    }
}
