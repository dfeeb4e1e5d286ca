//! The roster: who has which keys and groups, and which group holds which role. Reads `roster.toml`.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::{Reading, Table, Value};
use crate::keys::Fingerprint;
use crate::names::{GroupName, PersonName};
use crate::policy::Presence;
use crate::policy::finding::{At, Finding};
use crate::statement::EnrolledKey;

/// What `roster.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    people: BTreeMap<PersonName, Person>,
    by_key: BTreeMap<Fingerprint, (PersonName, usize)>,
    /// The other names of those who have any.
    aliases: BTreeMap<PersonName, Vec<PersonName>>,
    roles: BTreeMap<Role, RoleHolders>,
}

/// One person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their name.
    pub name: PersonName,
    /// Where they stand.
    pub line: u32,
    /// Their groups. Sorted.
    pub groups: Vec<GroupName>,
    /// Their keys. Never empty.
    pub keys: Vec<EnrolledKey>,
    /// The person of whom this is another name.
    pub same_as: Option<At<PersonName>>,
}

/// What some people may do besides asking for access. Nobody holds a role by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Signs bundle changes, with a quorum of their like.
    PolicyAdmin,
    /// Reads everything.
    Auditor,
    /// May close anyone's emergency.
    IncidentCommander,
}

/// The group that holds a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleHolders {
    /// Its members hold the role.
    pub group: At<GroupName>,
    /// How many of them must agree, where it matters.
    pub quorum: u8,
    /// What their signature must prove, where it matters.
    pub presence: Presence,
}

impl Roster {
    /// A person by name.
    pub fn person(&self, name: &PersonName) -> Option<&Person> {
        self.people.get(name)
    }

    /// The one name of whoever stands under `name`: what decides who is the same person. A name that the
    /// roster does not have stands for itself.
    pub fn canonical<'a>(&'a self, name: &'a PersonName) -> &'a PersonName {
        let same_as = self.people.get(name).and_then(|person| person.same_as.as_ref());
        same_as.map_or(name, |at| &at.value)
    }

    /// All names of whoever stands under `name`, the canonical one first.
    pub fn names_of<'a>(&'a self, name: &'a PersonName) -> impl Iterator<Item = &'a PersonName> {
        let canonical = self.canonical(name);
        std::iter::once(canonical).chain(self.aliases.get(canonical).into_iter().flatten())
    }

    /// Distinct people in any of `groups` under any of their names, by canonical name.
    pub fn distinct_members(&self, groups: &[GroupName]) -> BTreeSet<&PersonName> {
        let is_in = |person: &&Person| groups.iter().any(|group| person.groups.contains(group));
        self.people.values().filter(is_in).map(|person| self.canonical(&person.name)).collect()
    }

    /// All groups of whoever stands under `name`, under all their names. Sorted.
    pub fn all_groups(&self, name: &PersonName) -> Vec<GroupName> {
        let canonical = self.canonical(name);
        let same = self.people.values().filter(|person| self.canonical(&person.name) == canonical);
        let groups: BTreeSet<&GroupName> = same.flat_map(|person| &person.groups).collect();
        groups.into_iter().cloned().collect()
    }

    /// All people, by name.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.values()
    }

    /// Whose key this is.
    pub fn by_key(&self, fingerprint: &Fingerprint) -> Option<(&Person, &EnrolledKey)> {
        let (name, n) = self.by_key.get(fingerprint)?;
        let person = self.people.get(name)?;
        Some((person, person.keys.get(*n)?))
    }

    /// Whether a person holds a role.
    pub fn has_role(&self, name: &PersonName, role: Role) -> bool {
        self.roles
            .get(&role)
            .zip(self.people.get(name))
            .is_some_and(|(holders, person)| person.groups.contains(&holders.group.value))
    }

    /// Who holds a role.
    pub fn role(&self, role: Role) -> Option<&RoleHolders> {
        self.roles.get(&role)
    }

    /// Every group that somebody is in. Sorted.
    pub(in crate::policy) fn groups(&self) -> BTreeSet<&GroupName> {
        self.people.values().flat_map(|person| &person.groups).collect()
    }

    /// Every group with its distinct people, for many questions at once.
    pub(in crate::policy) fn group_members(&self) -> GroupMembers<'_> {
        let mut groups: BTreeMap<&GroupName, BTreeSet<&PersonName>> = BTreeMap::new();
        for person in self.people.values() {
            for group in &person.groups {
                groups.entry(group).or_default().insert(self.canonical(&person.name));
            }
        }
        GroupMembers(groups)
    }

    /// How many distinct people are in any of `groups`.
    pub(in crate::policy) fn members(&self, groups: &[At<GroupName>]) -> usize {
        let groups: Vec<GroupName> = groups.iter().map(|group| group.value.clone()).collect();
        self.distinct_members(&groups).len()
    }
}

/// Each group's distinct people, by canonical name.
pub(in crate::policy) struct GroupMembers<'r>(BTreeMap<&'r GroupName, BTreeSet<&'r PersonName>>);

impl<'r> GroupMembers<'r> {
    /// The people of one group, if anybody is in it.
    pub(in crate::policy) fn group(&self, group: &GroupName) -> Option<&BTreeSet<&'r PersonName>> {
        self.0.get(group)
    }

    /// The people in any of `groups`.
    pub(in crate::policy) fn of(&self, groups: &[GroupName]) -> BTreeSet<&'r PersonName> {
        groups.iter().filter_map(|group| self.0.get(group)).flatten().copied().collect()
    }
}

/// Reads `roster.toml`. Gives what could be read beside what is wrong, so that the policy can still be
/// compared with it.
pub(in crate::policy) fn read(text: &str) -> (Option<Roster>, Vec<Finding>) {
    let reading = Reading::new("roster.toml", text);
    let roster = reading.document().map(|document| {
        let mut root = Table::root(&reading, &document);
        if let Some(version) = root.may("version") {
            version.number(1..=1);
        }
        let people = root.must("person").and_then(|v| v.table()).map(|t| read_people(&reading, &t));
        let (people, by_key): People = people.unwrap_or_default();
        let roles = root.may("role").and_then(|value| value.table()).map(read_roles);
        root.finish();
        let mut aliases: BTreeMap<PersonName, Vec<PersonName>> = BTreeMap::new();
        for (name, at) in people.values().filter_map(|person| Some((&person.name, person.same_as.as_ref()?)))
        {
            aliases.entry(at.value.clone()).or_default().push(name.clone());
        }
        let roster = Roster { people, by_key, aliases, roles: roles.unwrap_or_default() };
        // A person who could not be read is missing from their groups; that is not the role's mistake.
        if reading.is_clean() {
            check_roles(&reading, &roster);
        }
        roster
    });
    (roster, reading.into_findings())
}

type People = (BTreeMap<PersonName, Person>, BTreeMap<Fingerprint, (PersonName, usize)>);

fn read_people(reading: &Reading<'_>, table: &Table<'_, '_>) -> People {
    let mut people = BTreeMap::new();
    let mut by_key: BTreeMap<Fingerprint, (PersonName, usize)> = BTreeMap::new();
    for (at, value) in table.parts() {
        let name = match at.value.parse::<PersonName>() {
            Ok(name) => name,
            Err(error) => {
                reading.add(&at, "value.invalid", error.to_string(), None);
                continue;
            }
        };
        let Some(mut fields) = value.table() else { continue };
        let groups = fields.must("groups").and_then(|v| v.list(|g| g.name::<GroupName>().map(|g| g.value)));
        let mut keys: Vec<EnrolledKey> = Vec::new();
        for line in fields.must("keys").and_then(|v| some_keys(&v)).unwrap_or_default() {
            let Some(text) = line.text() else { continue };
            let key = match EnrolledKey::read(text) {
                Ok(key) => key,
                Err(error) => {
                    line.wrong(error, None);
                    continue;
                }
            };
            match by_key.get(&key.fingerprint) {
                Some((other, _)) if *other == name => {
                    line.finding("key.repeated", "this key stands in the list already", None);
                }
                Some((other, _)) => {
                    let message = format!("this key is {other}'s already; a key belongs to one person");
                    line.finding("key.shared", message, None);
                }
                None => {
                    by_key.insert(key.fingerprint, (name.clone(), keys.len()));
                    keys.push(key);
                }
            }
        }
        let same_as = fields.may("same_as").and_then(|v| v.name::<PersonName>());
        fields.finish();
        let mut groups = groups.unwrap_or_default();
        groups.sort();
        people.insert(name.clone(), Person { name, line: at.line, groups, keys, same_as });
    }
    check_aliases(reading, &people);
    (people, by_key)
}

/// An alias points at a person who is none.
fn check_aliases(reading: &Reading<'_>, people: &BTreeMap<PersonName, Person>) {
    for (person, at) in people.values().filter_map(|person| Some((person, person.same_as.as_ref()?))) {
        match people.get(&at.value) {
            _ if at.value == person.name => {
                reading.add(at, "person.alias", format!("{} is an alias of itself", person.name), None);
            }
            None => {
                let help =
                    crate::policy::finding::meant(at.value.as_str(), people.keys().map(PersonName::as_str));
                let message = format!("there is no person `{}`", at.value);
                reading.add(at, "person.alias", message, help);
            }
            Some(other) if other.same_as.is_some() => {
                let message = format!("{} is an alias itself: name the person", other.name);
                reading.add(at, "person.alias", message, None);
            }
            Some(_) => {}
        }
    }
}

fn some_keys<'r, 't>(value: &Value<'r, 't>) -> Option<Vec<Value<'r, 't>>> {
    let keys = value.array()?;
    if keys.is_empty() {
        value.finding("person.no_keys", "a person without a key cannot sign anything", None);
    }
    Some(keys)
}

fn read_roles(mut table: Table<'_, '_>) -> BTreeMap<Role, RoleHolders> {
    let mut roles = BTreeMap::new();
    for (key, role) in [
        ("policy_admin", Role::PolicyAdmin),
        ("auditor", Role::Auditor),
        ("incident_commander", Role::IncidentCommander),
    ] {
        let Some(mut fields) = table.may(key).and_then(|value| value.table()) else { continue };
        let group = fields.must("group").and_then(|value| value.name());
        let quorum = match role {
            Role::PolicyAdmin => fields.must("quorum").and_then(|value| value.number(1..=16)),
            Role::Auditor | Role::IncidentCommander => Some(1),
        };
        // Whoever changes the policy touches a key for it, unless the roster says otherwise, openly.
        let presence = match (role, fields.may("presence").filter(|_| role == Role::PolicyAdmin)) {
            (Role::PolicyAdmin, Some(value)) => value.word(&super::policy_file::PRESENCE),
            (Role::PolicyAdmin, None) => Some(Presence::Touch),
            (Role::Auditor | Role::IncidentCommander, _) => Some(Presence::None),
        };
        fields.finish();
        if let (Some(group), Some(quorum), Some(presence)) = (group, quorum, presence) {
            roles.insert(role, RoleHolders { group, quorum, presence });
        }
    }
    table.finish();
    roles
}

fn check_roles(reading: &Reading<'_>, roster: &Roster) {
    for holders in roster.roles.values() {
        let group = &holders.group;
        let members = roster.members(std::slice::from_ref(group));
        if members == 0 {
            let help = crate::policy::finding::meant(
                group.value.as_str(),
                roster.groups().into_iter().map(GroupName::as_str),
            );
            let message = format!("nobody is in group `{}`", group.value);
            reading.add(group, "group.undefined", message, help);
        } else if members < usize::from(holders.quorum) {
            let message = format!(
                "a quorum of {} is asked of group `{}`, which has {members}",
                holders.quorum, group.value
            );
            reading.add(group, "quorum.too_large", message, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> String {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        crate::keys::Ed25519Key::from(&key).to_string()
    }

    #[test]
    fn a_person_has_the_same_names_under_each_of_them() {
        let person = |name: &str, seed: u8, more: &str| {
            format!("[person.{name}]\ngroups = [\"sre\"]\nkeys = [\"{}\"]\n{more}\n", key(seed))
        };
        let text = [
            "version = 1\n".to_owned(),
            person("zoe", 1, ""),
            person("ana", 2, "same_as = \"zoe\""),
            person("ben", 3, ""),
            person("z2", 4, "same_as = \"zoe\""),
        ];
        let (roster, findings) = read(&text.concat());
        assert_eq!(findings, []);
        let roster = roster.unwrap();
        let names = |name: &str| -> Vec<String> {
            roster.names_of(&name.parse().unwrap()).map(PersonName::to_string).collect()
        };
        for name in ["zoe", "ana", "z2"] {
            assert_eq!(names(name), ["zoe", "ana", "z2"], "{name}");
        }
        assert_eq!(names("ben"), ["ben"]);
        assert_eq!(names("nobody"), ["nobody"], "stands for itself");
    }
}
