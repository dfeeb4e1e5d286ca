//! What appeared, changed or went between two looks. Pure.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fireaxe_protocol::host::{Change, Planted};

use super::snapshot::{Entry, Snapshot};

/// Compares. The first look is a little younger than the connection, which came in at `opened_at` (unix
/// seconds): what was the same at both looks and changed since then changed before the first one.
pub(super) fn compare(before: &Snapshot, after: &Snapshot, opened_at: u64) -> Vec<Planted> {
    let opened = i64::try_from(opened_at).unwrap_or(i64::MAX);
    let since = |entry: &Entry| match entry.born_at {
        Some(born) if born >= opened_at => Change::Appeared,
        _ => Change::Changed,
    };
    let mut found = Vec::new();
    for (path, entry) in &after.entries {
        let change = match before.entries.get(path) {
            // A first look that was cut short may have missed it.
            None if before.cut && entry.changed_at < opened => continue,
            None => Change::Appeared,
            Some(first) if first.what != entry.what => Change::Changed,
            Some(first) if first.changed_at >= opened => since(entry),
            Some(_) => continue,
        };
        found.push(planted(path, entry, change, Some(entry.what.uid)));
    }
    if !after.cut {
        for (path, entry) in &before.entries {
            if !after.entries.contains_key(path) {
                found.push(planted(path, entry, Change::Removed, None));
            }
        }
    }
    found.sort_by_key(|planted| planted.kind);
    found
}

fn planted(path: &Path, entry: &Entry, change: Change, owner: Option<u32>) -> Planted {
    Planted { kind: entry.kind, path: escaped(path), change, owner }
}

/// A path as it may be shown: printable ASCII, the rest as `\xNN`; of a long one its two ends.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    if out.len() <= PATH {
        return out;
    }
    let (head, tail) =
        (out.get(..HEAD).unwrap_or(""), out.get(out.len() - (PATH - HEAD - 3)..).unwrap_or(""));
    format!("{head}...{tail}")
}

/// Bytes of a path in a report.
const PATH: usize = 256;
/// Of a longer one, so many from its begin; the rest from its end, where its name is.
const HEAD: usize = 100;

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::PathBuf;

    use fireaxe_protocol::host::PlantedKind;
    use fireaxe_protocol::log::Hash;

    use super::super::snapshot::What;
    use super::*;

    const OPENED: u64 = 1000;

    fn entry(content: u8, changed_at: i64) -> Entry {
        let what = What { mode: 0o100644, uid: 7, gid: 7, content: Hash([content; 32]) };
        Entry { kind: PlantedKind::Cron, what, changed_at, born_at: None }
    }

    fn snapshot(entries: &[(&str, Entry)]) -> Snapshot {
        let entries = entries.iter().map(|(path, entry)| (PathBuf::from(path), *entry)).collect();
        Snapshot { entries, cut: false }
    }

    fn changes(before: &Snapshot, after: &Snapshot) -> Vec<(String, Change)> {
        compare(before, after, OPENED).into_iter().map(|p| (p.path, p.change)).collect()
    }

    #[test]
    fn what_appeared_changed_and_went_is_found_and_the_rest_is_not() {
        let before = snapshot(&[("/a", entry(1, 5)), ("/b", entry(1, 5)), ("/c", entry(1, 5))]);
        let after = snapshot(&[("/a", entry(1, 5)), ("/b", entry(2, 1001)), ("/d", entry(1, 1001))]);
        let expected = [
            ("/b".to_owned(), Change::Changed),
            ("/d".to_owned(), Change::Appeared),
            ("/c".to_owned(), Change::Removed),
        ];
        assert_eq!(changes(&before, &after), expected);
    }

    #[test]
    fn another_owner_or_mode_is_a_change() {
        let before = snapshot(&[("/a", entry(1, 5))]);
        for change in [|what: &mut What| what.uid = 0, |what: &mut What| what.mode |= 0o4000] {
            let mut other = entry(1, 5);
            change(&mut other.what);
            assert_eq!(changes(&before, &snapshot(&[("/a", other)])).len(), 1);
        }
    }

    #[test]
    fn what_was_planted_before_the_first_look_is_found_by_its_time() {
        let mut early = entry(1, 1000);
        let both = snapshot(&[("/a", early)]);
        assert_eq!(changes(&both, &both), [("/a".to_owned(), Change::Changed)]);
        early.born_at = Some(1000);
        let both = snapshot(&[("/a", early)]);
        assert_eq!(changes(&both, &both), [("/a".to_owned(), Change::Appeared)]);
        let old = snapshot(&[("/a", entry(1, 999))]);
        assert_eq!(changes(&old, &old), []);
    }

    #[test]
    fn a_look_that_was_cut_short_accuses_nobody_of_what_it_missed() {
        let full = snapshot(&[("/a", entry(1, 5))]);
        let cut = Snapshot { cut: true, ..Snapshot::default() };
        assert_eq!(changes(&cut, &full), []);
        assert_eq!(changes(&full, &cut), []);
    }

    #[test]
    fn hostile_names_stay_printable_and_short() {
        let path = Path::new(OsStr::from_bytes(b"/etc/cron.d/\x1b[2J\n\xff\\x"));
        assert_eq!(escaped(path), "/etc/cron.d/\\x1b[2J\\x0a\\xff\\\\x");
        let long = PathBuf::from(format!("/{}/name", "\u{202e}".repeat(500)));
        let shown = escaped(&long);
        assert_eq!(shown.len(), PATH);
        assert!(shown.ends_with("/name") && shown.is_ascii());
        assert_eq!(escaped(&PathBuf::from("/".to_owned() + &"a".repeat(255))).len(), 256);
    }
}
