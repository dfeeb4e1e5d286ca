//! That each decision comes out the same again from the policy of its time and its facts, that what waited was given
//! only when enough people had agreed to exactly that, and that each certificate is what was given and nothing more.

use std::collections::HashMap;

use super::Told;
use super::parts::Held;
use super::signed::{Bundles, in_force};
use crate::certificate::{Body, Expected, Fields, Issue, Profile, Subject, Within, compare, from_openssh};
use crate::evidence::dossier::{Dossier, Kept};
use crate::evidence::layout;
use crate::keys::Ed25519Key;
use crate::log::{Event, Hash, HostPattern, NoteKey, PinnedKeys, SignedBy, receipt};
use crate::names::{GroupName, PersonName, TargetName};
use crate::policy::{Bundle, Decision, Facts, Outcome, Pattern, Terms, decide, is_met};
use crate::statement::{Declare, Envelope, Statement};

/// A decision, and what became of it.
struct Decided<'d> {
    decision: &'d Decision,
    hosts: &'d [HostPattern],
    /// Who agreed, by the one name of each, and their groups then.
    agreed: Vec<(PersonName, Vec<GroupName>)>,
    /// Why nobody may agree any more.
    settled: Option<&'static str>,
    /// The certificates that were made of it.
    made: Vec<(Hash, Within)>,
}

/// How far the entries were followed.
struct Walk<'d> {
    bundles: &'d Bundles,
    keys: &'d PinnedKeys,
    person: Option<&'d PersonName>,
    public_key: Option<Ed25519Key>,
    declaration: Option<Hash>,
    /// Everybody who asked, by the one name of each.
    asked: Vec<PersonName>,
    decided: HashMap<Hash, Decided<'d>>,
    newest: Option<Hash>,
    over: bool,
}

/// Follows the entries in order.
pub(super) fn check(dossier: &Dossier, bundles: &Bundles, held: &Held, key: &NoteKey, told: &mut Told) {
    let Some(Event::LogCreated { keys, .. }) = dossier.entries.get(&0).map(|kept| &kept.entry.event) else {
        return;
    };
    let mut walk = Walk {
        bundles,
        keys,
        person: None,
        public_key: None,
        declaration: None,
        asked: Vec::new(),
        decided: HashMap::new(),
        newest: None,
        over: false,
    };
    for kept in dossier.entries.values() {
        let found = walk.entry(dossier, kept, held, key, told);
        found.into_iter().for_each(|what| told.note(layout::entry(kept.entry.index), what));
    }
}

impl<'d> Walk<'d> {
    fn entry(
        &mut self,
        dossier: &'d Dossier,
        kept: &'d Kept,
        held: &Held,
        key: &NoteKey,
        told: &mut Told,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let entry = &kept.entry;
        match &entry.event {
            Event::EmergencyDeclared { declared, facts, .. } => {
                found.extend(self.declared(kept, declared, facts));
            }
            Event::EmergencySeconded { by, .. } => self.asks(entry.index, &by.person),
            Event::ApprovalGiven { of, by, .. } => found.extend(self.agreed(entry.index, of, by)),
            Event::ApprovalRefused { of, by, .. } => {
                found.extend(self.answers(entry.index, of, by).err());
                self.settle(of, "was refused");
            }
            Event::RequestLapsed { of, .. } => self.settle(of, "had lapsed"),
            Event::EmergencyClosed { .. } => self.over = true,
            _ => {}
        }
        let decided = match &entry.event {
            Event::ExtensionRefused { facts, decision, bundle, of, .. } => {
                Some((facts, decision, *bundle, Some(*of)))
            }
            Event::EmergencySeconded { of, .. }
            | Event::EmergencyRedecided { of, .. }
            | Event::ExtensionRequested { of, .. } => {
                entry.event.decided().map(|one| (one.facts, one.decision, one.bundle, Some(*of)))
            }
            event => event.decided().map(|one| (one.facts, one.decision, one.bundle, None)),
        };
        if let Some((facts, decision, bundle, of)) = decided {
            found.extend(self.decides(kept, facts, decision, bundle, of));
            told.decisions += 1;
        }
        if let Event::CertificateIssued { of, terms } = &entry.event {
            match self.certificate(dossier, kept, of, terms) {
                Err(what) => found.push(what),
                Ok((terms, within)) => match self.whole(kept, &terms, within, held, key) {
                    Ok(()) => told.certificates += 1,
                    Err(what) => told.note(layout::certificate(entry.index), what),
                },
            }
        }
        found
    }

    fn bundle(&self, index: u64) -> Option<&'d Bundle> {
        in_force(self.bundles, index)
    }

    /// The facts are those of the signed words.
    fn declared(&mut self, kept: &'d Kept, declared: &Envelope, facts: &'d Facts) -> Option<String> {
        self.person = Some(&facts.person);
        self.declaration = Some(kept.leaf);
        self.asks(kept.entry.index, &facts.person);
        let Ok(Statement::Declare(words)) = Statement::read(&declared.statement) else {
            return Some("what was signed is no declaration".into());
        };
        self.public_key = Some(words.public_key);
        (!is_of(facts, &words)).then(|| "its facts are not those of the signed words".into())
    }

    fn asks(&mut self, index: u64, person: &PersonName) {
        let bundle = in_force(self.bundles, index);
        self.asked.push(bundle.map_or(person, |bundle| bundle.roster.canonical(person)).clone());
    }

    fn settle(&mut self, of: &Hash, how: &'static str) {
        if let Some(decided) = self.decided.get_mut(of) {
            decided.settled = Some(how);
        }
    }

    fn decides(
        &mut self,
        kept: &'d Kept,
        facts: &Facts,
        decision: &'d Decision,
        named: Hash,
        of: Option<Hash>,
    ) -> Option<String> {
        let refused = matches!(kept.entry.event, Event::ExtensionRefused { .. });
        if !refused {
            let hosts = kept.entry.event.decided().map(|one| one.hosts).unwrap_or_default();
            let one = Decided { decision, hosts, agreed: Vec::new(), settled: None, made: Vec::new() };
            self.decided.insert(kept.leaf, one);
            self.newest = Some(kept.leaf);
        }
        if of.is_some_and(|of| Some(of) != self.declaration) {
            return Some("it names another declaration".into());
        }
        if refused != matches!(decision.outcome, Outcome::Refuse { .. }) {
            return Some("its kind is not that of its decision".into());
        }
        let Some(bundle) = self.bundle(kept.entry.index).filter(|bundle| bundle.hash == named) else {
            return Some("it names another bundle than the one in force".into());
        };
        let groups = bundle.roster.person(&facts.person).map(|person| &person.groups);
        if facts.at != kept.entry.at || Some(&facts.person) != self.person || groups != Some(&facts.groups) {
            return Some("its facts are not those of its time, its person and its roster".into());
        }
        (decide(&bundle.policy, facts) != *decision).then(|| "its policy and facts decide otherwise".into())
    }

    /// Somebody who may answer, to what waited then: terms, and who they are.
    fn answers(
        &self,
        index: u64,
        of: &Hash,
        by: &SignedBy,
    ) -> Result<(&'d Terms, PersonName, Vec<GroupName>), String> {
        let person = &by.person;
        let words = match Statement::read(&by.said.statement) {
            Ok(Statement::Approve(words)) => Some((words.of, words.emergency)),
            Ok(Statement::Refuse(words)) => Some((words.of, words.emergency)),
            _ => None,
        };
        let bundle = self.bundle(index).ok_or("the roster of its time is not here")?;
        let decided = self.decided.get(of).filter(|_| words.is_some_and(|(signed, _)| signed == *of));
        let waiting = decided.and_then(|decided| decided.decision.terms_waiting());
        let (Some(decided), Some(full)) = (decided, waiting) else {
            return Err(format!("what {person} signed answers nothing that waited"));
        };
        if self.newest != Some(*of) || self.over {
            return Err(format!("what {person} answered had been decided anew, or was over"));
        }
        if let Some(how) = decided.settled {
            return Err(format!("what {person} answered {how}"));
        }
        let canonical = bundle.roster.canonical(person);
        if self.asked.contains(canonical) {
            return Err(format!("{canonical} asked for it: nobody answers their own request"));
        }
        let groups = bundle.roster.person(person).map(|p| p.groups.clone()).unwrap_or_default();
        if !full.approvals.iter().any(|quorum| quorum.from.iter().any(|group| groups.contains(group))) {
            return Err(format!("{person} is not one of those who may answer it"));
        }
        Ok((full, canonical.clone(), groups))
    }

    fn agreed(&mut self, index: u64, of: &Hash, by: &SignedBy) -> Option<String> {
        let (full, person, groups) = match self.answers(index, of, by) {
            Ok(found) => found,
            Err(what) => return Some(what),
        };
        if !matches!(Statement::read(&by.said.statement), Ok(Statement::Approve(_))) {
            return Some(format!("what {person} signed is no approval"));
        }
        if by.presence < full.presence {
            return Some(format!(
                "the signature of {person} does not prove the presence that this tier asks for"
            ));
        }
        let decided = self.decided.get_mut(of)?;
        if decided.agreed.iter().any(|(other, _)| *other == person) {
            return Some(format!("{person} had agreed already"));
        }
        decided.agreed.push((person, groups));
        None
    }

    /// The terms of a certificate, if a decision gave them, and its body is what they say.
    fn certificate(
        &mut self,
        dossier: &Dossier,
        kept: &Kept,
        of: &Hash,
        named: &Hash,
    ) -> Result<(Terms, Option<Within>), String> {
        let (index, at) = (kept.entry.index, kept.entry.at);
        let bytes = kept.entry.body.as_deref().unwrap_or_default();
        let (person, public_key) =
            self.person.zip(self.public_key).ok_or("it stands before the declaration")?;
        let decided = self.decided.get_mut(of).ok_or("the decision that it names is not here")?;
        let now = decided.decision.terms_now().filter(|terms| terms.hash() == *named);
        let full = decided.decision.terms_waiting().filter(|terms| terms.hash() == *named);
        if now.is_none()
            && let Some(full) = full
        {
            let groups: Vec<&[GroupName]> =
                decided.agreed.iter().map(|(_, groups)| groups.as_slice()).collect();
            if !is_met(&full.approvals, &groups) {
                return Err("it was issued and not enough people had agreed".into());
            }
        }
        let fields = Fields::of_unsigned(bytes).map_err(|error| error.to_string())?;
        let (terms, within) = match now.or(full) {
            Some(terms) => (terms.clone(), None),
            None => narrowed(decided, &fields, at, named)
                .ok_or("it is of terms that the decision does not give")?,
        };
        let ends = at.saturating_add(terms.lifetime_s.into());
        if within.is_none() {
            decided.made.push((*named, Within { serial: index, until: ends }));
        }
        let issue = Issue {
            nonce: fields.nonce.try_into().map_err(|_| "its nonce has another length".to_owned())?,
            public_key,
            serial: index,
            subject: Subject::Person(dossier.emergency, person),
            at,
            grant_end: ends,
            within,
            ca_key: self.keys.user_ca,
        };
        let expected = Profile::from_terms(&terms, &issue).map(|profile| Body::of(&profile));
        if !expected.is_ok_and(|expected| expected.as_bytes() == bytes) {
            return Err("its certificate body is not what its terms say".into());
        }
        if self.over {
            return Err("it was issued when the emergency was over".into());
        }
        Ok((terms, within))
    }

    /// The certificate as it went out, if it is here: signed by the CA, of these terms, its receipt good.
    fn whole(
        &self,
        kept: &Kept,
        terms: &Terms,
        within: Option<Within>,
        held: &Held,
        key: &NoteKey,
    ) -> Result<(), String> {
        let index = kept.entry.index;
        let Some(bytes) = held.bytes.get(&layout::certificate(index)) else { return Ok(()) };
        let line = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n'));
        let line = line.ok_or("it is not one line of text")?;
        let (person, public_key) = self.person.zip(self.public_key).ok_or("nobody declared anything")?;
        let id = match self.emergency_of(kept) {
            Some(id) => id,
            None => return Err("its emergency is not known".into()),
        };
        let expected = Expected {
            public_key,
            terms,
            ca_key: self.keys.user_ca,
            subject: Subject::Person(id, person),
            within,
            now: kept.entry.at,
        };
        let accepted = compare(line, &expected).map_err(|found| {
            let first = found
                .first()
                .map(|one| format!("{}: {} expected, {} found", one.field, one.expected, one.found));
            first.unwrap_or_default()
        })?;
        let body = kept.entry.body.as_deref().unwrap_or_default();
        if accepted.body.as_bytes() != body || from_openssh(line).is_err() {
            return Err("its body is not the one of its entry".into());
        }
        let origin = key.name().parse().map_err(|_| "the log's key has no log's name".to_owned())?;
        let proved = receipt::check(body, index, accepted.receipt.as_bytes(), key, &origin);
        let proved = proved.map_err(|error| format!("its receipt: {error}"))?;
        if proved.leaf == kept.leaf { Ok(()) } else { Err("its receipt is of another entry".into()) }
    }

    /// A key id names its emergency; the body was compared with the terms and the dossier's own number before.
    fn emergency_of(&self, kept: &Kept) -> Option<crate::names::EmergencyId> {
        let fields = Fields::of_unsigned(kept.entry.body.as_deref()?).ok()?;
        fields.key_id.split('/').nth(1)?.parse().ok()
    }
}

fn is_of(facts: &Facts, words: &Declare) -> bool {
    let host: Option<TargetName> = facts.target.host.as_ref().and_then(|host| host.as_str().parse().ok());
    let system: Option<TargetName> = facts.target.system.as_str().parse().ok();
    let target = host.or(system);
    target.as_ref() == Some(&words.target)
        && facts.severity == words.severity
        && facts.incident.as_ref().map(|one| &one.id) == words.incident.as_ref()
        && facts.for_s == words.for_s
        && facts.drill == words.drill
}

/// The terms of a certificate for one host, made of one that the decision gave.
fn narrowed(
    decided: &Decided<'_>,
    fields: &Fields<'_>,
    at: u64,
    named: &Hash,
) -> Option<(Terms, Option<Within>)> {
    let (host, base) = (fields.only_host()?, fields.within()?.serial);
    let (made, within) = decided.made.iter().find(|(_, made)| made.serial == base)?;
    if !decided.hosts.iter().any(|p| p.parse::<Pattern>().is_ok_and(|p| p.matches(&host))) {
        return None;
    }
    let both = decided.decision.terms_now().into_iter().chain(decided.decision.terms_waiting());
    let wide = both.into_iter().find(|wide| wide.hash() == *made)?;
    let terms = wide.narrowed(&host, within.until.checked_sub(at)?).ok()?;
    (terms.hash() == *named).then_some((terms, Some(*within)))
}
