//! Whether a certificate may open an account of this host: pure, shared by `principals`, by the PAM hook and
//! by the daemon, so that all three say the same of the same bytes.
//!
//! sshd has checked, or will, what it can: possession, the signature, the list of revoked serials, the
//! account's principals. Here is what it cannot: that the certificate is in the log, that the list it was
//! checked against is as fresh as its terms ask, and that a recorded tier forces the recorder. What sshd
//! checks too is checked once more where it costs nothing, so that this room stands without it.

use fireaxe_protocol::certificate::{Cut, Fields, HostTerms, RECEIPT, TERMS, Within, cut_receipt};
use fireaxe_protocol::host::SessionCommand;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::receipt;
use fireaxe_protocol::names::{AccountName, EmergencyId, PersonName, Principal};
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::reason::Reason;
use thiserror::Error;

use super::witnesses::Witnesses;
use crate::config::Config;

/// What this host knows and trusts.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The configuration, with what enrolment wrote.
    pub config: &'a Config,
    /// Keys that may sign user certificates.
    pub user_ca: &'a [Ed25519Key],
    /// Whose cosignatures a certificate's proof must carry.
    pub witnesses: &'a Witnesses,
    /// The revocation list that sshd reads; nothing: there is none, or it is not the one that was confirmed.
    pub list: Option<ListAge>,
    /// Unix seconds, this host's clock.
    pub now: u64,
}

/// The revocation list in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListAge {
    /// Its version.
    pub version: u64,
    /// When the CA last signed that it is the newest, unix seconds, the CA's clock.
    pub signed_at: u64,
}

/// A certificate that may open the account it was judged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its serial.
    pub serial: u64,
    /// Who signed it.
    pub ca_key: Ed25519Key,
    /// The key it certifies.
    pub public_key: Ed25519Key,
    /// Its emergency; a self-test has none.
    pub emergency: Option<EmergencyId>,
    /// Its holder; a self-test has none.
    pub person: Option<PersonName>,
    /// What a host must know of its terms.
    pub terms: HostTerms,
    /// What it forces; nothing: a shell, or whatever the client asks.
    pub force_command: Option<String>,
    /// When it ends, unix seconds.
    pub valid_before: u64,
    /// Its principals that open the account here, from this host's own configuration: what sshd is told.
    pub principals: Vec<Principal>,
}

/// Why a certificate does not open the account. Facts are numbers and fixed words: nothing of a certificate's
/// text gets out of here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not one of our certificates: cannot be read as one, or another CA's.
    #[error("it is not a certificate of a CA that this host trusts")]
    NotOurs,
    /// The host never joined, so it knows no log.
    #[error("this host is not enrolled: it cannot check what a certificate proves")]
    NotEnrolled,
    /// The CA key that it names did not sign it.
    #[error("it is not signed by the CA key that it names")]
    Signature,
    /// A host's certificate.
    #[error("it is not a user certificate")]
    Kind,
    /// No certificate has this serial.
    #[error("serial {0} is never issued")]
    Serial(u64),
    /// Its time has not come.
    #[error("it begins in {0} s, or this host's clock is behind")]
    NotYet(u64),
    /// Its time is over.
    #[error("it ended {0} s ago, or this host's clock is ahead")]
    Expired(u64),
    /// It is not proved to be in the log.
    #[error("it is not proved to be in the log: {0}")]
    Receipt(String),
    /// Too few witnesses have seen the head that proves it, or nobody can tell which are asked for.
    #[error("this host asks for witnesses of the log: {0}")]
    Witnesses(String),
    /// No terms, or not as they are written.
    #[error("its terms cannot be read")]
    Terms,
    /// A recorded tier that would run something else than the recorder.
    #[error("it asks to be recorded and does not force the recorder")]
    Recorder,
    /// It opens other accounts, or other hosts.
    #[error("it does not open this account on this host")]
    Account,
    /// Its tier asks how old the list is, and nobody knows.
    #[error(
        "its tier wants a revocation list of at most {most} s, and there is none whose age is known: \
         fireaxe-host krl"
    )]
    NoList {
        /// What the terms allow, seconds.
        most: u32,
    },
    /// The list is older than its tier allows.
    #[error(
        "its tier wants a revocation list of at most {most} s; version {version} is {age} s old: \
         fireaxe-host krl"
    )]
    StaleList {
        /// The list's version.
        version: u64,
        /// How old it is, seconds.
        age: u64,
        /// What the terms allow, seconds.
        most: u32,
    },
}

impl Refusal {
    /// Stable, for the journal and the CA.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NotOurs => "login.not_ours",
            Refusal::NotEnrolled => "login.not_enrolled",
            Refusal::Signature => "login.signature",
            Refusal::Kind => "login.kind",
            Refusal::Serial(_) => "login.serial",
            Refusal::NotYet(_) => "login.not_yet",
            Refusal::Expired(_) => "login.expired",
            Refusal::Receipt(_) => "login.receipt",
            Refusal::Witnesses(_) => "login.witnesses",
            Refusal::Terms => "login.terms",
            Refusal::Recorder => "login.recorder",
            Refusal::Account => "login.account",
            Refusal::NoList { .. } => "login.no_list",
            Refusal::StaleList { .. } => "login.stale_list",
        }
    }
}

/// All refusals as one reason: the first one's code, all of their sentences.
pub fn reason(refusals: &[Refusal]) -> Reason {
    let code = refusals.first().map_or("login.refused", Refusal::code);
    Reason::new(code, refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Whether these bytes say they are of a CA that this host trusts. Proves nothing; says who is concerned.
pub fn is_ours(certificate: &[u8], user_ca: &[Ed25519Key]) -> bool {
    Fields::of_signed(certificate).is_ok_and(|(fields, _)| user_ca.contains(&fields.ca_key))
}

/// The serial that a certificate's bytes say, for the journal.
pub fn serial(certificate: &[u8]) -> Option<u64> {
    Fields::of_signed(certificate).ok().map(|(fields, _)| fields.serial)
}

/// What a certificate asks of recording, believed without any check: for a hook that cannot tell more and
/// must refuse rather than admit. `None`: it is not a certificate as our CAs make them.
pub fn claimed_record(certificate: &[u8]) -> Option<Record> {
    let (fields, _) = Fields::of_signed(certificate).ok()?;
    let terms = fields.extension(TERMS)?;
    // Terms that cannot be read are refused wherever they are judged: the stricter answer.
    Some(terms.value.and_then(HostTerms::from_json).map_or(Record::Required, |terms| terms.record))
}

/// Judges a certificate's bytes for a login to `account`. All reasons that can be known are given; one that
/// hides the rest stands alone.
///
/// How old the list is counts by the later of two clocks: this host's, and the CA's at the certificate's own
/// entry, which is proved by its receipt. A host whose clock is behind cannot call a list fresh that was
/// signed long before the certificate; one whose clock is ahead refuses too early, never too late.
pub fn judge(certificate: &[u8], account: &AccountName, here: &Here<'_>) -> Result<Admitted, Vec<Refusal>> {
    // Step 1: bytes of a CA that is trusted here, and signed by it. Nothing else counts before that.
    let (fields, signature) = Fields::of_signed(certificate).map_err(|_| vec![Refusal::NotOurs])?;
    if !here.user_ca.contains(&fields.ca_key) {
        return Err(vec![Refusal::NotOurs]);
    }
    let enrolled = here.config.enrolled.as_ref().ok_or_else(|| vec![Refusal::NotEnrolled])?;
    if !is_signed(certificate, &fields, &signature) {
        return Err(vec![Refusal::Signature]);
    }

    // Step 2: what it is.
    let mut refusals = Vec::new();
    if fields.kind != USER {
        refusals.push(Refusal::Kind);
    }
    if fields.serial == 0 || fields.serial >= limits::CANARY_SERIAL {
        refusals.push(Refusal::Serial(fields.serial));
    }
    if here.now < fields.valid_after {
        refusals.push(Refusal::NotYet(fields.valid_after - here.now));
    }
    if here.now >= fields.valid_before {
        refusals.push(Refusal::Expired(here.now - fields.valid_before));
    }

    // Step 3: that the log has it, and that enough witnesses have seen that log.
    let proved = cut_receipt(certificate)
        .map_err(|_| Refusal::Receipt(format!("it carries no {RECEIPT} that can be read")))
        .and_then(|Cut { body, receipt }| {
            receipt::check(
                body.as_bytes(),
                fields.serial,
                receipt.as_bytes(),
                &enrolled.log_key,
                &here.config.origin,
            )
            .map(|proved| (proved.at, witnessed(receipt.as_bytes(), here.witnesses)))
            .map_err(|error| Refusal::Receipt(error.to_string()))
        });
    let issued_at = match proved {
        Ok((at, witnessed)) => {
            refusals.extend(witnessed.err());
            at
        }
        Err(refusal) => {
            refusals.push(refusal);
            0
        }
    };

    // Step 4: what its terms ask of this host.
    let terms = fields.extension(TERMS).and_then(|pair| pair.value).and_then(HostTerms::from_json);
    match &terms {
        None => refusals.push(Refusal::Terms),
        Some(terms) => {
            let recorder = forced(&fields).and_then(SessionCommand::read);
            if terms.record != Record::None && recorder.is_none() {
                refusals.push(Refusal::Recorder);
            }
            refusals.extend(stale(terms, here, issued_at));
        }
    }

    // Step 5: which principals of ours it has for this account.
    let ours = [Principal::of_system(account, &enrolled.system), Principal::of_host(account, &enrolled.host)];
    let has = |principal: &Principal| {
        let text = principal.to_string();
        fields.principals.contains(&text.as_str())
    };
    let principals: Vec<Principal> = ours.into_iter().filter(has).collect();
    if principals.is_empty() {
        refusals.push(Refusal::Account);
    }

    match terms {
        Some(terms) if refusals.is_empty() => Ok(Admitted { principals, ..said(&fields, terms) }),
        _ => Err(refusals),
    }
}

/// What a certificate's bytes say, believed without any check: to tell what came in with it and may not stay.
/// It has no principals, and opens nothing. `None`: it is not a certificate as our CAs make them.
pub fn claimed(certificate: &[u8]) -> Option<Admitted> {
    let (fields, _) = Fields::of_signed(certificate).ok()?;
    let terms = HostTerms::from_json(fields.extension(TERMS)?.value?)?;
    Some(said(&fields, terms))
}

fn said(fields: &Fields<'_>, terms: HostTerms) -> Admitted {
    let (emergency, person) = key_id_parts(fields.key_id, fields.serial).unzip();
    Admitted {
        serial: fields.serial,
        ca_key: fields.ca_key,
        public_key: fields.public_key,
        emergency,
        person,
        terms,
        force_command: forced(fields).map(str::to_owned),
        valid_before: fields.valid_before,
        principals: Vec::new(),
    }
}

/// What it forces.
fn forced<'a>(fields: &Fields<'a>) -> Option<&'a str> {
    fields.critical_options.iter().find(|option| option.name == "force-command")?.value
}

impl Admitted {
    /// How long what came in with it may go on, unix seconds: its own end, or that of the certificate it was
    /// made of.
    pub fn until(&self) -> u64 {
        self.terms.within.map_or(self.valid_before, |within| within.until)
    }

    /// The serials whose revocation ends what came in with it.
    pub fn serials(&self) -> Vec<u64> {
        std::iter::once(self.serial).chain(self.terms.within.map(|Within { serial, .. }| serial)).collect()
    }
}

/// Everything before the signature is signed; the signature is the last string of the bytes.
fn is_signed(certificate: &[u8], fields: &Fields<'_>, signature: &[u8; 64]) -> bool {
    let signed = certificate.len().checked_sub(SIGNATURE).and_then(|end| certificate.get(..end));
    let key = fields.ca_key.verifying();
    let (Some(signed), Some(key)) = (signed, key) else { return false };
    key.verify_strict(signed, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
}

/// Of a receipt that holds.
fn witnessed(receipt: &[u8], asked: &Witnesses) -> Result<(), Refusal> {
    match asked {
        Witnesses::NotAsked => Ok(()),
        Witnesses::Policy(policy) => match receipt::check_witnesses(receipt, policy) {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::Witnesses(error.to_string())),
        },
        Witnesses::Unreadable(why) => Err(Refusal::Witnesses(why.clone())),
    }
}

fn stale(terms: &HostTerms, here: &Here<'_>, issued_at: u64) -> Option<Refusal> {
    let most = terms.krl_max_age_s?;
    let Some(list) = here.list else { return Some(Refusal::NoList { most }) };
    let age = here.now.max(issued_at).saturating_sub(list.signed_at);
    (age > u64::from(most)).then_some(Refusal::StaleList { version: list.version, age, most })
}

/// `fireaxe/EM-42/ana/1234`; anything else names no emergency.
fn key_id_parts(key_id: &str, serial: u64) -> Option<(EmergencyId, PersonName)> {
    let mut parts = key_id.strip_prefix("fireaxe/")?.split('/');
    let (emergency, person, last) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && last.parse() == Ok(serial) && emergency.starts_with("EM-");
    whole.then(|| Some((emergency.parse().ok()?, person.parse().ok()?))).flatten()
}

/// SSH2_CERT_TYPE_USER.
const USER: u32 = 1;
/// `string` of `string "ssh-ed25519"` and `string` of 64 bytes: what ends every certificate that was read.
const SIGNATURE: usize = 4 + 4 + 11 + 4 + 64;

#[cfg(test)]
pub(crate) mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use fireaxe_protocol::certificate::{Body, Issue, Profile, Subject, assemble};
    use fireaxe_protocol::log::{
        Checkpoint, Cosigner, Event, Hash, KrlNote, NoteSigner, Receipt, WitnessPolicy, encode_entry, line1,
        tree,
    };
    use fireaxe_protocol::names::Origin;
    use fireaxe_protocol::policy::{Presence, Terms};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Enrolled;

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn origin() -> Origin {
        "ca.fireaxe.test/0123456789abcdef".parse().unwrap()
    }

    fn log() -> NoteSigner {
        NoteSigner::new(origin().as_str(), key(3)).unwrap()
    }

    pub(crate) fn config() -> Config {
        Config {
            addr: "https://127.0.0.1:8443".parse().unwrap(),
            pin: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            krl_key: NoteSigner::new(&KrlNote::key_name(&origin()), key(4)).unwrap().key().clone(),
            origin: origin(),
            user_ca: "/nowhere".into(),
            revoked_keys: "/nowhere".into(),
            state: "/nowhere".into(),
            enrolled: Some(Enrolled {
                host: "db-3.payments.prod".parse().unwrap(),
                system: "payments-db".parse().unwrap(),
                log_key: log().key().clone(),
                host_ca: Ed25519Key::from(&key(5)),
                host_key: "/nowhere".into(),
                witness_policy: None,
                auditors: None,
            }),
        }
    }

    fn terms() -> Terms {
        Terms {
            tier: "fix".parse().unwrap(),
            power: 2,
            account: "ops".parse().unwrap(),
            principals: vec!["ops:payments-db".parse().unwrap()],
            force_command: None,
            extensions: Vec::new(),
            source_address: Vec::new(),
            lifetime_s: 1800,
            approvals: Vec::new(),
            presence: Presence::None,
            record: Record::None,
            krl_max_age_s: Some(600),
            grace_s: 60,
            action: None,
        }
    }

    /// A certificate as the CA issues it, of the log's entry 2 of 3, with what `change` makes of its parts.
    pub(crate) struct Made {
        terms: Terms,
        ca: SigningKey,
        log: NoteSigner,
        at: u64,
        witnesses: Vec<u8>,
        /// Changes the signed bytes before they are signed.
        bytes: fn(Vec<u8>) -> Vec<u8>,
    }

    impl Made {
        pub(crate) fn good() -> Made {
            Made {
                terms: terms(),
                ca: key(1),
                log: log(),
                at: NOW,
                witnesses: Vec::new(),
                bytes: |bytes| bytes,
            }
        }

        pub(crate) fn certificate(&self) -> Vec<u8> {
            let issue = Issue {
                nonce: [9; 32],
                public_key: Ed25519Key::from(&key(2)),
                serial: 2,
                subject: Subject::Person(EmergencyId(42), &"ana".parse().unwrap()),
                at: self.at,
                grant_end: self.at + 1800,
                within: None,
                ca_key: Ed25519Key::from(&self.ca),
            };
            let body = Body::of(&Profile::from_terms(&self.terms, &issue).unwrap());
            let signed = (self.bytes)(body.with_receipt(&self.receipt(&body)));
            assemble(signed.clone(), &self.ca.sign(&signed).to_bytes())
        }

        fn receipt(&self, body: &Body) -> String {
            let event = Event::CertificateIssued { of: Hash([1; 32]), terms: Hash([2; 32]) };
            let entry = encode_entry(2, self.at, &event, Some(body.as_bytes())).unwrap();
            let (left, leaf) = (Hash([7; 32]), tree::leaf_hash(&entry));
            // A tree of three leaves: the third beside the node over the first two.
            let root = tree::node_hash(&left, &leaf);
            let head = Checkpoint { origin: origin(), size: 3, root };
            let mut checkpoint = head.sign(&self.log).unwrap();
            for n in &self.witnesses {
                let witness = Cosigner::new(&format!("witness.example/w{n}"), key(20 + n)).unwrap();
                checkpoint.push_str(&witness.cosign(&head.text(), self.at));
            }
            let receipt = Receipt { line1: line1(&entry).to_vec(), index: 2, hashes: vec![left], checkpoint };
            String::from_utf8(receipt.encode()).unwrap()
        }
    }

    fn judged_at(
        certificate: &[u8],
        account: &str,
        now: u64,
        list: Option<ListAge>,
    ) -> Result<Admitted, Vec<Refusal>> {
        let user_ca = [Ed25519Key::from(&key(1)), Ed25519Key::from(&key(11))];
        judge(
            certificate,
            &account.parse().unwrap(),
            &Here { config: &config(), user_ca: &user_ca, witnesses: &Witnesses::NotAsked, list, now },
        )
    }

    fn judged(certificate: &[u8]) -> Result<Admitted, Vec<Refusal>> {
        judged_at(certificate, "ops", NOW + 10, Some(ListAge { version: 7, signed_at: NOW }))
    }

    fn code(judged: Result<Admitted, Vec<Refusal>>) -> Vec<&'static str> {
        judged.unwrap_err().iter().map(Refusal::code).collect()
    }

    #[test]
    fn a_certificate_of_the_log_opens_its_account_and_prints_our_own_words() {
        let admitted = judged(&Made::good().certificate()).unwrap();
        assert_eq!((admitted.serial, admitted.valid_before, admitted.until()), (2, NOW + 1800, NOW + 1800));
        assert_eq!((admitted.emergency, admitted.person.unwrap().as_str()), (Some(EmergencyId(42)), "ana"));
        let printed: Vec<String> = admitted.principals.iter().map(ToString::to_string).collect();
        assert_eq!(printed, ["ops:payments-db"]);
        // Only the principal that the certificate has, although this host has two for the account.
        let host = Terms { principals: vec!["ops:db-3.payments.prod".parse().unwrap()], ..terms() };
        let admitted = judged(&Made { terms: host, ..Made::good() }.certificate()).unwrap();
        assert_eq!(admitted.principals, ["ops:db-3.payments.prod".parse().unwrap()]);
    }

    fn asking(witnesses: &Witnesses, certificate: &[u8]) -> Result<Admitted, Vec<Refusal>> {
        let user_ca = [Ed25519Key::from(&key(1))];
        let list = Some(ListAge { version: 7, signed_at: NOW });
        let here = Here { config: &config(), user_ca: &user_ca, witnesses, list, now: NOW + 10 };
        judge(certificate, &"ops".parse().unwrap(), &here)
    }

    #[test]
    fn a_host_that_asks_for_witnesses_admits_what_enough_of_them_have_seen() {
        let witness = |n: u8| Cosigner::new(&format!("witness.example/w{n}"), key(20 + n)).unwrap();
        let keys: String = (1..=3).map(|n| format!("witness w{n} {}\n", witness(n).key())).collect();
        let text = format!("{keys}group two 2 w1 w2 w3\nquorum two\n");
        let policy = WitnessPolicy::parse(text.as_bytes(), log().key()).unwrap();
        let asked = Witnesses::Policy(Box::new(policy));
        let seen = |by: &[u8]| Made { witnesses: by.to_vec(), ..Made::good() }.certificate();
        assert!(asking(&asked, &seen(&[1, 3])).is_ok());
        assert!(asking(&asked, &seen(&[1, 2, 3])).is_ok());
        for few in [&[][..], &[2], &[2, 9]] {
            assert_eq!(code(asking(&asked, &seen(few))), ["login.witnesses"], "{few:?}");
        }
        // Who does not ask does not mind.
        assert!(asking(&Witnesses::NotAsked, &seen(&[])).is_ok());
        assert!(asking(&Witnesses::NotAsked, &seen(&[1])).is_ok());
        // A file that is gone or damaged asks for more than anybody has.
        let gone = Witnesses::Unreadable("/etc/fireaxe/witness-policy: gone".into());
        assert_eq!(code(asking(&gone, &seen(&[1, 2, 3]))), ["login.witnesses"]);
        // A proof that does not hold is that and no more.
        let other = Made { log: NoteSigner::new(origin().as_str(), key(8)).unwrap(), ..Made::good() };
        assert_eq!(code(asking(&asked, &other.certificate())), ["login.receipt"]);
    }

    #[test]
    fn a_policy_that_is_named_is_read_or_refuses_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness-policy");
        let mut config = config();
        assert_eq!(Witnesses::of(&config), Witnesses::NotAsked);
        config.enrolled.as_mut().unwrap().witness_policy = Some(path.clone());
        let is_unreadable = |config: &Config| matches!(Witnesses::of(config), Witnesses::Unreadable(_));
        assert!(is_unreadable(&config), "missing");
        std::fs::write(&path, "quorum none\n").unwrap();
        assert!(matches!(Witnesses::of(&config), Witnesses::Policy(_)));
        for damaged in ["", "quorum none", "quorum w1\n", "\0\n"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(is_unreadable(&config), "{damaged:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(is_unreadable(&config), "a folder");
    }

    #[test]
    fn another_ca_a_forged_signature_and_another_log_open_nothing() {
        assert_eq!(code(judged(&Made { ca: key(6), ..Made::good() }.certificate())), ["login.not_ours"]);
        let mut forged = Made::good().certificate();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(code(judged(&forged)), ["login.signature"]);
        // A stolen CA key: signed rightly, in no log.
        let thief = NoteSigner::new(origin().as_str(), key(8)).unwrap();
        assert_eq!(code(judged(&Made { log: thief, ..Made::good() }.certificate())), ["login.receipt"]);
        let none: fn(Vec<u8>) -> Vec<u8> = |bytes| {
            let place = bytes.windows(15).position(|w| w == b"receipt@fireaxe").unwrap();
            [&bytes[..place], b"rfceipt@fireaxe", &bytes[place + 15..]].concat()
        };
        assert_eq!(code(judged(&Made { bytes: none, ..Made::good() }.certificate())), ["login.receipt"]);
    }

    #[test]
    fn a_body_that_was_changed_after_it_was_logged_opens_nothing() {
        let certificate = Made::good().certificate();
        let end = certificate.len() - SIGNATURE;
        for place in (0..end).step_by(3) {
            let mut signed = certificate[..end].to_vec();
            signed[place] ^= 1;
            // Signed anew with the CA's own key: what a thief of it would do.
            let changed = assemble(signed.clone(), &key(1).sign(&signed).to_bytes());
            assert!(judged(&changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn it_counts_for_its_account_and_host_and_time_only() {
        let certificate = Made::good().certificate();
        let list = Some(ListAge { version: 7, signed_at: NOW });
        let at = |now| judged_at(&certificate, "ops", now, Some(ListAge { version: 7, signed_at: now }));
        assert_eq!(code(judged_at(&certificate, "root", NOW, list)), ["login.account"]);
        assert!(at(NOW - 120).is_ok() && at(NOW + 1799).is_ok());
        assert_eq!(code(at(NOW - 121)), ["login.not_yet"]);
        assert_eq!(code(at(NOW + 1800)), ["login.expired"]);
        let other = Terms { principals: vec!["ops:web".parse().unwrap()], ..terms() };
        assert_eq!(code(judged(&Made { terms: other, ..Made::good() }.certificate())), ["login.account"]);
    }

    #[test]
    fn the_list_must_be_as_fresh_as_the_terms_ask_by_the_later_of_two_clocks() {
        let certificate = Made::good().certificate();
        let with =
            |now, signed_at| judged_at(&certificate, "ops", now, Some(ListAge { version: 7, signed_at }));
        assert!(with(NOW, NOW - 600).is_ok());
        assert_eq!(code(with(NOW, NOW - 601)), ["login.stale_list"]);
        // This host's clock is two minutes behind: the certificate proves that the CA's is not.
        assert_eq!(code(with(NOW - 120, NOW - 601)), ["login.stale_list"]);
        assert!(with(NOW - 120, NOW - 600).is_ok());
        // The list was signed after the certificate was issued.
        assert!(with(NOW, NOW + 30).is_ok());
        assert_eq!(code(judged_at(&certificate, "ops", NOW, None)), ["login.no_list"]);
        let careless = Terms { krl_max_age_s: None, ..terms() };
        let certificate = Made { terms: careless, ..Made::good() }.certificate();
        assert!(judged_at(&certificate, "ops", NOW, None).is_ok());
    }

    #[test]
    fn a_recorded_tier_must_force_the_recorder() {
        let recorded = Terms { record: Record::Required, ..terms() };
        let good = Made { terms: recorded.clone(), ..Made::good() }.certificate();
        assert_eq!(
            judged(&good).unwrap().force_command.as_deref(),
            Some("/usr/libexec/fireaxe/session shell")
        );
        // The same words in the terms of a certificate that forces nothing: a CA that was made to lie.
        let mut profile = Made { terms: recorded, ..Made::good() };
        profile.bytes = |bytes| {
            let place = bytes.windows(5).position(|w| w == b"shell").unwrap();
            [&bytes[..place], b"shelf", &bytes[place + 5..]].concat()
        };
        let refusals = code(judged(&profile.certificate()));
        assert!(refusals.contains(&"login.recorder"), "{refusals:?}");
    }

    #[test]
    fn all_reasons_are_given_and_none_repeats_the_certificates_text() {
        let recorded = Terms { record: Record::Required, ..terms() };
        let mut made = Made { terms: recorded, ..Made::good() };
        made.bytes = |bytes| {
            let place = bytes.windows(5).position(|w| w == b"shell").unwrap();
            [&bytes[..place], b"SPOOF", &bytes[place + 5..]].concat()
        };
        let list = Some(ListAge { version: 7, signed_at: 0 });
        let refusals = judged_at(&made.certificate(), "root", NOW + 9000, list).unwrap_err();
        let reason = reason(&refusals);
        assert_eq!(reason.code, "login.expired");
        for part in ["ended 7200 s ago", "not proved", "force the recorder", "version 7 is", "this account"] {
            assert!(reason.sentence.contains(part), "{}", reason.sentence);
        }
        for secret in ["SPOOF", "ana", "EM-42"] {
            assert!(!reason.sentence.contains(secret), "{}", reason.sentence);
        }
    }

    #[test]
    fn a_host_that_never_joined_admits_nobody() {
        let config = Config { enrolled: None, ..config() };
        let user_ca = [Ed25519Key::from(&key(1))];
        let here = Here {
            config: &config,
            user_ca: &user_ca,
            witnesses: &Witnesses::NotAsked,
            list: None,
            now: NOW,
        };
        let judged = judge(&Made::good().certificate(), &"ops".parse().unwrap(), &here);
        assert_eq!(code(judged), ["login.not_enrolled"]);
    }

    #[test]
    fn what_a_narrow_certificate_was_made_of_decides_how_long_its_sessions_go_on() {
        let mut admitted = judged(&Made::good().certificate()).unwrap();
        admitted.terms.within = Some(Within { serial: 1, until: NOW + 5000 });
        assert_eq!((admitted.until(), admitted.serials()), (NOW + 5000, vec![2, 1]));
    }

    #[test]
    fn key_ids_that_are_not_ours_name_no_emergency() {
        assert!(key_id_parts("fireaxe/EM-42/ana/2", 2).is_some());
        for other in ["fireaxe/EM-42/ana/3", "fireaxe/42/ana/2", "fireaxe/EM-42/ana/2/2", "EM-42/ana/2", ""] {
            assert_eq!(key_id_parts(other, 2), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..600), place in 0usize..2000, byte: u8) {
            let _ = judged(&bytes);
            let mut certificate = Made::good().certificate();
            let place = place % certificate.len();
            certificate[place] = byte;
            let _ = judged(&certificate);
            let _ = judged(&certificate[..place]);
            let _ = (is_ours(&certificate, &[]), claimed_record(&certificate));
        }
    }
}
