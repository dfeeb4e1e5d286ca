//! A file's parts, wherever they lie: names that are safe on every disk, in every shell and on every terminal, and
//! bytes a piece at a time. Whoever opens the zip or the folder makes sure that no name stands twice.

use crate::limits;

/// The parts of a dossier or a period, without the folder that they lie in.
pub trait Parts {
    /// Names and sizes, sorted by name; each passed [`is_name`].
    fn list(&self) -> Vec<(String, u64)>;

    /// Hands a part's bytes to `each`, in order, a piece at a time. In words why not, if it cannot be read.
    fn pieces(&mut self, name: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), String>;
}

/// Whether a part may have this name: letters, digits, `.`, `_` and `-` in components that do not begin with `-`
/// and are neither `.` nor `..`, at most [`limits::EVIDENCE_NAME`] bytes.
pub fn is_name(name: &str) -> bool {
    let is_component = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    name.len() <= limits::EVIDENCE_NAME && name.split('/').all(is_component)
}

/// A part whole, if it is there and has at most `most` bytes.
pub fn whole(parts: &mut dyn Parts, name: &str, most: usize) -> Result<Vec<u8>, String> {
    let (mut bytes, mut too_long) = (Vec::new(), false);
    parts.pieces(name, &mut |piece| {
        too_long = too_long || bytes.len() + piece.len() > most;
        if !too_long {
            bytes.extend_from_slice(piece);
        }
    })?;
    if too_long { Err(format!("it is longer than {most} bytes")) } else { Ok(bytes) }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Parts for BTreeMap<String, Vec<u8>> {
        fn list(&self) -> Vec<(String, u64)> {
            self.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect()
        }

        fn pieces(&mut self, name: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
            let bytes = self.get(name).ok_or("it is not there")?;
            bytes.chunks(7).for_each(each);
            Ok(())
        }
    }

    #[test]
    fn a_name_is_safe_everywhere_or_none() {
        let most = "a".repeat(limits::EVIDENCE_NAME);
        for good in ["a", "entries/000123.json", "recordings/db-3.payments.prod/00ff", "a/.b", &most] {
            assert!(is_name(good), "{good}");
        }
        let longer = format!("{most}a");
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "../a",
            "a/.",
            "-a",
            "a/-b",
            "a b",
            "a\\b",
            "C:a",
            "a\n",
            "a\u{1b}[2J",
            "ä",
            "a\0",
            "~/a*",
            &longer,
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_part_is_read_up_to_its_limit_and_not_one_byte_past_it() {
        let mut parts = BTreeMap::from([("a".to_owned(), vec![1; 20])]);
        assert_eq!(whole(&mut parts, "a", 20), Ok(vec![1; 20]));
        assert!(whole(&mut parts, "a", 19).is_err());
        assert!(whole(&mut parts, "b", 19).is_err());
    }
}
