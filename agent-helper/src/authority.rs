//! The CA as this client knows it: its remembered keys, statements sent to it, reads with their proof.
//!
//! The keys are believed once, over the pinned connection, and remembered; a change is refused until a
//! person has said that it is meant. [`Authority::check`] holds a certificate against them.

use std::cell::{OnceCell, RefCell};
use std::time::Duration;

use fireaxe_protocol::api::{Closed, Consistency, Keys, LoggedIn, Narrowed, Opened};
use fireaxe_protocol::certificate::{self, Expected, Subject, Within};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Checkpoint, Hash, NoteKey, Receipt, receipt};
use fireaxe_protocol::names::{EmergencyId, Origin, PersonName};
use fireaxe_protocol::policy::Terms;
use fireaxe_protocol::statement::{Envelope, Header, Kind, Login, Nonce, Statement};
use fireaxe_transport::{Ca, Events, Pin, Reading, Timeouts, TransportError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Deadline};
use crate::config::Config;
use crate::control::client::Control;
use crate::control::{Narrow, Pinned, ReadRequest, Reader};
use crate::failure::Failure;
use crate::heads::{Heads, Looked};
use crate::places::{self, Places};
use crate::randomness;
use crate::screen::Screen;
use crate::signing::Signer;

/// The CA's keys as first seen over the pinned connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    schema: String,
    /// The pin under which they were seen; another pin is another CA.
    pin: Pin,
    /// The log's name.
    pub(crate) origin: Origin,
    /// Signs user certificates.
    pub(crate) user_ca: Ed25519Key,
    /// Signs checkpoints; a C2SP verifier key.
    pub(crate) log: String,
    /// Signs host certificates. One that was remembered before it was asked for is learnt with the next verb.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) host_ca: Option<Ed25519Key>,
}

/// The log's key as this client first saw it, whatever the configuration says by now.
pub(crate) fn remembered_log_key(places: &Places) -> Option<NoteKey> {
    let text = std::fs::read_to_string(places.known_ca()).ok()?;
    let known: Known = serde_json::from_str(&text).ok()?;
    known.log.parse().ok().filter(|_| known.schema == SCHEMA)
}

/// A certificate and what it must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agreed<'a> {
    /// Its emergency.
    pub(crate) emergency: EmergencyId,
    /// Leaf of the entry whose decision it embodies.
    pub(crate) of: Hash,
    /// The terms that were shown.
    pub(crate) terms: &'a Terms,
    /// One line of OpenSSH text.
    pub(crate) certificate: &'a str,
    /// The key that was sent.
    pub(crate) public_key: Ed25519Key,
    /// Of one for a host: the certificate that is held and that it must be made of.
    pub(crate) within: Option<Within>,
}

/// The CA, the person who uses it, and how they sign.
#[derive(Debug)]
pub(crate) struct Authority<'a> {
    ca: Ca,
    pin: Pin,
    places: &'a Places,
    config: &'a Config,
    screen: Screen,
    known: OnceCell<Known>,
    /// The newest head that an answer carried and that was not looked at yet.
    shown: RefCell<Option<(u64, String)>>,
}

impl<'a> Authority<'a> {
    /// Prepares to talk; connects only when something is asked.
    pub(crate) fn new(
        places: &'a Places,
        config: &'a Config,
        screen: Screen,
        timeouts: Timeouts,
    ) -> Result<Authority<'a>, Failure> {
        let pin = config.pin()?;
        let ca = Ca::new(config.addr()?, pin, timeouts)?;
        Ok(Authority { ca, pin, places, config, screen, known: OnceCell::new(), shown: RefCell::default() })
    }

    /// Who this client is.
    pub(crate) fn person(&self) -> Result<&PersonName, Failure> {
        Ok(self.config.person()?)
    }

    /// The remembered keys, without asking anybody.
    pub(crate) fn remembered(&self) -> Option<Known> {
        let text = std::fs::read_to_string(self.places.known_ca()).ok()?;
        let known: Known = serde_json::from_str(&text).ok()?;
        (known.pin == self.pin && known.schema == SCHEMA).then_some(known)
    }

    /// The CA's keys: remembered, or asked for and remembered.
    pub(crate) fn known(&self) -> Result<&Known, Failure> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let known = match self.remembered() {
            Some(known) if known.host_ca.is_some() => known,
            Some(known) => self.with_host_ca(known)?,
            None => {
                let keys = self.keys()?;
                let known = Known {
                    schema: SCHEMA.to_owned(),
                    pin: self.pin,
                    origin: keys.origin,
                    user_ca: keys.user_ca,
                    log: keys.log,
                    host_ca: Some(keys.host_ca),
                };
                known.log.parse::<NoteKey>().map_err(Failure::LogKey)?;
                self.remember(&known)?;
                known
            }
        };
        Ok(self.known.get_or_init(|| known))
    }

    /// The same keys with the host CA's, if the CA can be asked and shows the others as they are remembered.
    fn with_host_ca(&self, known: Known) -> Result<Known, Failure> {
        let Ok(keys) = self.keys() else { return Ok(known) };
        let same = keys.origin == known.origin && keys.user_ca == known.user_ca && keys.log == known.log;
        if !same {
            // Whoever compares them says so.
            return Ok(known);
        }
        let known = Known { host_ca: Some(keys.host_ca), ..known };
        self.remember(&known)?;
        Ok(known)
    }

    /// The key that vouches for hosts.
    pub(crate) fn host_ca(&self) -> Result<Ed25519Key, Failure> {
        let known = self.known()?;
        match known.host_ca {
            Some(host_ca) => Ok(host_ca),
            // Remembered before it was asked for, and the CA was away or showed others since.
            None => {
                let keys = self.keys()?;
                self.compare_keys(&keys)?;
                Ok(keys.host_ca)
            }
        }
    }

    fn remember(&self, known: &Known) -> Result<(), Failure> {
        Ok(places::replace(&self.places.known_ca(), &serde_json::to_string(known).unwrap_or_default())?)
    }

    /// What certificates for single hosts of this emergency will be held against, for the agent.
    pub(crate) fn pinned(&self, of: Hash) -> Result<Option<Pinned>, Failure> {
        let known = self.known()?;
        let (person, user_ca) = (self.person()?.clone(), known.user_ca);
        Ok(known.host_ca.map(|host_ca| Pinned { of, person, user_ca, host_ca }))
    }

    /// Asks for a certificate for one host, with the emergency's own key.
    pub(crate) fn narrowed(&self, control: &mut Control, narrow: &Narrow) -> Result<Narrowed, Failure> {
        let path = format!("/v1/emergencies/{}/certificates/{}", narrow.emergency, narrow.host);
        let proof = self.proof(control, Reader::Emergency(narrow.emergency), "POST", &path)?;
        Ok(self.ca.post(&path, Some(&proof), &())?)
    }

    /// The CA's keys and time as it shows them now.
    pub(crate) fn keys(&self) -> Result<Keys, Failure> {
        Ok(self.ca.get("/v1/keys", None)?)
    }

    /// Whether the keys shown now are the remembered ones.
    pub(crate) fn compare_keys(&self, keys: &Keys) -> Result<(), Failure> {
        let known = self.known()?;
        let differs = |what, remembered: &dyn ToString, found: &dyn ToString| {
            let (remembered, found) = (remembered.to_string(), found.to_string());
            if remembered == found { Ok(()) } else { Err(Failure::KeysChanged { what, remembered, found }) }
        };
        differs("log's name", &known.origin, &keys.origin)?;
        differs("user CA key", &known.user_ca, &keys.user_ca)?;
        differs("log key", &known.log, &keys.log)?;
        known.host_ca.map_or(Ok(()), |host_ca| differs("host CA key", &host_ca, &keys.host_ca))
    }

    /// The common fields of a new statement.
    pub(crate) fn header(&self, kind: Kind) -> Result<Header, Failure> {
        let to = self.known()?.origin.clone();
        Ok(Header { kind, to, nonce: Nonce(randomness::nonce()?), at: clock::now() })
    }

    /// Signs with the person's key; says so first when somebody must touch it.
    pub(crate) fn sign(&self, signer: &Signer, statement: &Statement) -> Result<Envelope, Failure> {
        if signer.is_hardware() && !self.screen.is_json() {
            let purpose = match statement.header().kind {
                Kind::Declare => "declare",
                Kind::Close => "close",
                Kind::Login => "sign in for reading",
                Kind::Second => "sign the claim too",
                Kind::Approve => "approve",
                Kind::Refuse => "refuse",
                Kind::Extend => "ask for more time",
                Kind::Review => "review",
                Kind::Bundle => "put the bundle in force",
                Kind::Enrol => "enrol the host",
                Kind::Report => "report",
            };
            self.screen.say(&format!("  touch your key to {purpose} ..."));
        }
        Ok(signer.sign(statement)?)
    }

    /// The person's key.
    pub(crate) fn signer(&self) -> Result<Signer, Failure> {
        Ok(Signer::open(self.config.key()?)?)
    }

    /// Sends a declaration. One that got no answer is sent again, the same bytes, so that the same
    /// answer comes back; within [`PATIENCE`] in all.
    pub(crate) fn declare(&self, envelope: &Envelope) -> Result<Opened, Failure> {
        self.send("/v1/emergencies", envelope)
    }

    /// Sends a closing, in the same way.
    pub(crate) fn close(&self, emergency: EmergencyId, envelope: &Envelope) -> Result<Closed, Failure> {
        self.send(&format!("/v1/emergencies/{emergency}/closure"), envelope)
    }

    fn send<T: DeserializeOwned>(&self, path: &str, envelope: &Envelope) -> Result<T, Failure> {
        let deadline = Deadline::after(PATIENCE);
        let mut lost = false;
        for pause in PAUSES {
            match self.ca.post(path, None, envelope) {
                Err(error) if error.may_have_arrived() || (lost && error.is_unavailable()) => {
                    lost = true;
                    if deadline.left() <= pause {
                        return Err(error.into());
                    }
                    if !self.screen.is_json() {
                        self.screen.say(&format!("  {error}; sending the same statement again ..."));
                    }
                    std::thread::sleep(pause);
                }
                other => return Ok(other?),
            }
        }
        Ok(self.ca.post(path, None, envelope)?)
    }

    /// Sends any other statement, in the same way.
    pub(crate) fn state<T: DeserializeOwned>(
        &self,
        emergency: EmergencyId,
        what: &str,
        envelope: &Envelope,
    ) -> Result<T, Failure> {
        self.send(&format!("/v1/emergencies/{emergency}/{what}"), envelope)
    }

    /// Checks what came back: the certificate is exactly the terms (any surplus is refused), is signed
    /// by the remembered CA key, and its receipt proves that its entry is in the remembered log and is
    /// about this very decision and these terms.
    pub(crate) fn check(&self, agreed: &Agreed<'_>) -> Result<certificate::Accepted, Failure> {
        let known = self.known()?;
        let expected = Expected {
            public_key: agreed.public_key,
            terms: agreed.terms,
            ca_key: known.user_ca,
            subject: Subject::Person(agreed.emergency, self.person()?),
            within: agreed.within,
            now: clock::now(),
        };
        let accepted = certificate::compare(agreed.certificate, &expected).map_err(Failure::Differs)?;
        let key: NoteKey = known.log.parse().map_err(Failure::LogKey)?;
        let (body, proof) = (accepted.body.as_bytes(), accepted.receipt.as_bytes());
        let proved =
            receipt::check(body, accepted.serial, proof, &key, &known.origin).map_err(Failure::Receipt)?;
        if proved.of != agreed.of || proved.terms != agreed.terms.hash() {
            return Err(Failure::OtherEntry);
        }
        if let Ok(receipt) = Receipt::decode(proof) {
            self.shows(proved.checkpoint.size, receipt.checkpoint);
        }
        Ok(accepted)
    }

    fn shows(&self, size: u64, note: String) {
        let mut shown = self.shown.borrow_mut();
        if shown.as_ref().is_none_or(|(before, _)| *before < size) {
            *shown = Some((size, note));
        }
    }

    /// Holds the newest head that an answer carried against the newest that this client has seen. For after what
    /// was given is held: it stands in the way of nothing, takes [`LOOK_BACK`] at most, and what cannot be told
    /// now is told by the next. A fork is said, and both notes are kept; access goes on (docs/decisions/0020).
    pub(crate) fn look_back(&self) -> Option<String> {
        let heads = self.heads().ok()?;
        let deadline = Deadline::after(LOOK_BACK);
        let ask = |from, to| {
            let whole = deadline.left().max(Duration::from_millis(1));
            let timeouts =
                Timeouts { connect: whole.min(Duration::from_secs(1)), whole, ..Timeouts::default() };
            let ca = Ca::new(self.ca.address().clone(), self.pin, timeouts)?;
            let path = format!("/log/consistency?from={from}&to={to}");
            ca.get::<Consistency>(&path, None).map(|answer| answer.proof)
        };
        let shown = self.shown.borrow_mut().take().map(|(_, note)| note);
        let mut said = None;
        for note in heads.left().into_iter().chain(shown) {
            // What cannot be kept is no reason to disturb somebody who has an emergency.
            if let Ok(Looked::Forked(found)) = heads.look(&note, ask) {
                said = Some(found);
            }
        }
        said
    }

    /// Leaves the newest head that an answer carried to the next [`Authority::look_back`], of whatever process.
    pub(crate) fn look_back_later(&self) {
        if let (Some((_, note)), Ok(heads)) = (self.shown.borrow_mut().take(), self.heads()) {
            heads.leave(&note);
        }
    }

    /// [`Authority::look_back`], said loudly.
    pub(crate) fn look_back_aloud(&self) {
        if let Some(said) = self.look_back() {
            self.screen.headline(&format!("WARNING: {said}"));
            self.screen.say("  what you hold goes on working.   next: tell security; fireaxe doctor");
        }
    }

    /// What this client remembers of the log.
    pub(crate) fn heads(&self) -> Result<Heads, Failure> {
        let known = self.known()?;
        let key = known.log.parse().map_err(Failure::LogKey)?;
        Ok(Heads::of(self.places, key, known.origin.clone()))
    }

    /// The log's newest head as its signed note, and its key.
    pub(crate) fn head(&self) -> Result<(NoteKey, String), Failure> {
        let known = self.known()?;
        let key: NoteKey = known.log.parse().map_err(Failure::LogKey)?;
        let bytes = self.ca.get_bytes("/log/checkpoint", None, limits::NOTE as u64)?;
        let note = String::from_utf8(bytes).map_err(|_| Failure::Answer("its head is no text"))?;
        let head = Checkpoint::open(&note, &key, &known.origin)
            .map_err(|_| Failure::Answer("its head is not signed by its log"))?;
        self.shows(head.size, note.clone());
        Ok((key, note))
    }

    /// Bytes that everybody may read, at most `limit` of them.
    pub(crate) fn open_bytes(&self, path: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        Ok(self.ca.get_bytes(path, None, limit)?)
    }

    /// Bytes, read as the person.
    pub(crate) fn bytes(&self, control: &mut Control, path: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        self.as_person(control, "GET", path, |proof| self.ca.get_bytes(path, Some(proof), limit))
    }

    /// The same, as they come.
    pub(crate) fn reading(&self, control: &mut Control, path: &str) -> Result<Reading, Failure> {
        self.as_person(control, "GET", path, |proof| self.ca.read(path, Some(proof)))
    }

    /// Follows an emergency with its own key: an event whenever the log has something new about it.
    pub(crate) fn events(&self, control: &mut Control, emergency: EmergencyId) -> Result<Events, Failure> {
        let path = format!("/v1/emergencies/{emergency}/events");
        let proof = self.proof(control, Reader::Emergency(emergency), "GET", &path)?;
        Ok(self.ca.events(&path, Some(&proof))?)
    }

    /// Reads with the key of an emergency, which reads that emergency; asks nobody to sign anything.
    pub(crate) fn get_as_emergency<T: DeserializeOwned>(
        &self,
        control: &mut Control,
        emergency: EmergencyId,
        path: &str,
    ) -> Result<T, Failure> {
        let proof = self.proof(control, Reader::Emergency(emergency), "GET", path)?;
        Ok(self.ca.get(path, Some(&proof))?)
    }

    /// Reads as the person: signs in when there is no session, and once more when the CA does not take
    /// it any longer.
    pub(crate) fn get<T: DeserializeOwned>(&self, control: &mut Control, path: &str) -> Result<T, Failure> {
        self.as_person(control, "GET", path, |proof| self.ca.get(path, Some(proof)))
    }

    /// The same, unless somebody would have to touch a key for it or type a passphrase: then `None`.
    pub(crate) fn get_quietly<T: DeserializeOwned>(
        &self,
        control: &mut Control,
        path: &str,
    ) -> Result<Option<T>, Failure> {
        let alive = control.session(self.person()?, false)?.until.is_some();
        if !alive && self.signer()?.may_ask() {
            return Ok(None);
        }
        match self.get(control, path) {
            // The session has ended at the CA, or the key file has a passphrase after all.
            Err(Failure::Signing(_)) => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// The same for a question with a body.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        control: &mut Control,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.as_person(control, "POST", path, |proof| self.ca.post(path, Some(proof), body))
    }

    fn as_person<T>(
        &self,
        control: &mut Control,
        method: &str,
        path: &str,
        ask: impl Fn(&str) -> Result<T, TransportError>,
    ) -> Result<T, Failure> {
        let fresh = self.sign_in(control, false)?;
        let proof = self.proof(control, Reader::Session, method, path)?;
        match ask(&proof) {
            Err(TransportError::Problem(problem)) if problem.status == 401 && !fresh => {
                self.sign_in(control, true)?;
                let proof = self.proof(control, Reader::Session, method, path)?;
                Ok(ask(&proof)?)
            }
            other => Ok(other?),
        }
    }

    /// Hands reading to a session key born in the agent, unless one is alive. Whether it had to.
    fn sign_in(&self, control: &mut Control, renew: bool) -> Result<bool, Failure> {
        let session = control.session(self.person()?, renew)?;
        if session.until.is_some() {
            return Ok(false);
        }
        let header = self.header(Kind::Login)?;
        let for_s = u32::try_from(limits::LOGIN_MAX_S).unwrap_or(u32::MAX);
        let statement = Statement::Login(Login { header, session_key: session.public_key, for_s });
        let envelope = self.sign(&self.signer()?, &statement)?;
        let answer: LoggedIn = self.send("/v1/sessions", &envelope)?;
        control.logged_in(session.public_key, answer.until)?;
        Ok(true)
    }

    fn proof(
        &self,
        control: &mut Control,
        reader: Reader,
        method: &str,
        path: &str,
    ) -> Result<String, Failure> {
        let origin = self.known()?.origin.clone();
        let read = ReadRequest { reader, origin, method: method.to_owned(), path: path.to_owned() };
        Ok(control.read_proof(read)?.header())
    }
}

const SCHEMA: &str = "fireaxe.known_ca/v1";
/// How long the proof between two heads may take, connection included.
const LOOK_BACK: Duration = Duration::from_secs(3);
/// How long a statement without an answer is sent again, in all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between one try and the next.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
