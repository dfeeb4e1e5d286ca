//! The profile: all inputs of one certificate, valid together or not at all.
//!
//! Everything here comes from the CA's decision; nothing is copied from a request but the fresh public key.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::host::SessionCommand;
use crate::keys::Ed25519Key;
use crate::limits;
use crate::names::{ActionName, EmergencyId, PersonName, Principal, TierName, shown};
use crate::policy::{Cidr, Extension, Record, Terms};

/// What the terms do not say: who, when, which key. Times in unix seconds.
#[derive(Debug, Clone)]
pub struct Issue<'a> {
    /// 32 fresh random bytes: part of the body, so that a retry has them too.
    pub nonce: [u8; 32],
    /// The fresh key to certify.
    pub public_key: Ed25519Key,
    /// Index of the entry that will hold the body.
    pub serial: u64,
    /// Whose it is.
    pub subject: Subject<'a>,
    /// The entry's time; the terms' lifetime counts from here.
    pub at: u64,
    /// When the grant ends; no certificate outlives it.
    pub grant_end: u64,
    /// Of a certificate for one host that is made on demand: the one it is made of. No other has it.
    pub within: Option<Within>,
    /// The CA key that will sign.
    pub ca_key: Ed25519Key,
}

/// Whose a user certificate is: what stands between `fireaxe/` and the serial in its key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A person in an emergency: `EM-42/ana`.
    Person(EmergencyId, &'a PersonName),
    /// A host that proves to itself that a login works: `self-test`.
    SelfTest,
}

/// All inputs of one certificate. Made only by [`Profile::from_terms`]; what it holds, the profile allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub(super) nonce: [u8; 32],
    pub(super) public_key: Ed25519Key,
    pub(super) serial: u64,
    pub(super) key_id: String,
    pub(super) principals: Principals,
    pub(super) valid_after: u64,
    pub(super) valid_before: u64,
    pub(super) force_command: Option<String>,
    pub(super) source_address: Vec<Cidr>,
    pub(super) extensions: Vec<Extension>,
    pub(super) host_terms: String,
    pub(super) ca_key: Ed25519Key,
}

/// Principals, at least one: a certificate without any would be good for everybody (CVE-2024-7594), so
/// there is no way to write that down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principals {
    first: Principal,
    rest: Vec<Principal>,
}

/// What a host must know of the terms: the content of `terms@fireaxe`, compact JSON in one SSH string
/// inside the extension's data, as `force-command` has it (so that `ssh-key` and Go can read it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTerms {
    /// 1.
    pub v: u8,
    /// The tier.
    pub tier: TierName,
    /// Whether sessions are recorded.
    pub record: Record,
    /// Hosts whose revocation list is older refuse. Seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub krl_max_age_s: Option<u32>,
    /// How long a live session may go on after closing begins. Seconds.
    pub grace_s: u32,
    /// Of a certificate that opens logins for minutes: the one whose life its sessions share.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub within: Option<Within>,
}

/// The certificate that a narrower one was made of. A session that came in with the narrower one goes on
/// until this one's end, and ends when this one's serial is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// Its serial.
    pub serial: u64,
    /// When it ends, unix seconds.
    pub until: u64,
}

/// Why no certificate can be made of these inputs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// 0 (no KRL can revoke it), the canary's, or above it.
    #[error("serial {0} can never be issued")]
    Serial(u64),
    /// Longer than [`limits::KEY_ID`].
    #[error("the key id has {0} bytes; at most {max} fit", max = limits::KEY_ID)]
    KeyId(usize),
    /// Nobody to log in as.
    #[error("the terms name no principal")]
    NoPrincipal,
    /// More than [`limits::PRINCIPALS`].
    #[error("the terms name {0} principals; at most {max} are taken", max = limits::PRINCIPALS)]
    Principals(usize),
    /// The same one twice, or not sorted: there is one spelling of a list.
    #[error("{0} are not sorted or not distinct")]
    Order(&'static str),
    /// A principal of an account that is not the terms'.
    #[error("principal {0} is not for the account of the terms")]
    Account(String),
    /// Empty (it would run nothing), too long by itself or with the recorder around it, or not printable ASCII.
    #[error("the force-command {0} is empty, longer than {max} bytes ({forced} with the recorder), or not printable ASCII", max = limits::FORCE_COMMAND, forced = limits::FORCED)]
    ForceCommand(String),
    /// An action that is not one command and nothing else.
    #[error("the terms of action {0} have no force-command, or have extensions")]
    Action(ActionName),
    /// Nothing, or too little, is left of the grant; or more than anything may last. Seconds.
    #[error("a lifetime of {0} s is outside {min} s to {max} s", min = limits::LIFETIME_MIN_S, max = limits::LIFETIME_MAX_S)]
    Lifetime(u64),
    /// The fresh key is no point that can be trusted.
    #[error("the public key is not a usable Ed25519 key")]
    PublicKey,
    /// Made of one that is not older, ends earlier or lasts too long; or no person's certificate for one host.
    #[error("nothing for one host can be made of certificate {} that ends at {}", .0.serial, .0.until)]
    Within(Within),
    /// A subject that is its own authority.
    #[error("the public key is the CA's own")]
    CaKey,
}

impl Profile {
    /// Makes the profile of `terms` for one person and moment. `valid_after` is [`limits::BACKDATE_S`]
    /// before `issue.at`; `valid_before` the end of the lifetime or of the grant, whichever is earlier.
    pub fn from_terms(terms: &Terms, issue: &Issue<'_>) -> Result<Profile, ProfileError> {
        if issue.serial == 0 || issue.serial >= limits::CANARY_SERIAL {
            return Err(ProfileError::Serial(issue.serial));
        }
        issue.public_key.verifying().ok_or(ProfileError::PublicKey)?;
        if issue.public_key == issue.ca_key {
            return Err(ProfileError::CaKey);
        }
        let valid_before = issue.at.saturating_add(u64::from(terms.lifetime_s)).min(issue.grant_end);
        let lifetime = valid_before.saturating_sub(issue.at);
        if !(limits::LIFETIME_MIN_S..=limits::LIFETIME_MAX_S).contains(&lifetime) {
            return Err(ProfileError::Lifetime(lifetime));
        }
        let principals = Principals::new(&terms.principals)?;
        if let Some(other) = principals.iter().find(|principal| principal.account != terms.account) {
            return Err(ProfileError::Account(other.to_string()));
        }
        if let Some(within) = issue.within {
            let one_host = principals.rest.is_empty() && principals.first.host().is_some();
            let of_a_person = matches!(issue.subject, Subject::Person(..));
            if !(one_host && of_a_person && within.may_hold(issue.serial, issue.at, valid_before)) {
                return Err(ProfileError::Within(within));
            }
        }
        let force_command = forced(terms);
        let wrong =
            terms.force_command.as_deref().filter(|command| !is_command(command, limits::FORCE_COMMAND));
        let wrong = wrong.or(force_command.as_deref().filter(|command| !is_command(command, limits::FORCED)));
        if let Some(command) = wrong {
            return Err(ProfileError::ForceCommand(shown(command)));
        }
        if let Some(action) = &terms.action
            && (terms.force_command.is_none() || !terms.extensions.is_empty())
        {
            return Err(ProfileError::Action(action.clone()));
        }
        sorted("extensions", &terms.extensions)?;
        sorted("source addresses", &terms.source_address)?;
        Ok(Profile {
            nonce: issue.nonce,
            public_key: issue.public_key,
            serial: issue.serial,
            key_id: key_id(issue.subject, issue.serial)?,
            principals,
            valid_after: issue.at.saturating_sub(limits::BACKDATE_S),
            valid_before,
            force_command,
            source_address: terms.source_address.clone(),
            extensions: terms.extensions.clone(),
            host_terms: HostTerms::of(terms, issue.within).to_json(),
            ca_key: issue.ca_key,
        })
    }

    /// Its serial.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// When the certificate begins, unix seconds.
    pub fn valid_after(&self) -> u64 {
        self.valid_after
    }

    /// When the certificate ends, unix seconds.
    pub fn valid_before(&self) -> u64 {
        self.valid_before
    }
}

/// What a certificate may run: 1 to `limit` bytes of printable ASCII, not only blanks. The limit is
/// [`limits::FORCE_COMMAND`] for the command of the terms, [`limits::FORCED`] for what the certificate says.
pub(super) fn is_command(text: &str, limit: usize) -> bool {
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    !text.trim().is_empty() && text.len() <= limit && printable
}

/// What a certificate of these terms forces: their command; in a tier that is recorded the recorder with it,
/// or with a shell.
pub(super) fn forced(terms: &Terms) -> Option<String> {
    match terms.record {
        Record::None => terms.force_command.clone(),
        Record::BestEffort | Record::Required => {
            Some(SessionCommand::of(terms.force_command.as_deref()).write())
        }
    }
}

/// Ids only, the serial last: `fireaxe/EM-42/ana/1234`, `fireaxe/self-test/1234`. At most
/// [`limits::KEY_ID`] bytes.
pub fn key_id(subject: Subject<'_>, serial: u64) -> Result<String, ProfileError> {
    let id = match subject {
        Subject::Person(emergency, person) => format!("fireaxe/{emergency}/{person}/{serial}"),
        Subject::SelfTest => format!("fireaxe/self-test/{serial}"),
    };
    if id.len() > limits::KEY_ID { Err(ProfileError::KeyId(id.len())) } else { Ok(id) }
}

fn sorted<T: Ord>(what: &'static str, list: &[T]) -> Result<(), ProfileError> {
    if list.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(ProfileError::Order(what)) }
}

impl Principals {
    /// One to [`limits::PRINCIPALS`] principals, sorted and distinct.
    pub fn new(list: &[Principal]) -> Result<Principals, ProfileError> {
        let (first, rest) = list.split_first().ok_or(ProfileError::NoPrincipal)?;
        if list.len() > limits::PRINCIPALS {
            return Err(ProfileError::Principals(list.len()));
        }
        sorted("principals", list)?;
        Ok(Principals { first: first.clone(), rest: rest.to_vec() })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Principal> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

impl Within {
    /// Whether this can be what a certificate of `serial`, made at `at` and ending at `valid_before`, was made
    /// of: it has a serial that can be revoked, was there before, ends no earlier, and lasts no longer than
    /// anything may.
    pub(super) fn may_hold(&self, serial: u64, at: u64, valid_before: u64) -> bool {
        let ends = valid_before..=at.saturating_add(limits::LIFETIME_MAX_S);
        self.serial != 0 && self.serial < serial && ends.contains(&self.until)
    }
}

impl HostTerms {
    /// The part of the terms that concerns hosts, and what the certificate was made of.
    pub fn of(terms: &Terms, within: Option<Within>) -> HostTerms {
        HostTerms {
            v: 1,
            tier: terms.tier.clone(),
            record: terms.record,
            krl_max_age_s: terms.krl_max_age_s,
            grace_s: terms.grace_s,
            within,
        }
    }

    /// The extension's text: compact JSON, keys in a fixed order.
    pub fn to_json(&self) -> String {
        // Names and numbers only: nothing here that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the extension's text; only the spelling that [`HostTerms::to_json`] writes.
    pub fn from_json(text: &str) -> Option<HostTerms> {
        let terms: HostTerms = serde_json::from_str(text).ok()?;
        (terms.v == 1 && terms.to_json() == text).then_some(terms)
    }
}
