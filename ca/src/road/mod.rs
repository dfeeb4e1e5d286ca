//! The road of a request, numbered as in docs/ISSUANCE.md.
//!
//! | step | file | what it does |
//! |---|---|---|
//! | – | `again.rs` | what went out -> the same bytes, for evidence |
//! | 2 | `caller.rs` | signed words -> a known person ([`Known`]) |
//! | 3 | `facts.rs` | state -> the facts a decision may rest on |
//! | 3, 4 | `declare.rs` | facts -> decision -> entries; the same words, the same answer |
//! | 4 | `issue.rs` | terms -> exact body, linted ([`issue::Prepared`]); logged -> signed |
//! | – | `narrow.rs` | what is held -> a certificate for one of its hosts, for minutes |
//! | – | `hosts/` | a token and a host key -> a host certificate; a host's word -> a minute's self-test |
//! | 8, 11 | `speakers.rs`, `reports.rs` | what an enrolled host said -> entries |
//! | 10 | `close.rs`, `clockwork.rs` | a person's word, an incident's end or the clock -> closed |
//!
//! `turn.rs` takes a batch of requests through them, in order, and commits, signs and answers;
//! `conductor.rs` is the thread it runs on, with group commit and recovery. `caller`, `facts`, `issue` and
//! `clockwork` know nothing of each other. That thread owns state and log, so a decision, its entry
//! and its signature cannot be overtaken by a closing.
//! The door and the operator's commands talk to it through [`Road`].

mod activate;
mod again;
mod approve;
mod caller;
mod clockwork;
mod close;
mod conductor;
mod crash;
mod declare;
mod evidence;
mod extend;
mod facts;
mod hosts;
mod issue;
mod missing;
mod narrow;
mod pager;
mod refusal;
mod reports;
mod request;
mod review;
mod said;
mod second;
mod shadow;
mod speakers;
mod standing;
mod turn;
mod watch;
mod witnessing;

pub(crate) use activate::again as decided_by_bundle;
pub use activate::{Activated, Proposal};
pub(crate) use activate::{Signature, is_removed, may_not_activate};
pub use again::CERTIFICATES;
pub(crate) use approve::{may_not_answer, may_not_approve, unusual_approval, waiting as waiting_request};
pub use caller::{Gate, Known};
pub(crate) use caller::{check_time, fresh};
pub(crate) use clockwork::{Due, called, due};
pub use close::ClosedNow;
pub(crate) use close::{may_close, resting, review_due};
pub use conductor::{Conductor, Deps, StartError};
pub(crate) use declare::{hosts_of, link_by, longest};
pub(crate) use extend::decided as decided_by_extension;
pub(crate) use extend::may_extend;
pub(crate) use facts::{Asker, Request, gather};
pub use hosts::{
    Certificate as HostCertificate, HostRefusal, Invitation as HostInvitation, Invited, InvitedHost, Joining,
    Listed, ListedHost, RetiredNow, Speaking,
};
pub(crate) use hosts::{
    certificate_is_due, is_host_body_of, may_enrol, may_stay, may_test, self_test_terms, system_of,
};
pub use issue::Opening;
pub use missing::Missing;
pub use pager::{Page, Pager, deliver_by};
pub use refusal::{Internal, Refusal};
pub(crate) use reports::{Came, entry_of as entry_of_report, serial_of as serial_of_report};
pub(crate) use request::Words;
pub(crate) use review::may_review;
pub use said::Said;
pub(crate) use second::decided as decided_by_second;
pub(crate) use second::{lacks_presence, may_second};
pub use shadow::ShadowCounts;
pub(crate) use speakers::said_before;
pub use speakers::{Heard, KnownHost, Speakers};
pub use witnessing::{Ahead, Cosigners};

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use fireaxe_protocol::api::{ExplainRequest, Explained, Grant, Narrowed, RequestCard, Requests};
use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::log::{Event, Evidence, EvidenceReader, Hash, IncidentUpdate};
use fireaxe_protocol::names::{EmergencyId, HostName, PersonName, ReasonText};
use fireaxe_protocol::policy::Bundle;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;
use tokio::sync::oneshot;

/// How many requests may wait for the writer. At 100 us each the last one waits 0.4 s.
pub const QUEUE: usize = 4096;

/// How long an answer is waited for: a disk that hangs must not hold callers for ever. Longer than the
/// 5 s after which SQLite gives up on a lock, so that the plainer refusal comes first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What can be asked of the writer.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Step 3 to 5.
    Declare(Box<Known>, Reply<Box<Opening>>),
    /// Step 10.
    Close(EmergencyId, Box<Known>, Reply<ClosedNow>),
    /// Steps 6, 9 and 12, and a further signature.
    Say(EmergencyId, Box<Known>, Reply<Said>),
    /// What is held and what waits.
    Grant(EmergencyId, Reply<Box<Grant>>),
    /// A certificate for one host.
    Narrow(EmergencyId, HostName, Reply<Box<Narrowed>>),
    /// About hosts.
    Host(hosts::HostAsked),
    /// Whether that canonical person asked for it.
    IsRequester(EmergencyId, PersonName, Reply<bool>),
    /// Whether it is open or closing.
    IsLive(EmergencyId, Reply<()>),
    /// What an approver must see.
    Card(EmergencyId, PersonName, Reply<Box<RequestCard>>),
    /// What waits for people.
    Requests(PersonName, Reply<Box<Requests>>),
    /// Another bundle.
    Activate(Box<Proposal>, Reply<Activated>),
    /// A bundle that decides beside the one in force, or none.
    Shadow(Option<Arc<Bundle>>, Reply<()>),
    /// Evidence.
    Incident(IncidentUpdate, Reply<Recorded>),
    /// The operator's word that the clock is right.
    Clock { reason: ReasonText, by: String, reply: Reply<Recorded> },
    /// That evidence is read, or goes: an entry that decides nothing.
    Evidence(Box<Event>, Reply<Recorded>),
    /// Step 3 without its entry.
    Explain(PersonName, Box<ExplainRequest>, Reply<Box<Explained>>),
    /// Certificates as they went out, for evidence.
    Certificates(Vec<u64>, Reply<Vec<(u64, String)>>),
    /// Whose emergency a fresh key belongs to.
    Reader(Fingerprint, Reply<FreshReader>),
    /// Steps 8 and 11: what a host said, to be logged.
    Report(Arc<Heard>, Reply<u64>),
    /// End after what is under way.
    Stop,
}

/// An entry that now exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// Its time, unix seconds.
    pub at: u64,
}

/// Who holds the fresh key of a live emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshReader {
    /// Who declared it.
    pub person: PersonName,
    /// The enrolled key that signed the declaration.
    pub enrolled: Fingerprint,
    /// Which emergency.
    pub emergency: EmergencyId,
    /// The fresh key.
    pub key: Ed25519Key,
}

/// Who reads which evidence, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who.
    pub by: EvidenceReader,
    /// What.
    pub what: Evidence,
    /// What came of it.
    pub outcome: AccessOutcome,
}

/// What came of an [`Access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessOutcome {
    /// It is handed out.
    Read,
    /// It is put together in a file whose manifest has this hash.
    Exported(Hash),
    /// They may not.
    Refused(Reason),
}

impl From<Access> for Event {
    fn from(Access { by, what, outcome }: Access) -> Event {
        match outcome {
            AccessOutcome::Read => Event::EvidenceRead { by, what },
            AccessOutcome::Exported(manifest) => Event::EvidenceExported { by, what, manifest },
            AccessOutcome::Refused(why) => Event::EvidenceRefused { by, what, why },
        }
    }
}

/// The way to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Road {
    queue: SyncSender<Asked>,
    published: Arc<watch::Published>,
}

pub use crate::state::CannotNarrow;
pub use watch::{Change, Extended, Health, Published, RevocationView, SinceThen};

impl Road {
    /// What the writer last published for readers.
    pub fn published(&self) -> &watch::Published {
        &self.published
    }

    /// Declares an emergency in a known person's name.
    pub async fn declare(&self, known: Known) -> Result<Box<Opening>, Refusal> {
        self.ask(|reply| Asked::Declare(Box::new(known), reply)).await
    }

    /// Closes one.
    pub async fn close(&self, id: EmergencyId, known: Known) -> Result<ClosedNow, Refusal> {
        self.ask(|reply| Asked::Close(id, Box::new(known), reply)).await
    }

    /// Takes a statement about an emergency: `second`, `approve`, `refuse`, `extend`, `review`.
    pub async fn say(&self, id: EmergencyId, known: Known) -> Result<Said, Refusal> {
        self.ask(|reply| Asked::Say(id, Box::new(known), reply)).await
    }

    /// What is held of an emergency, with its certificate, and what waits.
    pub async fn grant(&self, id: EmergencyId) -> Result<Box<Grant>, Refusal> {
        self.ask(|reply| Asked::Grant(id, reply)).await
    }

    /// What is held of an emergency, narrowed to one host and to minutes. Whoever asks holds its fresh key.
    pub async fn narrow(&self, id: EmergencyId, host: HostName) -> Result<Box<Narrowed>, Refusal> {
        self.ask(|reply| Asked::Narrow(id, host, reply)).await
    }

    /// Whether a canonical person asked for an emergency that is open or closing.
    pub async fn is_requester(&self, id: EmergencyId, person: PersonName) -> Result<bool, Refusal> {
        self.ask(|reply| Asked::IsRequester(id, person, reply)).await
    }

    /// Whether an emergency is open or closing; refused if it is over or was never declared.
    pub async fn is_live(&self, id: EmergencyId) -> Result<(), Refusal> {
        self.ask(|reply| Asked::IsLive(id, reply)).await
    }

    /// What `reader` must see to answer a request.
    pub async fn card(&self, id: EmergencyId, reader: PersonName) -> Result<Box<RequestCard>, Refusal> {
        self.ask(|reply| Asked::Card(id, reader, reply)).await
    }

    /// What waits for people, and what of it for `reader`.
    pub async fn requests(&self, reader: PersonName) -> Result<Box<Requests>, Refusal> {
        self.ask(|reply| Asked::Requests(reader, reply)).await
    }

    /// Puts another bundle in force, if the quorum that the one before names says so.
    pub async fn activate(&self, proposal: Proposal) -> Result<Activated, Refusal> {
        self.ask(|reply| Asked::Activate(Box::new(proposal), reply)).await
    }

    /// Lets a bundle decide beside the one in force, or none.
    pub async fn shadow(&self, candidate: Option<Arc<Bundle>>) -> Result<(), Refusal> {
        self.ask(|reply| Asked::Shadow(candidate, reply)).await
    }

    /// Records what is known of an incident.
    pub async fn incident(&self, update: IncidentUpdate) -> Result<Recorded, Refusal> {
        self.ask(|reply| Asked::Incident(update, reply)).await
    }

    /// Records that `by` says the clock is right again.
    pub async fn clock_corrected(&self, reason: ReasonText, by: String) -> Result<Recorded, Refusal> {
        self.ask(|reply| Asked::Clock { reason, by, reply }).await
    }

    /// Records that evidence is handed out, or refused.
    pub async fn evidence_accessed(&self, access: Access) -> Result<Recorded, Refusal> {
        self.ask(|reply| Asked::Evidence(Box::new(access.into()), reply)).await
    }

    /// Those of `serials`, at most [`CERTIFICATES`], that may be signed again for evidence.
    pub async fn certificates(&self, serials: Vec<u64>) -> Result<Vec<(u64, String)>, Refusal> {
        self.ask(|reply| Asked::Certificates(serials, reply)).await
    }

    /// Records that a recording is about to be removed: `of` is the leaf of the entry that reported it.
    pub async fn recording_expired(
        &self,
        of: Hash,
        host: HostName,
        recording: Nonce,
    ) -> Result<Recorded, Refusal> {
        let event = Event::RecordingExpired { of, host, recording };
        self.ask(|reply| Asked::Evidence(Box::new(event), reply)).await
    }

    /// What would be decided for `person`. Nothing is recorded.
    pub async fn explain(&self, person: PersonName, what: ExplainRequest) -> Result<Box<Explained>, Refusal> {
        self.ask(|reply| Asked::Explain(person, Box::new(what), reply)).await
    }

    /// Whose live emergency `key` was certified for.
    pub async fn reader(&self, key: Fingerprint) -> Result<FreshReader, Refusal> {
        self.ask(|reply| Asked::Reader(key, reply)).await
    }

    /// Logs what a host said; gives the number of its last report that is in the log.
    pub async fn report(&self, heard: Arc<Heard>) -> Result<u64, Refusal> {
        self.ask(|reply| Asked::Report(heard, reply)).await
    }

    /// Ends the writer after what is under way.
    pub fn stop(&self) {
        let _ = self.queue.send(Asked::Stop);
    }

    /// Whether the writer has ended.
    pub fn is_stopped(&self) -> bool {
        self.published.is_stopped()
    }

    async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Asked) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(make(reply)) {
            Ok(()) => match tokio::time::timeout(PATIENCE, answer).await {
                Ok(answer) => answer.unwrap_or(Err(Refusal::Stopping)),
                Err(_) => Err(Refusal::Slow),
            },
            Err(TrySendError::Full(_)) => Err(Refusal::Busy),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Stopping),
        }
    }
}
