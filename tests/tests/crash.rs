//! Power cut at each durable step of issuing: the CA ends itself with SIGKILL at a named point
//! (`docs/ISSUANCE.md`), is started again, and gets the same statement. Never a certificate without its
//! entry, never a second certificate for one statement, always the same bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test; its functions too"
)]

use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::log::{Log, Reader};
use fireaxe_protocol::api::{
    Approved, Closed, Grant, HostCertificate, Join, Joined, Keys, Opened, ReadProof,
};
use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, Event, NoteSigner};
use fireaxe_protocol::statement::{
    Approve, Close, Declare, Enrol, Envelope, Header, Kind, Nonce, Params, Statement, sign_ed25519,
};
use fireaxe_tests::{Ca, World, clock};
use fireaxe_transport::{Ca as Transport, Timeouts};

/// Every point there is in `ca/src/road/`; `all_points_are_tried` holds the two lists together.
const POINTS: [&str; 3] = ["before-commit", "after-commit", "after-sign"];

struct Crashing {
    ca: Ca,
    keys: Keys,
    person: SigningKey,
    /// On call, and takes no part but to approve.
    approver: SigningKey,
    _world: World,
}

impl Crashing {
    fn new() -> Crashing {
        let world = World::new();
        let person = SigningKey::from_bytes(&[9; 32]);
        let public = Ed25519Key(person.verifying_key().to_bytes());
        let ana = world.engineer("ana");
        let groups = ["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"];
        let policy = include_str!("../../policies/default/policy.toml");
        let ben = format!("[person.ben]\ngroups = [\"sre\"]\nkeys = [\"{public} ben\"]\n");
        let approver = SigningKey::from_bytes(&[8; 32]);
        let public = Ed25519Key(approver.verifying_key().to_bytes());
        let fay = format!("[person.fay]\ngroups = [\"payments-oncall\"]\nkeys = [\"{public} fay\"]\n");
        let tail = format!("{ben}{fay}{}", fireaxe_tests::scene::COLLEAGUES);
        let bundle = world.bundle(policy, &[(&ana, &groups)], &tail);
        let mut ca = world.ca(&bundle);
        ca.use_program(&crash_program(&world));
        ca.start();
        let keys = transport(&ca).get("/v1/keys", None).expect("keys");
        Crashing { ca, keys, person, approver, _world: world }
    }

    fn header(&self, kind: Kind, number: u8) -> Header {
        Header { kind, to: self.keys.origin.clone(), nonce: Nonce([number; 16]), at: clock::unix() }
    }

    fn declaration(&self, number: u8) -> Envelope {
        self.declares(number, None)
    }

    /// By severity 2 of their own word, or by an incident's.
    fn declares(&self, number: u8, incident: Option<&str>) -> Envelope {
        let fresh = SigningKey::from_bytes(&[100 + number; 32]);
        let words = Statement::Declare(Declare {
            header: self.header(Kind::Declare, number),
            target: "db-3.payments.prod".parse().expect("target"),
            severity: incident.is_none().then(|| 2.try_into().expect("severity")),
            incident: incident.map(|id| id.parse().expect("incident")),
            reason: "primary refuses writes".parse().expect("reason"),
            want: None,
            action: None,
            params: Params::default(),
            for_s: None,
            drill: false,
            public_key: Ed25519Key(fresh.verifying_key().to_bytes()),
        });
        sign_ed25519(&self.person, Kind::Declare, &words.write())
    }

    fn restart(&mut self, crash_at: &str) {
        self.ca.kill();
        self.ca.set_env("FIREAXE_CRASH_AT", crash_at);
        self.ca.start();
    }

    fn post<T: serde::de::DeserializeOwned>(&self, path: &str, envelope: &Envelope) -> Result<T, String> {
        transport(&self.ca).post(path, None, envelope).map_err(|e| e.to_string())
    }

    /// What a host sends to join with the token that the operator was given for it.
    fn joining(&self, host: &str, key: &SigningKey, number: u8) -> Join {
        let invited = self.ca.cmd(&["host", "invite", host]);
        let token: JoinToken = invited.ok().parse().expect("token");
        let words = Statement::Enrol(Enrol {
            header: self.header(Kind::Enrol, number),
            host: host.parse().expect("host"),
            token: token.hash(),
            public_key: Ed25519Key(key.verifying_key().to_bytes()),
        });
        Join { enrol: sign_ed25519(key, Kind::Enrol, &words.write()), token: token.reveal().to_owned() }
    }

    fn join(&self, join: &Join) -> Result<Joined, String> {
        transport(&self.ca).post("/v1/hosts", None, join).map_err(|e| e.to_string())
    }

    fn renew(&self, host: &str, key: &SigningKey) -> Result<HostCertificate, String> {
        let path = format!("/v1/hosts/{host}/certificate");
        let proof = ReadProof::sign(key, &self.keys.origin, "POST", &path, clock::unix());
        let asked = transport(&self.ca).post(&path, Some(&proof.header()), &serde_json::json!({}));
        asked.map_err(|e| e.to_string())
    }

    /// Indices of the entries that certify this host: the serials of its certificates.
    fn certified(&self, name: &str) -> Vec<u64> {
        let is = |e: &&Entry| matches!(&e.event, Event::HostCertified { host, .. } if host.as_str() == name);
        self.entries().iter().filter(is).map(|entry| entry.index).collect()
    }

    /// Makes everything in the log older, as if the CA had stood still for so long. What refers to a leaf refers
    /// to the one that the entry has then.
    fn passes(&mut self, seconds: u64) {
        self.ca.kill();
        let path = self.ca.data().join("log.sqlite");
        let reader = Reader::open(&path).expect("log");
        let size = reader.size().expect("size");
        let entries: Vec<Vec<u8>> =
            (0..size).map(|index| reader.entry_bytes(index).expect("entry")).collect();
        drop(reader);
        // Another log in its place is fenced, unless it was the first that is known there.
        for name in ["log.sqlite", "log.sqlite-wal", "log.sqlite-shm", "views.sqlite", "log.home"] {
            let _ = std::fs::remove_file(self.ca.data().join(name));
        }
        let key = keys::load(&self.ca.data().join("keys"), Purpose::Log).expect("key");
        let signer = NoteSigner::new(self.keys.origin.as_str(), key).expect("signer");
        let first = Entry::decode(&entries[0]).expect("entry");
        let Event::LogCreated { origin, keys, .. } = first.event else { unreachable!() };
        let mut log = Log::create(&path, origin, keys, first.at - seconds, &signer).expect("log");
        let mut batch = log.batch().expect("batch");
        let mut leaves: Vec<(String, String)> = Vec::new();
        for bytes in &entries[1..] {
            let Entry { at, event, body, .. } = Entry::decode(bytes).expect("entry");
            let mut event = serde_json::to_string(&event).expect("event");
            for (before, now) in &leaves {
                event = event.replace(before, now);
            }
            let event: Event = serde_json::from_str(&event).expect("event");
            let appended = batch.append(at - seconds, &event, body.as_deref(), ()).expect("append");
            leaves.push((leaf_hash(bytes).to_string(), appended.leaf().to_string()));
        }
        let _ = batch.commit(&signer).expect("commit");
    }

    /// All entries, decoded.
    fn entries(&self) -> Vec<Entry> {
        let reader = Reader::open(&self.ca.data().join("log.sqlite")).expect("log");
        let mut found = Vec::new();
        reader.replay(|_, entry, _| found.push(entry)).expect("the log holds together");
        found
    }

    fn declarations(&self) -> usize {
        self.entries().iter().filter(|e| matches!(e.event, Event::EmergencyDeclared { .. })).count()
    }
}

fn transport(ca: &Ca) -> Transport {
    Transport::new(ca.url().parse().expect("address"), ca.pin().parse().expect("pin"), Timeouts::default())
        .expect("transport")
}

fn crash_program(world: &World) -> PathBuf {
    let target = world.programs().bin.parent().expect("target").to_path_buf();
    let program = std::env::var_os("FIREAXE_CRASH_CA").map_or(target.join("crash/fireaxe-ca"), PathBuf::from);
    assert!(program.exists(), "{} is not built: run `make test`", program.display());
    program
}

#[test]
fn all_points_are_tried() {
    let road = concat!(env!("CARGO_MANIFEST_DIR"), "/../ca/src/road/turn.rs");
    let text = std::fs::read_to_string(road).expect("turn.rs");
    let named: Vec<&str> =
        text.split("crash::point(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(named, POINTS);
}

#[test]
fn after_a_power_cut_the_same_declaration_gets_one_certificate_with_its_entry() {
    let mut world = Crashing::new();
    for (number, point) in (1..).zip(POINTS) {
        let before = world.declarations();
        world.restart(point);
        let envelope = world.declaration(number);
        let cut = world.post::<Opened>("/v1/emergencies", &envelope);
        assert!(cut.is_err(), "the power is cut at {point}, nobody is answered");
        world.ca.wait_for_end();

        let kept = world.declarations() - before;
        assert_eq!(kept, usize::from(point != "before-commit"), "{point}: durable exactly after the commit");
        world.restart("");
        let first: Opened = world.post("/v1/emergencies", &envelope).expect("the retry is answered");
        let again: Opened = world.post("/v1/emergencies", &envelope).expect("and once more");
        assert_eq!(first, again, "{point}: the same statement, the same bytes");
        world.restart("");
        let later: Opened = world.post("/v1/emergencies", &envelope).expect("and after a restart");
        assert_eq!(first, later, "{point}: also after a restart");
        assert_eq!(world.declarations(), before + 1, "{point}: one declaration");

        // The certificate's entry is where its serial says, and is its body.
        let line = first.certificate.expect("a certificate");
        let bytes = fireaxe_protocol::certificate::from_openssh(&line).expect("certificate");
        let cut = fireaxe_protocol::certificate::cut_receipt(&bytes).expect("receipt");
        let serial = ssh_key::Certificate::from_openssh(&line).expect("certificate").serial();
        let entry = &world.entries()[usize::try_from(serial).expect("serial")];
        assert_eq!(entry.body.as_deref(), Some(cut.body.as_bytes()), "{point}");
    }
    world.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn after_a_power_cut_the_same_closing_closes_once() {
    let mut world = Crashing::new();
    for (number, point) in [(11, "before-commit"), (12, "after-commit")] {
        world.restart("");
        let opened: Opened = world.post("/v1/emergencies", &world.declaration(number)).expect("opened");
        world.restart(point);
        let words = Statement::Close(Close {
            header: world.header(Kind::Close, 200 + number),
            of: opened.declaration,
            emergency: opened.emergency,
            uses: None,
        });
        let envelope = sign_ed25519(&world.person, Kind::Close, &words.write());
        let path = format!("/v1/emergencies/{}/closure", opened.emergency);
        assert!(world.post::<Closed>(&path, &envelope).is_err(), "the power is cut at {point}");
        world.ca.wait_for_end();
        world.restart("");
        let closed: Closed = world.post(&path, &envelope).expect("the retry is answered");
        assert_eq!(closed.revoked.len(), 1, "{point}");
        let closings = |e: &&Entry| matches!(&e.event, Event::EmergencyClosed { emergency, .. } if *emergency == opened.emergency);
        assert_eq!(world.entries().iter().filter(closings).count(), 1, "{point}: closed once");
    }
    world.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn after_a_power_cut_the_same_approval_counts_once_and_its_certificate_is_the_same() {
    let mut world = Crashing::new();
    let issued = |world: &Crashing| {
        world.entries().iter().filter(|e| matches!(e.event, Event::CertificateIssued { .. })).count()
    };
    for (number, point) in [(21, "before-commit"), (22, "after-commit")] {
        world.restart("");
        let incident = format!("pd:CUT{number}");
        world.ca.cmd(&["incident", "put", &incident, "--severity", "1", "--system", "payments-db"]).ok();
        let opened: Opened =
            world.post("/v1/emergencies", &world.declares(number, Some(&incident))).expect("opened");
        let (emergency, waiting) = (opened.emergency, opened.waiting.expect("root waits"));
        let (before, size) = (issued(&world), world.entries().len());
        world.restart(point);
        let words = Statement::Approve(Approve {
            header: world.header(Kind::Approve, 200 + number),
            of: waiting.of,
            emergency,
            shown_s: 30,
            reason: None,
        });
        let envelope = sign_ed25519(&world.approver, Kind::Approve, &words.write());
        let path = format!("/v1/emergencies/{emergency}/approvals");
        assert!(world.post::<Approved>(&path, &envelope).is_err(), "the power is cut at {point}");
        world.ca.wait_for_end();
        let kept = issued(&world) - before;
        assert_eq!(kept, usize::from(point != "before-commit"), "{point}: approval and certificate together");
        assert_eq!(kept == 0, world.entries().len() == size, "{point}: all of it or nothing");

        world.restart("");
        let first: Approved = world.post(&path, &envelope).expect("the retry is answered");
        let again: Approved = world.post(&path, &envelope).expect("and once more");
        assert_eq!(first, again, "{point}");
        assert_eq!(first.missing, [], "{point}: it was all that was missing");
        assert_eq!(issued(&world), before + 1, "{point}: one certificate");
        let given =
            |e: &&Entry| matches!(&e.event, Event::ApprovalGiven { emergency: id, .. } if *id == emergency);
        assert_eq!(world.entries().iter().filter(given).count(), 1, "{point}: one approval");

        // Fetched by the emergency's own key, before and after another restart.
        let fetch = |world: &Crashing| -> Grant {
            let fresh = SigningKey::from_bytes(&[100 + number; 32]);
            let path = format!("/v1/emergencies/{emergency}/grant");
            let proof = ReadProof::sign(&fresh, &world.keys.origin, "GET", &path, clock::unix());
            transport(&world.ca).get(&path, Some(&proof.header())).expect("the grant")
        };
        let fetched = fetch(&world);
        assert_eq!(fetched.terms.as_ref().expect("terms").account.as_str(), "root", "{point}");
        world.restart("");
        assert_eq!(fetch(&world), fetched, "{point}: the same bytes after a restart");
        let words = Statement::Close(Close {
            header: world.header(Kind::Close, 20 + number),
            of: opened.declaration,
            emergency,
            uses: None,
        });
        let envelope = sign_ed25519(&world.person, Kind::Close, &words.write());
        let closed: Closed =
            world.post(&format!("/v1/emergencies/{emergency}/closure"), &envelope).expect("closed");
        assert_eq!(closed.revoked.len(), 2, "{point}: what was given meanwhile, and root");
    }
    world.ca.cmd(&["log", "verify"]).ok();
}

/// The serial of a host certificate.
fn serial(certificate: &str) -> u64 {
    ssh_key::Certificate::from_openssh(certificate).expect("certificate").serial()
}

#[test]
fn after_a_power_cut_a_host_joins_by_asking_again_and_no_serial_is_used_twice() {
    let mut world = Crashing::new();
    for (number, point) in [(11, "before-commit"), (12, "after-commit")] {
        world.restart("");
        let (host, key) = (format!("db-{number}.payments.prod"), SigningKey::from_bytes(&[number; 32]));
        let join = world.joining(&host, &key, number);
        let size = world.entries().len();
        world.restart(point);
        assert!(world.join(&join).is_err(), "the power is cut at {point}, nobody is answered");
        world.ca.wait_for_end();
        let added = world.entries().len() - size;
        assert_eq!(added, if point == "before-commit" { 0 } else { 2 }, "{point}: both entries or none");

        world.restart("");
        let first = world.join(&join).expect("the host asks again");
        assert_eq!(world.join(&join).expect("and once more"), first, "{point}: the same bytes");
        world.restart("");
        assert_eq!(world.join(&join).expect("and after a restart"), first, "{point}");
        assert_eq!(world.renew(&host, &key).expect("newest").certificate, first.certificate, "{point}");
        assert_eq!(
            world.certified(&host),
            [serial(&first.certificate)],
            "{point}: one serial, its entry's index"
        );
        assert_eq!(world.entries().len(), size + 2, "{point}: enrolled and certified once");
    }
    world.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn after_a_power_cut_a_host_is_certified_anew_by_asking_again_and_no_serial_is_used_twice() {
    let mut world = Crashing::new();
    world.restart("");
    let (host, key) = ("db-11.payments.prod", SigningKey::from_bytes(&[11; 32]));
    let joined = world.join(&world.joining(host, &key, 11)).expect("joined");
    let mut serials = vec![serial(&joined.certificate)];
    for point in ["before-commit", "after-commit"] {
        world.passes(4 * 24 * 3600);
        world.restart(point);
        assert!(world.renew(host, &key).is_err(), "the power is cut at {point}, nobody is answered");
        world.ca.wait_for_end();
        let added = world.certified(host).len() - serials.len();
        assert_eq!(added, usize::from(point != "before-commit"), "{point}: durable exactly after the commit");

        world.restart("");
        let first = world.renew(host, &key).expect("the host asks again");
        assert_eq!(world.renew(host, &key).expect("and once more"), first, "{point}: the same bytes");
        world.restart("");
        assert_eq!(world.renew(host, &key).expect("and after a restart"), first, "{point}");
        serials.push(serial(&first.certificate));
        assert_eq!(world.certified(host), serials, "{point}: one more serial, its entry's index");
    }
}
