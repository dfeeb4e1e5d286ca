//! One host of the fleet: its key, what it pinned, and what it makes of an event of the feed. It checks what a
//! real host checks: the note of the list, the list's hash, version and canary, the head's signature and that it
//! continues the last one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{FeedEvent, FeedHead, FeedList, ReadProof};
use fireaxe_protocol::host::{Confirmed, Heartbeat, Mode, Report};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::{RevocationList, canary_ca};
use fireaxe_protocol::limits::CANARY_SERIAL;
use fireaxe_protocol::log::tree::verify_consistency;
use fireaxe_protocol::log::{Checkpoint, Hash, KrlNote, NoteKey};
use fireaxe_protocol::names::{HostName, Origin};
use fireaxe_protocol::statement::{
    Enrol, Envelope, Header, HostReport, Kind, Nonce, Statement, sign_ed25519,
};

use crate::clock;

/// What every host is told when it joins.
pub(super) struct Pinned {
    /// The log's name.
    pub(super) origin: Origin,
    /// The log's key.
    pub(super) log: NoteKey,
    /// The key of the lists' notes.
    pub(super) krl: NoteKey,
    /// What one host has verified and the others take over byte by byte, if they may: in truth each has a
    /// processor of its own, and here they have one together.
    pub(super) shared: Option<Shared>,
}

/// Signatures that were found good.
#[derive(Default)]
pub(super) struct Shared {
    lists: Mutex<HashMap<(String, Hash), u64>>,
    heads: Mutex<HashMap<String, Checkpoint>>,
}

/// What a host does about an event of the feed.
#[derive(Default)]
pub(super) struct Todo {
    /// Says that a newer list is in force.
    pub(super) confirm: Option<Confirmed>,
    /// With a number, if the list has this version or a later one.
    pub(super) owed: Option<u64>,
    /// Asks the CA to prove that the head it has now continues the one it had: their sizes.
    pub(super) prove: Option<(Checkpoint, Checkpoint)>,
}

/// One host.
pub(super) struct Member {
    name: HostName,
    key: SigningKey,
    pinned: Arc<Pinned>,
    list: Option<(u64, Hash)>,
    head: Option<Checkpoint>,
    seq: u64,
    nonces: u64,
}

impl Member {
    /// The `number`-th host of the fleet.
    pub(super) fn new(number: u64, name: HostName, pinned: Arc<Pinned>) -> Member {
        let mut seed = [11; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        Member { name, key: SigningKey::from_bytes(&seed), pinned, list: None, head: None, seq: 0, nonces: 0 }
    }

    /// Its name.
    pub(super) fn name(&self) -> &HostName {
        &self.name
    }

    /// The words by which it joins with this token.
    pub(super) fn enrol(&mut self, token: &str) -> Envelope {
        let words = Statement::Enrol(Enrol {
            header: self.header(Kind::Enrol),
            host: self.name.clone(),
            token: Hash::of(token.as_bytes()),
            public_key: Ed25519Key(self.key.verifying_key().to_bytes()),
        });
        sign_ed25519(&self.key, Kind::Enrol, &words.write())
    }

    /// The `Authorization` of a read.
    pub(super) fn proof(&self, path: &str) -> String {
        ReadProof::sign(&self.key, &self.pinned.origin, "GET", path, clock::unix()).header()
    }

    /// Takes an event of the feed, as far as it is good.
    pub(super) fn takes(&mut self, event: &str) -> Result<Todo, String> {
        let event: FeedEvent = serde_json::from_str(event).map_err(|error| format!("{error}: {event}"))?;
        let prove = event.head.as_ref().map_or(Ok(None), |head| self.takes_head(head))?;
        let confirm = event.krl.as_ref().map_or(Ok(None), |list| self.takes_list(list))?;
        Ok(Todo { confirm, owed: event.confirm, prove })
    }

    fn takes_list(&mut self, list: &FeedList) -> Result<Option<Confirmed>, String> {
        let Some(bytes) = &list.krl else { return self.renewed(list).map(|()| None) };
        let bytes = STANDARD.decode(bytes).map_err(|error| error.to_string())?;
        let hash = Hash::of(&bytes);
        let key = (list.note.clone(), hash);
        let pinned = self.pinned.clone();
        let lists = pinned.shared.as_ref().map(|shared| &shared.lists);
        let version = match lists.and_then(|lists| lists.lock().expect("lock").get(&key).copied()) {
            Some(version) => version,
            None => {
                let version = self.judged(list, &bytes, hash)?;
                lists.map(|lists| lists.lock().expect("lock").insert(key, version));
                version
            }
        };
        match self.list {
            Some((have, _)) if have > version => Err(format!("list {version} after list {have}")),
            Some(have) if have == (version, hash) => Ok(None),
            _ => {
                self.list = Some((version, hash));
                Ok(Some(Confirmed { version, krl: hash, in_force_at: clock::unix(), ended: 0 }))
            }
        }
    }

    /// A note without bytes: the list that it has is still the newest. One too long for the feed no fleet here
    /// has.
    fn renewed(&self, list: &FeedList) -> Result<(), String> {
        let note = self.note(list)?;
        match self.list {
            Some(have) if have == (note.version, note.krl) && note.version == list.version => Ok(()),
            have => Err(format!("list {} came without its bytes to one that has {have:?}", list.version)),
        }
    }

    fn note(&self, list: &FeedList) -> Result<KrlNote, String> {
        let note = STANDARD.decode(&list.note).map_err(|error| error.to_string())?;
        let note = String::from_utf8(note).map_err(|error| error.to_string())?;
        KrlNote::open(&note, &self.pinned.krl, &self.pinned.origin).map_err(|error| error.to_string())
    }

    fn judged(&self, list: &FeedList, bytes: &[u8], hash: Hash) -> Result<u64, String> {
        let note = self.note(list)?;
        let read = RevocationList::read(bytes).map_err(|error| error.to_string())?;
        let good = note.krl == hash && read.version == note.version && note.version == list.version;
        if !good || !read.is_revoked(&canary_ca(), CANARY_SERIAL) {
            return Err(format!("list {} is not what its note says", list.version));
        }
        Ok(note.version)
    }

    fn takes_head(&mut self, head: &FeedHead) -> Result<Option<(Checkpoint, Checkpoint)>, String> {
        let pinned = &self.pinned;
        let heads = pinned.shared.as_ref().map(|shared| &shared.heads);
        let new = match heads.and_then(|heads| heads.lock().expect("lock").get(&head.checkpoint).cloned()) {
            Some(new) => new,
            None => {
                let new = Checkpoint::open(&head.checkpoint, &pinned.log, &pinned.origin);
                let new = new.map_err(|error| error.to_string())?;
                heads.map(|heads| heads.lock().expect("lock").insert(head.checkpoint.clone(), new.clone()));
                new
            }
        };
        let Some(old) = self.head.replace(new.clone()) else { return Ok(None) };
        if old.size == head.from && continues(&old, &new, &head.proof) || old == new {
            return Ok(None);
        }
        if head.from == 0 || head.from != old.size {
            // Begun anew, or missed one.
            return Ok(Some((old, new)));
        }
        Err(format!("head {} does not continue head {}", new.size, old.size))
    }

    /// How it is.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            krl_version: self.list.map_or(0, |(version, _)| version),
            krl_age_s: 0,
            head: self.head.as_ref().map(|head| (head.size, head.root)),
            ahead: None,
            mode: Mode::Helper,
            helper: env!("CARGO_PKG_VERSION").into(),
            openssh: "simulated".into(),
            sessions: 0,
            spooled: 0,
            drift: Vec::new(),
            strays: Vec::new(),
            more: 0,
        }
    }

    /// The number of its next report for the log.
    pub(super) fn next(&self) -> u64 {
        self.seq + 1
    }

    /// A report that is not for the log.
    pub(super) fn mentions(&mut self, report: Report) -> Envelope {
        self.says(0, report)
    }

    /// The next report for the log.
    pub(super) fn reports(&mut self, report: Report) -> Envelope {
        self.seq += 1;
        self.says(self.seq, report)
    }

    fn says(&mut self, seq: u64, report: Report) -> Envelope {
        let header = self.header(Kind::Report);
        let words = HostReport { header, host: self.name.clone(), seq, report };
        sign_ed25519(&self.key, Kind::Report, &Statement::Report(Box::new(words)).write())
    }

    fn header(&mut self, kind: Kind) -> Header {
        self.nonces += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.key.verifying_key().to_bytes()[..8]);
        nonce[8..].copy_from_slice(&self.nonces.to_be_bytes());
        Header { kind, to: self.pinned.origin.clone(), nonce: Nonce(nonce), at: clock::unix() }
    }
}

/// Whether the log of `new` begins with that of `old`.
pub(super) fn continues(old: &Checkpoint, new: &Checkpoint, proof: &[Hash]) -> bool {
    verify_consistency(old.size, new.size, proof, &old.root, &new.root).is_ok()
}
