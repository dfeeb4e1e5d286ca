//! The control socket: how the verbs talk to the agent. One JSON object a line, one answer each.
//!
//! Only processes of the same user are heard (`SO_PEERCRED`). Whoever can speak here can use what is
//! held, as they could by running `ssh`; they cannot take a key out.

pub(crate) mod client;
mod narrow;
mod pending;

pub(crate) use narrow::{Narrow, Narrowing, NewNarrowed, Pinned};
pub(crate) use pending::{Asked, Pending};

use std::cmp::Reverse;

use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{
    AccountName, ActionName, EmergencyId, HostName, Origin, PersonName, SystemName, TierName,
};
use fireaxe_protocol::policy::{Pattern, Terms};
use serde::{Deserialize, Serialize};

/// The longest line either way: a certificate of 16 KiB and terms, twice over.
pub(crate) const LINE: u64 = 128 * 1024;

/// What a verb asks of the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Are you there, and of which version?
    Ping,
    /// A new key; the answer is its public half.
    FreshKey,
    /// Hold this certificate over a fresh key, or over the key of the same emergency.
    Hold {
        /// What is known of it.
        hold: Box<Hold>,
    },
    /// What is held?
    List,
    /// A fresh key that gets no certificate: what it was made for was refused.
    Discard {
        /// Which.
        public_key: Ed25519Key,
    },
    /// Remember that something of this emergency waits; its key lives on until then.
    Remember {
        /// What waits.
        pending: Box<Pending>,
    },
    /// Nothing of this emergency waits any more. What is held of it stays.
    Forget {
        /// Which.
        emergency: EmergencyId,
    },
    /// What waits?
    Pending,
    /// Drop an emergency's certificates and keys, and what waits of it.
    Drop {
        /// Which.
        emergency: EmergencyId,
    },
    /// Should `ssh host` log in as `account`?
    Match {
        /// The host as ssh resolved it.
        host: HostName,
        /// The account of one block of the ssh configuration.
        account: AccountName,
    },
    /// The session key for reading, made if there is none or `renew` says so.
    Session {
        /// Whose.
        person: PersonName,
        /// The CA does not take the old one any more.
        renew: bool,
    },
    /// The CA has taken the session key.
    LoggedIn {
        /// Which.
        public_key: Ed25519Key,
        /// Until when, unix seconds.
        until: u64,
    },
    /// A proof for one read.
    ReadProof {
        /// Of what, by whom.
        read: ReadRequest,
    },
    /// What must a certificate for that host be made of?
    Narrowing {
        /// Of which emergency, for which host.
        narrow: Narrow,
    },
    /// Hold this certificate for one host; it stands in for the wide one there.
    Narrow {
        /// Of which emergency, for which host.
        narrow: Narrow,
        /// The certificate.
        new: Box<NewNarrowed>,
    },
    /// Drop everything and end.
    Stop,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Answer {
    /// To [`Request::Ping`].
    Pong {
        /// The agent's version.
        version: String,
        /// The agent's process.
        pid: u32,
        /// What could not be locked down, in words; empty is all well.
        notes: Vec<String>,
    },
    /// To [`Request::FreshKey`].
    Key {
        /// The public half.
        public_key: Ed25519Key,
    },
    /// To [`Request::Hold`] and [`Request::List`].
    Held {
        /// Most powerful first.
        held: Vec<Held>,
    },
    /// To [`Request::Pending`].
    Pending {
        /// The emergencies with something that waits.
        pending: Vec<Pending>,
    },
    /// To [`Request::Drop`].
    Dropped {
        /// How many certificates.
        count: usize,
    },
    /// To [`Request::Match`].
    Matched {
        /// Whether the live certificate of highest power for that host is for that account.
        yes: bool,
        /// Whether anything held reaches that host.
        reached: bool,
    },
    /// To [`Request::Session`].
    Session {
        /// The session.
        session: SessionState,
    },
    /// To [`Request::ReadProof`].
    Proof {
        /// Which key.
        key: Fingerprint,
        /// The agent's time, unix seconds.
        at: u64,
        /// Base64.
        signature: String,
    },
    /// To [`Request::Narrowing`].
    Narrowing {
        /// What is held.
        narrowing: Box<Narrowing>,
    },
    /// Done.
    Done,
    /// Not done.
    Refused {
        /// Why.
        why: String,
    },
}

/// A certificate to hold, and what the CA said about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// One line of OpenSSH text.
    pub(crate) certificate: String,
    /// Its emergency.
    pub(crate) emergency: EmergencyId,
    /// Leaf of the `emergency.declared` entry.
    pub(crate) declaration: Hash,
    /// Whose log.
    pub(crate) origin: Origin,
    /// The system.
    pub(crate) system: SystemName,
    /// The one host, if it is one.
    pub(crate) host: Option<HostName>,
    /// The hosts it reaches: names, or patterns.
    pub(crate) hosts: Vec<String>,
    /// The terms the certificate was compared with.
    pub(crate) terms: Terms,
    /// A marked rehearsal.
    pub(crate) drill: bool,
    /// What certificates for single hosts are held against; without it none are asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) pinned: Option<Pinned>,
}

/// A certificate that is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Held {
    /// Its emergency.
    pub(crate) emergency: EmergencyId,
    /// Leaf of the `emergency.declared` entry.
    pub(crate) declaration: Hash,
    /// Whose log.
    pub(crate) origin: Origin,
    /// The system.
    pub(crate) system: SystemName,
    /// The one host, if it is one.
    pub(crate) host: Option<HostName>,
    /// The hosts it reaches: names, or patterns.
    pub(crate) hosts: Vec<String>,
    /// Its tier.
    pub(crate) tier: TierName,
    /// What the tier can do.
    pub(crate) power: u8,
    /// Login account.
    pub(crate) account: AccountName,
    /// A marked rehearsal.
    pub(crate) drill: bool,
    /// Index of its entry.
    pub(crate) serial: u64,
    /// The action whose one command it runs, if it is one's.
    pub(crate) action: Option<ActionName>,
    /// Its key.
    pub(crate) public_key: Ed25519Key,
    /// Of its key.
    pub(crate) fingerprint: Fingerprint,
    /// How many logins were signed with the emergency's certificates so far.
    pub(crate) uses: u32,
    /// When it ends, unix seconds.
    pub(crate) valid_before: u64,
}

impl Held {
    /// Which of several comes first: the most powerful; a tier's before an action's, which must never stand
    /// in front of a shell of the same power; then the one that lasts longest.
    pub(crate) fn rank(&self) -> (Reverse<u8>, bool, Reverse<u64>) {
        (Reverse(self.power), self.action.is_some(), Reverse(self.valid_before))
    }

    /// What `ssh-add -l` shows.
    pub(crate) fn comment(&self) -> String {
        format!("{} {} on {} (serial {})", self.emergency, self.account, self.reach(), self.serial)
    }

    /// Whether it opens `host`. What the CA sent that is no pattern reaches nothing.
    pub(crate) fn reaches(&self, host: &HostName) -> bool {
        self.hosts.iter().any(|p| p.parse::<Pattern>().is_ok_and(|p| p.matches(host)))
    }

    /// Whether some host is opened by both.
    pub(crate) fn overlaps(&self, other: &Held) -> bool {
        let patterns =
            |held: &Held| held.hosts.iter().filter_map(|p| p.parse().ok()).collect::<Vec<Pattern>>();
        let theirs = patterns(other);
        patterns(self).iter().any(|mine| theirs.iter().any(|p| p.overlaps(mine)))
    }

    /// The host, or the system.
    pub(crate) fn reach(&self) -> &str {
        self.host.as_ref().map_or(self.system.as_str(), |host| host.as_str())
    }
}

/// The session key for reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionState {
    /// The public half.
    pub(crate) public_key: Ed25519Key,
    /// Whose it is.
    pub(crate) person: PersonName,
    /// Until when the CA takes it; `None`: it has not been told yet.
    pub(crate) until: Option<u64>,
}

/// A read that needs a proof. The agent puts in the time and composes the bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadRequest {
    /// By which key.
    pub(crate) reader: Reader,
    /// Of which log.
    pub(crate) origin: Origin,
    /// `GET` or `POST`.
    pub(crate) method: String,
    /// Path with query.
    pub(crate) path: String,
}

/// Which key proves a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reader {
    /// The session's.
    Session,
    /// The fresh key of an emergency, which reads that emergency.
    Emergency(EmergencyId),
}
