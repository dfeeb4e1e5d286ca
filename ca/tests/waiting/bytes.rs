//! A small reader of the log's bytes alone: what every certificate rests on. It knows JSON, base64, the wire
//! form of a certificate, and whose the keys are; of the CA's own code it takes only the hash of a leaf and of
//! terms.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::policy::Terms;
use serde_json::Value;

use super::world::{Bundle, Person, VOICES, lacking, person};
use crate::installed::key;

/// What a certificate's bytes say.
#[derive(Debug, PartialEq, Eq)]
pub struct Certified {
    pub serial: u64,
    pub principals: Vec<String>,
    pub from: u64,
    pub to: u64,
}

/// Reads the body of a certificate (PROTOCOL.certkeys): the fields up to its end.
pub fn certified(body: &[u8]) -> Certified {
    let mut rest = body;
    let mut take = |n: usize| {
        let (taken, after) = rest.split_at(n);
        rest = after;
        taken.to_vec()
    };
    let mut number = |n: usize| take(n).iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    // Type, nonce, key.
    for _ in 0..3 {
        let length = number(4);
        for _ in 0..length {
            number(1);
        }
    }
    let serial = number(8);
    assert_eq!(number(4), 1, "a user's");
    let mut text = || {
        let length = number(4);
        (0..length).map(|_| u8::try_from(number(1)).unwrap()).collect::<Vec<u8>>()
    };
    let _id = text();
    let list = text();
    let mut principals = Vec::new();
    let mut left = list.as_slice();
    while let Some((length, after)) = left.split_first_chunk::<4>() {
        let (name, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        principals.push(String::from_utf8(name.to_vec()).unwrap());
        left = after;
    }
    Certified { serial, principals, from: number(8), to: number(8) }
}

/// Whose signature a signed statement carries, by trying everybody's key.
fn signer(said: &Value, namespace: &str) -> u8 {
    let (text, armor) = (said["statement"].as_str().unwrap(), said["signature"].as_str().unwrap());
    let signature: ssh_key::SshSig = armor.parse().unwrap();
    let whose = VOICES.into_iter().find(|seed| {
        let raw = ssh_key::public::Ed25519PublicKey(key(*seed).verifying_key().to_bytes());
        let public = ssh_key::PublicKey::from(ssh_key::public::KeyData::from(raw));
        public.verify(namespace, text.as_bytes(), &signature).is_ok()
    });
    whose.unwrap()
}

#[derive(Debug)]
struct Deciding {
    emergency: u64,
    at: u64,
    bundle: Bundle,
    /// Terms, and whether they waited.
    terms: Vec<(Terms, bool)>,
}

/// Checks every certificate of a log; gives how many there are, and how many of them were approved.
pub fn check(log: &[Vec<u8>]) -> (usize, usize) {
    let mut deciding: BTreeMap<Hash, Deciding> = BTreeMap::new();
    let mut newest: BTreeMap<u64, Hash> = BTreeMap::new();
    let mut requesters: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    let mut approvals: Vec<(Hash, u64, u64, Person)> = Vec::new();
    let mut over: BTreeSet<u64> = BTreeSet::new();
    let mut given: BTreeSet<(Hash, Hash)> = BTreeSet::new();
    let (mut bundle, mut activations, mut counts) = (Bundle::A, 0, (0, 0));
    for (index, bytes) in log.iter().enumerate() {
        let (line, body) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], &bytes[end + 1..]),
            None => (bytes.as_slice(), &[][..]),
        };
        let entry: Value = serde_json::from_slice(line).unwrap();
        let (at, kind) = (entry["at"].as_u64().unwrap(), entry["kind"].as_str().unwrap());
        let emergency = || {
            let shown = &entry["emergency"];
            let text = shown.as_str().map(|text| text.trim_start_matches("EM-").parse().unwrap());
            shown.as_u64().or(text).unwrap()
        };
        let who = |said: &Value, namespace: &str| person(bundle, signer(said, namespace)).unwrap();
        match kind {
            "bundle.activated" => {
                activations += 1;
                bundle = if activations % 2 == 1 { Bundle::A } else { Bundle::B };
            }
            "emergency.declared" | "emergency.seconded" | "emergency.redecided" | "extension.requested" => {
                let id = emergency();
                let asks = requesters.entry(id).or_default();
                match kind {
                    "emergency.declared" => {
                        asks.insert(who(&entry["declared"], "declare.v1@fireaxe").canonical);
                    }
                    "emergency.seconded" => {
                        asks.insert(who(&entry["by"]["said"], "second.v1@fireaxe").canonical);
                    }
                    _ => {}
                }
                let outcome = &entry["decision"]["outcome"];
                let read = |value: &Value| serde_json::from_value::<Terms>(value.clone()).ok();
                let waits = &outcome["needs-approval"];
                let terms =
                    [(&outcome["permit"], false), (&waits["full"], true), (&waits["meanwhile"], false)];
                let terms =
                    terms.into_iter().filter_map(|(value, waits)| Some((read(value)?, waits))).collect();
                let leaf = leaf_hash(bytes);
                deciding.insert(leaf, Deciding { emergency: id, at, bundle, terms });
                newest.insert(id, leaf);
            }
            "approval.given" => {
                let by = who(&entry["by"]["said"], "approve.v1@fireaxe");
                let words: Value =
                    serde_json::from_str(entry["by"]["said"]["statement"].as_str().unwrap()).unwrap();
                assert_eq!((&words["of"], &words["emergency"]), (&entry["of"], &entry["emergency"]));
                let of: Hash = serde_json::from_value(words["of"].clone()).unwrap();
                approvals.push((of, emergency(), at, by));
            }
            "emergency.closed" => {
                over.insert(emergency());
            }
            "certificate.issued" => {
                let of: Hash = serde_json::from_value(entry["of"].clone()).unwrap();
                let hash: Hash = serde_json::from_value(entry["terms"].clone()).unwrap();
                let decided = &deciding[&of];
                let id = decided.emergency;
                assert!(!over.contains(&id), "entry {index}: {id} is over");
                assert_eq!(newest[&id], of, "entry {index}: it was decided again since");
                assert!(given.insert((of, hash)), "entry {index}: the same twice");
                let (terms, waited) = decided.terms.iter().find(|(terms, _)| terms.hash() == hash).unwrap();
                let body: Vec<u8> =
                    base64::engine::general_purpose::STANDARD.decode(body.trim_ascii()).unwrap();
                let certified = certified(&body);
                assert_eq!(certified.serial, index as u64);
                let principals: Vec<String> = terms.principals.iter().map(ToString::to_string).collect();
                assert_eq!(certified.principals, principals);
                // What it rests on, and when that was said.
                let yes: Vec<&(Hash, u64, u64, Person)> = approvals
                    .iter()
                    .filter(|(for_what, for_whom, ..)| *for_what == of && *for_whom == id)
                    .collect();
                let begins =
                    if *waited { yes.iter().map(|(_, _, at, _)| *at).max().unwrap() } else { decided.at };
                assert_eq!(begins, at, "entry {index}: given when it was granted, not later");
                assert_eq!(certified.to, begins + u64::from(terms.lifetime_s), "entry {index}: its end");
                assert_eq!(certified.from, begins - 120);
                counts.0 += 1;
                assert_eq!(*waited, !terms.approvals.is_empty());
                if *waited {
                    counts.1 += 1;
                    assert_eq!(decided.bundle, bundle, "entry {index}: approved under another bundle");
                    let people: BTreeSet<&str> = yes.iter().map(|(.., by)| by.canonical).collect();
                    assert_eq!(people.len(), yes.len(), "entry {index}: distinct people");
                    let own: Vec<&&str> = people.intersection(&requesters[&id]).collect();
                    assert!(own.is_empty(), "entry {index}: {own:?} asked for it");
                    let quorums: Vec<Vec<&str>> = terms
                        .approvals
                        .iter()
                        .flat_map(|quorum| {
                            let from: Vec<&str> = quorum.from.iter().map(|group| group.as_str()).collect();
                            vec![from; usize::from(quorum.count)]
                        })
                        .collect();
                    let quorums: Vec<&[&str]> = quorums.iter().map(Vec::as_slice).collect();
                    let groups: Vec<&[&str]> = yes.iter().map(|(.., by)| by.groups).collect();
                    assert_eq!(lacking(&quorums, &groups), 0, "entry {index}: not enough people");
                }
            }
            _ => {}
        }
    }
    counts
}
