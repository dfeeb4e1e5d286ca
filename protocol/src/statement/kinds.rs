//! The kinds of statement and their fields. Reading and writing them is `text.rs`'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::host::Report;
use crate::keys::Ed25519Key;
use crate::log::Hash;
use crate::names::{
    ActionName, EmergencyId, HostName, IncidentId, NameError, Origin, ReasonText, Severity, TargetName,
    TierName, shown,
};
use crate::statement::Params;

/// What a statement does. The namespace of its signature follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Declares an emergency.
    Declare,
    /// Closes one.
    Close,
    /// Hands reading to a fresh session key.
    Login,
    /// Signs another person's claim too.
    Second,
    /// Says yes to a request that waits.
    Approve,
    /// Says no to one.
    Refuse,
    /// Asks for more time.
    Extend,
    /// Looks back at an emergency that is over.
    Review,
    /// Puts another bundle in force.
    Bundle,
    /// Makes a host one of ours; signed by its host key.
    Enrol,
    /// Says what happened on a host; signed by its host key.
    Report,
}

impl Kind {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Declare => "declare",
            Kind::Close => "close",
            Kind::Login => "login",
            Kind::Second => "second",
            Kind::Approve => "approve",
            Kind::Refuse => "refuse",
            Kind::Extend => "extend",
            Kind::Review => "review",
            Kind::Bundle => "bundle",
            Kind::Enrol => "enrol",
            Kind::Report => "report",
        }
    }

    /// SSHSIG namespace: `declare.v1@fireaxe`.
    pub fn namespace(self) -> &'static str {
        match self {
            Kind::Declare => "declare.v1@fireaxe",
            Kind::Close => "close.v1@fireaxe",
            Kind::Login => "login.v1@fireaxe",
            Kind::Second => "second.v1@fireaxe",
            Kind::Approve => "approve.v1@fireaxe",
            Kind::Refuse => "refuse.v1@fireaxe",
            Kind::Extend => "extend.v1@fireaxe",
            Kind::Review => "review.v1@fireaxe",
            Kind::Bundle => "bundle.v1@fireaxe",
            Kind::Enrol => "enrol.v1@fireaxe",
            Kind::Report => "report.v1@fireaxe",
        }
    }
}

/// 128 random bits that make a statement one of a kind. 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(pub [u8; 16]);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Nonce {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Nonce, NameError> {
        let hex = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(number) if hex => Ok(Nonce(number.to_be_bytes())),
            _ => Err(NameError { what: "nonce", shown: shown(text), rule: "32 lower-case hex digits" }),
        }
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

fn keys_wrong(missing: &[&str], surplus: &[&str]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("lacks {}", missing.join(", ")));
    }
    if !surplus.is_empty() {
        parts.push(format!("has no {}", surplus.join(", ")));
    }
    parts.join(" and ")
}

/// What every statement has. On the wire these fields stand in the same JSON object as the kind's own,
/// first, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it does.
    pub kind: Kind,
    /// The log it is for.
    pub to: Origin,
    /// Makes it one of a kind.
    pub nonce: Nonce,
    /// The signer's time, unix seconds.
    pub at: u64,
}

/// "I declare an emergency." Answered with a certificate for `public_key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declare {
    /// The common fields.
    pub header: Header,
    /// A system or a host.
    pub target: TargetName,
    /// How bad, if the person says so.
    pub severity: Option<Severity>,
    /// The incident it is for, if there is one.
    pub incident: Option<IncidentId>,
    /// Why, in their own words.
    pub reason: ReasonText,
    /// A smaller tier than the cell's.
    pub want: Option<TierName>,
    /// One command instead of a tier; never beside `want`.
    pub action: Option<ActionName>,
    /// What the action's command is filled with; only with `action`.
    pub params: Params,
    /// A shorter lifetime, seconds.
    pub for_s: Option<u32>,
    /// A marked rehearsal.
    pub drill: bool,
    /// The fresh key to certify.
    pub public_key: Ed25519Key,
}

/// "It is over."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The common fields.
    pub header: Header,
    /// Leaf hash of the `emergency.declared` entry.
    pub of: Hash,
    /// The number that entry gave, for people; must agree with `of`.
    pub emergency: EmergencyId,
    /// How often the agent signed a login with its certificates, as far as it knows. The holder's own
    /// word: evidence of a certificate that was never needed, no more.
    pub uses: Option<u32>,
}

/// "I am on call too, and I claim the same." The signer becomes a requester: they neither approve nor
/// review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Second {
    /// The common fields.
    pub header: Header,
    /// Leaf of the entry whose decision awaits it.
    pub of: Hash,
    /// For people; must agree with `of`.
    pub emergency: EmergencyId,
}

/// "I have read it: yes." Bound to one decision with its exact terms, by the leaf of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approve {
    /// The common fields.
    pub header: Header,
    /// Leaf of the entry that holds declaration, decision, terms and hosts, as the approver's own client
    /// computed it from what it showed.
    pub of: Hash,
    /// For people; must agree with `of`.
    pub emergency: EmergencyId,
    /// How long the card was on the screen, seconds, by the approver's clock.
    pub shown_s: u32,
    /// In the approver's words, if they say something.
    pub reason: Option<ReasonText>,
}

/// "No." Ends the waiting; what is held meanwhile stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// The common fields.
    pub header: Header,
    /// As of [`Approve::of`].
    pub of: Hash,
    /// For people; must agree with `of`.
    pub emergency: EmergencyId,
    /// Why: the requester reads it.
    pub reason: ReasonText,
}

/// "I need longer." Decided anew; while an emergency is closing it also holds the countdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extend {
    /// The common fields.
    pub header: Header,
    /// Leaf of the `emergency.declared` entry.
    pub of: Hash,
    /// For people; must agree with `of`.
    pub emergency: EmergencyId,
    /// How bad it is by now; left out: as declared.
    pub severity: Option<Severity>,
    /// The incident it is for by now; left out: as declared.
    pub incident: Option<IncidentId>,
    /// A shorter lifetime, seconds.
    pub for_s: Option<u32>,
    /// Why it takes longer.
    pub reason: Option<ReasonText>,
}

/// What somebody who took no part found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was an emergency, and what was done fits it.
    Justified,
    /// Something is to be done: about the system, the policy or how it was used.
    FollowUp,
    /// It was no emergency, or more was done than it called for.
    Unjustified,
}

/// "I took no part, I have looked at it, and this is what I found."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The common fields.
    pub header: Header,
    /// Leaf of the `emergency.declared` entry.
    pub of: Hash,
    /// For people; must agree with `of`.
    pub emergency: EmergencyId,
    /// In one word.
    pub verdict: Verdict,
    /// In words.
    pub reason: ReasonText,
}

/// "This bundle takes the place of that one." One of a quorum; each admin signs their own. Counts for
/// [`crate::limits::BUNDLE_WINDOW_S`], and only while `of` is the activation in force: so it can never be
/// played again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleChange {
    /// The common fields.
    pub header: Header,
    /// Leaf of the `bundle.activated` entry that it replaces.
    pub of: Hash,
    /// Hash of the new bundle.
    pub bundle: Hash,
}

/// "This is my host key, and I was invited." Signed by that key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrol {
    /// The common fields.
    pub header: Header,
    /// The host's name.
    pub host: HostName,
    /// Hash of the join token; the token itself travels beside the statement and is kept nowhere.
    pub token: Hash,
    /// The host key; must be the one that signs.
    pub public_key: Ed25519Key,
}

/// "This happened here." Signed by the host key. Its time is when it was said, which after an outage may be
/// long ago: `seq`, not the time, keeps it from being played again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// The common fields.
    pub header: Header,
    /// The host's name.
    pub host: HostName,
    /// Counts a host's reports since its enrolment, from 1, without gaps: each that has a number becomes one
    /// entry of the log. 0 for those that are never logged: heartbeats, confirmations that the CA did not ask
    /// for, alarms past the bound. A self-test's is 0, too: it answers by itself and waits for no other.
    pub seq: u64,
    /// What happened.
    pub report: Report,
}

/// "This key may read in my name for a while."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The common fields.
    pub header: Header,
    /// The session's key.
    pub session_key: Ed25519Key,
    /// How long, seconds.
    pub for_s: u32,
}

/// Any statement, read strictly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// See [`Declare`].
    Declare(Declare),
    /// See [`Close`].
    Close(Close),
    /// See [`Login`].
    Login(Login),
    /// See [`Second`].
    Second(Second),
    /// See [`Approve`].
    Approve(Approve),
    /// See [`Refuse`].
    Refuse(Refuse),
    /// See [`Extend`].
    Extend(Extend),
    /// See [`Review`].
    Review(Review),
    /// See [`BundleChange`].
    Bundle(BundleChange),
    /// See [`Enrol`].
    Enrol(Enrol),
    /// See [`HostReport`].
    Report(Box<HostReport>),
}

/// Why a text is not a statement. All that can be told at once is told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementError {
    /// Longer than [`crate::limits::STATEMENT`].
    #[error("the statement has {0} bytes; at most {max} are taken", max = crate::limits::STATEMENT)]
    TooLong(usize),
    /// Not the JSON it should be: syntax, an unknown or repeated key, a value that is not valid. Escaped.
    #[error("the statement cannot be read: {0}")]
    Unreadable(String),
    /// Keys that its kind does not have, or keys that it must have and lacks. All of them.
    #[error("a {kind} statement {}", keys_wrong(missing, surplus))]
    Keys {
        /// The kind it says it is.
        kind: &'static str,
        /// What is missing.
        missing: Vec<&'static str>,
        /// What does not belong there.
        surplus: Vec<&'static str>,
    },
    /// The key in it is not a point that can be trusted: off the curve or of small order.
    #[error("the {0} is not a usable Ed25519 key")]
    WeakKey(&'static str),
    /// A version this program does not speak.
    #[error("the statement is of version {0}; this is version 1")]
    Version(u64),
}

impl Statement {
    /// The common fields.
    pub fn header(&self) -> &Header {
        match self {
            Statement::Declare(s) => &s.header,
            Statement::Close(s) => &s.header,
            Statement::Login(s) => &s.header,
            Statement::Second(s) => &s.header,
            Statement::Approve(s) => &s.header,
            Statement::Refuse(s) => &s.header,
            Statement::Extend(s) => &s.header,
            Statement::Review(s) => &s.header,
            Statement::Bundle(s) => &s.header,
            Statement::Enrol(s) => &s.header,
            Statement::Report(s) => &s.header,
        }
    }
}
