//! The people of `waiting.toml`, and what they say.

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{Approved, Grant, Opened, RequestCard};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::statement::{
    Approve, Declare, Extend, Kind, Refuse, Review, Second, Statement, Verdict,
};

use super::{ANA, BEN, CLEO, Installed, Told, key, signed};

/// A lead and of security.
pub const DAN: u8 = 4;
/// Ana under another name, a lead by that.
pub const ANA_ADMIN: u8 = 5;
/// Ana's second key.
pub const ANA_SPARE: u8 = 6;
/// On call for the payments database.
pub const EVE: u8 = 7;

pub const POLICY: &str = include_str!("waiting.toml");

/// ana and eve are on call; ben is a lead; cleo is of security; dan is both.
pub fn roster() -> String {
    roster_of(&[
        ("ana", &["payments", "payments-oncall", "sre"], &[ANA, ANA_SPARE], ""),
        ("eve", &["payments-oncall", "sre"], &[EVE], ""),
        ("ben", &["sre", "sre-leads"], &[BEN], ""),
        ("cleo", &["security"], &[CLEO], ""),
        ("dan", &["sre-leads", "security"], &[DAN], ""),
        ("ana-admin", &["sre-leads"], &[ANA_ADMIN], "same_as = \"ana\"\n"),
    ])
}

/// A roster of these people: name, groups, keys, further lines.
pub fn roster_of(people: &[(&str, &[&str], &[u8], &str)]) -> String {
    let mut out = String::from("version = 1\n");
    for (name, groups, keys, more) in people {
        let lines: Vec<String> = keys
            .iter()
            .map(|seed| format!("\"{} {name}-{seed}\"", Ed25519Key(key(*seed).verifying_key().to_bytes())))
            .collect();
        out.push_str(&format!("[person.{name}]\ngroups = {groups:?}\nkeys = [{}]\n{more}", lines.join(", ")));
    }
    out.push_str(
        "[role]\npolicy_admin = { group = \"security\", quorum = 2, presence = \"none\" }\n\
         incident_commander = { group = \"sre-leads\" }\n",
    );
    out
}

/// What an answer about an emergency gives.
pub async fn opened(ca: &Installed, by: u8, words: &Declare) -> Opened {
    let told = ca.send(&signed(by, &Statement::Declare(words.clone()))).await;
    assert!(matches!(told.status, 201 | 202), "{}", told.text());
    told.json()
}

impl Installed {
    /// An incident of severity 1, and ana's declaration of a whole system under it.
    pub async fn waits(&self, system: &str) -> (Opened, SigningKey) {
        let id = format!("pd:{system}");
        self.incident(&id, 1, "open", system).await;
        let mut words = self.declare(system);
        words.severity = None;
        words.incident = Some(id.parse().unwrap());
        let mut seed = [9u8; 32];
        seed[..8].copy_from_slice(&self.number().to_be_bytes());
        let fresh = SigningKey::from_bytes(&seed);
        words.public_key = Ed25519Key(fresh.verifying_key().to_bytes());
        (opened(self, ANA, &words).await, fresh)
    }

    /// What an approver's client computes from what it shows.
    pub async fn card(&self, by: u8, id: EmergencyId) -> (RequestCard, Hash) {
        let session = self.login(by).await;
        let path = format!("/v1/emergencies/{id}/request");
        let told = self.get(&path, Some(&self.proof(&session, "GET", &path))).await;
        assert_eq!(told.status, 200, "{}", told.text());
        let card: RequestCard = told.json();
        let leaf = leaf_hash(card.entry.as_bytes());
        (card, leaf)
    }

    /// The grant, read with the fresh key.
    pub async fn grant(&self, fresh: &SigningKey, id: EmergencyId) -> Grant {
        let told = self.grant_told(fresh, id).await;
        assert_eq!(told.status, 200, "{}", told.text());
        told.json()
    }

    pub async fn grant_told(&self, fresh: &SigningKey, id: EmergencyId) -> Told {
        let path = format!("/v1/emergencies/{id}/grant");
        self.get(&path, Some(&self.proof(fresh, "GET", &path))).await
    }

    pub fn approval(&self, of: Hash, id: EmergencyId) -> Approve {
        Approve { header: self.header(Kind::Approve), of, emergency: id, shown_s: 9, reason: None }
    }

    /// Says yes with these exact words.
    pub async fn say(&self, by: u8, id: EmergencyId, words: Statement) -> Told {
        let place = match &words {
            Statement::Second(_) => "seconds",
            Statement::Approve(_) => "approvals",
            Statement::Refuse(_) => "refusals",
            Statement::Extend(_) => "extensions",
            _ => "review",
        };
        self.post(&format!("/v1/emergencies/{id}/{place}"), &signed(by, &words)).await
    }

    /// Reads what waits now and says yes to it.
    pub async fn approve(&self, by: u8, id: EmergencyId) -> Told {
        let (_, of) = self.card(BEN, id).await;
        let words = self.approval(of, id);
        self.say(by, id, Statement::Approve(words)).await
    }

    /// The same; it must count.
    pub async fn approved(&self, by: u8, id: EmergencyId) -> Approved {
        let told = self.approve(by, id).await;
        assert_eq!(told.status, 200, "{}", told.text());
        told.json()
    }

    pub async fn refuse(&self, by: u8, id: EmergencyId) -> Told {
        let (_, of) = self.card(BEN, id).await;
        let header = self.header(Kind::Refuse);
        let reason = "not tonight".parse().unwrap();
        self.say(by, id, Statement::Refuse(Refuse { header, of, emergency: id, reason })).await
    }

    pub async fn second(&self, by: u8, id: EmergencyId) -> Told {
        let (_, of) = self.card(BEN, id).await;
        let header = self.header(Kind::Second);
        self.say(by, id, Statement::Second(Second { header, of, emergency: id })).await
    }

    pub fn extension(&self, of: Hash, id: EmergencyId) -> Extend {
        Extend {
            header: self.header(Kind::Extend),
            of,
            emergency: id,
            severity: None,
            incident: None,
            for_s: None,
            reason: None,
        }
    }

    pub async fn extend(&self, by: u8, of: Hash, id: EmergencyId) -> Told {
        let words = self.extension(of, id);
        self.say(by, id, Statement::Extend(words)).await
    }

    pub async fn review(&self, by: u8, of: Hash, id: EmergencyId) -> Told {
        let header = self.header(Kind::Review);
        let reason = "looked at it".parse().unwrap();
        let verdict = Verdict::Justified;
        self.say(by, id, Statement::Review(Review { header, of, emergency: id, verdict, reason })).await
    }

    /// Lets the writer look at the clock.
    pub async fn tick(&self) {
        self.incident("pd:TICK", 4, "open", "nowhere").await.problem(404, "system.unknown");
    }

    /// The whole log must verify.
    pub fn verifies(&self) {
        let (_, found) = fireaxe_ca::verify::verify(&self.reader(), &mut |_| {}).unwrap();
        assert_eq!(found, []);
    }
}
