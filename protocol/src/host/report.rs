//! What a host reports: statements of kind `report`, signed by its enrolled host key.
//!
//! Everything in it is the host's word. Root on a host can lie about that host, not about another, and not
//! about what has left it already: reports are numbered, and what they say of a recording is its hash.
//! Times are the host's own clock, unix seconds.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::keys::Ed25519Key;
use crate::log::Hash;
use crate::names::AccountName;
use crate::policy::Record;
use crate::reason::Reason;
use crate::statement::Nonce;

/// One report. On the wire `{"session_opened":{...}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// A certificate of ours came in. Logged as `session.opened`.
    SessionOpened(SessionOpened),
    /// Everything that came in with it has ended. Logged as `session.closed`.
    SessionClosed(SessionClosed),
    /// A revocation list is in force and nothing that it revokes is alive here. Said without a number at once,
    /// for the fleet's view; and once more with a number, logged as `host.confirmed`, when the CA's answer
    /// asks for that ([`crate::api::ReportsTaken::confirm`]).
    Confirmed(Confirmed),
    /// Something that somebody should look at. Logged as `host.alarmed`; without a number only counted, which
    /// is what a host does past [`crate::limits::ALARMS_PER_HOUR`].
    Alarmed(Reason),
    /// "Prove me a login": asks for a certificate of a minute, for this host alone. Logged as
    /// `self-test.granted`.
    SelfTest(SelfTest),
    /// How the host is. Never logged: only the newest matters.
    Heartbeat(Heartbeat),
}

/// A connection whose certificate was admitted. One SSH connection, however many sessions it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionOpened {
    /// The connection's random name.
    pub connection: Nonce,
    /// The certificate's serial.
    pub serial: u64,
    /// The account.
    pub account: AccountName,
    /// Where from, as sshd says.
    pub from: IpAddr,
    /// When.
    pub at: u64,
    /// What the terms say of recording.
    pub record: Record,
}

/// A connection that is over, with everything that came in with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClosed {
    /// The connection's random name.
    pub connection: Nonce,
    /// The certificate's serial.
    pub serial: u64,
    /// When.
    pub at: u64,
    /// Why.
    pub why: EndReason,
    /// What had to be ended.
    pub swept: Swept,
    /// Its recordings, one for each session that it carried. At most [`crate::limits::REPORTED`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub recordings: Vec<Recorded>,
    /// What appeared on the host meanwhile that could let somebody in later. At most
    /// [`crate::limits::REPORTED`]. Reported, never removed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub planted: Vec<Planted>,
    /// How many more recordings and findings there are than could be listed.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub more: u32,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its user left.
    Left,
    /// Its certificate's time ran out.
    Expired,
    /// Its serial was revoked: the emergency was closed, or the holder removed.
    Revoked,
    /// The countdown of an emergency that was closing ended.
    Closing,
    /// It had to be recorded and could not be.
    Unrecorded,
    /// The host was restarted.
    Restarted,
    /// The host's own rules did not admit it.
    Refused,
}

/// What had to be ended by signals. All three are 0 when its user left and nothing stayed behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swept {
    /// Processes that ended when asked to.
    pub terminated: u32,
    /// Processes that had to be killed.
    pub killed: u32,
    /// Processes that are there still: nothing could end them.
    pub left: u32,
}

/// A recording, whole: what its chunks come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Its random name.
    pub recording: Nonce,
    /// How many chunks it has.
    pub chunks: u64,
    /// Bytes of input and output in them.
    pub bytes: u64,
    /// Hash of the last chunk, which holds that of the one before it.
    pub head: Hash,
    /// Bytes that are marked in it as lost.
    #[serde(skip_serializing_if = "is_zero_64", default)]
    pub lost: u64,
}

/// Something that appeared, changed or went while a connection was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planted {
    /// What kind of thing.
    pub kind: PlantedKind,
    /// Its path, escaped, at most 256 bytes.
    pub path: String,
    /// `appeared`, `changed` or `removed`.
    pub change: Change,
    /// Its owner's uid, if it is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<u32>,
}

/// Kinds of things that outlive a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlantedKind {
    /// `authorized_keys` of some account, or another file that sshd takes keys from.
    AuthorizedKeys,
    /// sshd's or PAM's configuration.
    LoginConfiguration,
    /// Accounts: `passwd`, `shadow`, `group`.
    Account,
    /// cron.
    Cron,
    /// at.
    At,
    /// A systemd unit or timer, of the system or of a user.
    SystemdUnit,
    /// sudo's rules.
    Sudoers,
    /// A file with the setuid or setgid bit.
    Setuid,
    /// Something every process loads: `ld.so.preload`, a profile.
    Preload,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there before.
    Appeared,
    /// It is another than before.
    Changed,
    /// It is gone.
    Removed,
}

/// A revocation list is in force here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// The list's version.
    pub version: u64,
    /// Its hash.
    pub krl: Hash,
    /// When sshd had it.
    pub in_force_at: u64,
    /// Connections that it ended.
    pub ended: u32,
}

/// Asks for a login's proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// The account to log in to.
    pub account: AccountName,
    /// A fresh key.
    pub public_key: Ed25519Key,
}

/// How a host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The revocation list in force; 0: none.
    pub krl_version: u64,
    /// Seconds since the CA last said that it is the newest.
    pub krl_age_s: u64,
    /// The newest head of the log that this host has seen and found consistent: its size and root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head: Option<(u64, Hash)>,
    /// The signed note of a head that the CA does not show any more, or contradicts: it has lost entries, or there
    /// are two of it. Bears the log key's signature alone, so that the CA believes itself and not the host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ahead: Option<String>,
    /// Whether sshd asks files or this program.
    pub mode: Mode,
    /// Version of this program.
    pub helper: String,
    /// sshd's own words on its version, at most 64 bytes of printable ASCII.
    pub openssh: String,
    /// Connections that are there now.
    pub sessions: u32,
    /// Reports and chunks that wait to be sent.
    pub spooled: u32,
    /// What is not as `apply` left it. At most [`crate::limits::REPORTED`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub drift: Vec<Reason>,
    /// Other ways in. At most [`crate::limits::REPORTED`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub strays: Vec<Stray>,
    /// How many more findings there are than could be listed.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub more: u32,
}

/// How sshd learns which principals open an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// From files: receipts are not checked, nothing of ours is in the login path.
    Stock,
    /// From this program, which checks receipts and freshness; sessions are registered.
    Helper,
    /// In neither way, or not of all accounts alike: what certificates open cannot be relied on. Why is in
    /// [`Heartbeat::drift`].
    Neither,
}

/// A way in that needs no emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stray {
    /// What kind of way.
    pub kind: StrayKind,
    /// Where it is: a path, or a directive. Escaped, at most 256 bytes.
    pub place: String,
    /// The account it opens, if one. Escaped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<String>,
    /// Since when, unix seconds: the file's last change.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<u64>,
}

/// Kinds of standing access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrayKind {
    /// Keys in an `authorized_keys` file.
    AuthorizedKey,
    /// A CA that sshd trusts and that is not ours.
    ForeignCa,
    /// sshd takes passwords.
    Password,
    /// A `cert-authority` line in an `authorized_keys` file, or `@cert-authority` in a `known_hosts`.
    CertAuthorityLine,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_zero_64(n: &u64) -> bool {
    *n == 0
}
