//! The writer: serials in, bytes out. The same list, the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{FORMAT, MAGIC, SECTION_CERTIFICATES, SERIAL_LIST, SERIAL_RANGE, canary_ca};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::wire::{put_string, put_u32, put_u64};

/// A revocation list to be written. Never empty: each section, and the canary CA's own, holds
/// [`limits::CANARY_SERIAL`], so that a host can prove that a list is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Krl {
    version: u64,
    generated_at: u64,
    sections: BTreeMap<Ed25519Key, BTreeSet<u64>>,
}

/// Serial 0 cannot be revoked: sshd refuses a list that tries, and so every login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("serial 0 cannot be in a revocation list")]
pub struct SerialZero;

impl Krl {
    /// A list with the canary in the section of `user_ca` and in the canary CA's. `version` is the index of
    /// the newest entry it reflects; `generated_at` unix seconds.
    pub fn new(version: u64, generated_at: u64, user_ca: Ed25519Key) -> Krl {
        let canary = || BTreeSet::from([limits::CANARY_SERIAL]);
        let sections = BTreeMap::from([(user_ca, canary()), (canary_ca(), canary())]);
        Krl { version, generated_at, sections }
    }

    /// Revokes a serial of a CA.
    pub fn revoke(&mut self, ca: Ed25519Key, serial: u64) -> Result<(), SerialZero> {
        if serial == 0 {
            return Err(SerialZero);
        }
        self.sections.entry(ca).or_insert_with(|| BTreeSet::from([limits::CANARY_SERIAL])).insert(serial);
        Ok(())
    }

    /// How many serials it revokes, canaries not counted.
    pub fn len(&self) -> usize {
        self.sections.values().flatten().filter(|serial| **serial != limits::CANARY_SERIAL).count()
    }

    /// Whether it revokes nothing but canaries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that sshd's `RevokedKeys` reads.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, FORMAT);
        put_u64(&mut out, self.version);
        put_u64(&mut out, self.generated_at);
        put_u64(&mut out, 0); // flags: none are defined
        put_string(&mut out, b""); // reserved
        put_string(&mut out, b""); // comment
        for (ca, serials) in &self.sections {
            out.push(SECTION_CERTIFICATES);
            put_string(&mut out, &section(ca, serials));
        }
        out
    }
}

fn section(ca: &Ed25519Key, serials: &BTreeSet<u64>) -> Vec<u8> {
    let mut list = Vec::new();
    let mut ranges = Vec::new();
    for (first, last) in runs(serials) {
        if last - first < SHORT_RUN {
            (first..=last).for_each(|serial| put_u64(&mut list, serial));
        } else {
            ranges.push(SERIAL_RANGE);
            put_u32(&mut ranges, 16);
            put_u64(&mut ranges, first);
            put_u64(&mut ranges, last);
        }
    }
    let mut out = Vec::with_capacity(64 + list.len() + ranges.len());
    put_string(&mut out, &ca.to_blob());
    put_string(&mut out, b""); // reserved
    if !list.is_empty() {
        out.push(SERIAL_LIST);
        put_string(&mut out, &list);
    }
    out.extend_from_slice(&ranges);
    out
}

/// Consecutive serials as (first, last), ascending.
fn runs(serials: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for serial in serials {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *serial => *last = *serial,
            _ => runs.push((*serial, *serial)),
        }
    }
    runs
}

/// Up to two serials are shorter listed (8 bytes each) than as a range (21 bytes).
const SHORT_RUN: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_three_become_ranges() {
        let serials = BTreeSet::from([1, 2, 4, 5, 6, 9]);
        assert_eq!(runs(&serials), [(1, 2), (4, 6), (9, 9)]);
        let ca = Ed25519Key([7; 32]);
        let bytes = section(&ca, &serials);
        // key 4 + 51, reserved 4, list 1 + 4 + 3 * 8, one range 1 + 4 + 16
        assert_eq!(bytes.len(), 55 + 4 + 29 + 21);
    }

    #[test]
    fn a_million_serials_in_a_row_are_one_range() {
        let mut krl = Krl::new(9, 9, Ed25519Key([7; 32]));
        for serial in 1..=100_000 {
            krl.revoke(Ed25519Key([7; 32]), serial).unwrap();
        }
        assert_eq!(krl.len(), 100_000);
        assert!(krl.write().len() < 300);
    }

    #[test]
    fn serial_zero_is_refused_and_no_list_is_without_a_section() {
        let mut krl = Krl::new(1, 2, Ed25519Key([7; 32]));
        assert_eq!(krl.revoke(Ed25519Key([7; 32]), 0), Err(SerialZero));
        assert!(krl.is_empty());
        assert!(krl.write().len() > 44);
    }
}
