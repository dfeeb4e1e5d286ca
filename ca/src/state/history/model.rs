//! The history held against a slow, obvious model that reads the whole log anew for each question, on random
//! days. A second history, which takes the same log at the end, must answer the same.

use fireaxe_protocol::log::{Decided, Hash};
use fireaxe_protocol::policy::{Bundle, NEAR_H, RATE_WITHIN_S};
use proptest::prelude::*;

use super::world::{DAY, How, Request, World, hotel, key, name, usual};
use super::*;

const PEOPLE: [(&str, u8); 6] = [("ana", 1), ("ana", 8), ("ana-2", 2), ("ben", 3), ("ben-2", 4), ("cleo", 5)];
const NETWORKS: [Option<&str>; 3] = [None, Some("192.0.2.0/24"), Some("2001:db8::/48")];
const HOWS: [How; 5] = [How::Permit, How::Permit, How::Wait, How::WaitBare, How::Refuse];

/// One thing that happens; numbers choose by remainder.
#[derive(Debug, Clone)]
enum Happens {
    Pass(u64),
    Declare { who: usize, system: usize, network: usize, how: usize, drill: bool },
    Second { which: usize, who: usize, how: usize },
    Redecide { which: usize, how: usize },
    Extend { which: usize, who: usize, how: usize },
    Approve { which: usize, who: usize },
    Issue { which: usize },
    Call { who: usize, also: usize },
    Close { which: usize, who: usize, uses: Option<u32> },
    Expire { which: usize },
    Activate(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    let n = || 0usize..60;
    prop_oneof![
        3 => prop_oneof![0u64..900, 3000u64..4000, 20_000u64..90_000].prop_map(Happens::Pass),
        6 => (n(), n(), n(), n(), proptest::bool::weighted(0.1)).prop_map(|(who, system, network, how, drill)| {
            Happens::Declare { who, system, network, how, drill }
        }),
        1 => (n(), n(), n()).prop_map(|(which, who, how)| Happens::Second { which, who, how }),
        1 => (n(), n()).prop_map(|(which, how)| Happens::Redecide { which, how }),
        1 => (n(), n(), n()).prop_map(|(which, who, how)| Happens::Extend { which, who, how }),
        4 => (n(), n()).prop_map(|(which, who)| Happens::Approve { which, who }),
        4 => n().prop_map(|which| Happens::Issue { which }),
        1 => (n(), n()).prop_map(|(who, also)| Happens::Call { who, also }),
        3 => (n(), n(), proptest::option::of(prop_oneof![5 => Just(0u32), 1 => 1u32..3]))
            .prop_map(|(which, who, uses)| Happens::Close { which, who, uses }),
        1 => n().prop_map(|which| Happens::Expire { which }),
        1 => any::<bool>().prop_map(Happens::Activate),
    ]
}

/// An emergency that is open: its number, its newest request's leaf, and what it asked for.
struct Case {
    emergency: u64,
    request: Hash,
    asks: Request,
}

fn choose<T>(list: &[T], n: usize) -> &T {
    &list[n % list.len()]
}

fn play(world: &mut World, open: &mut Vec<Case>, what: &Happens) {
    let which = |which: usize, open: &[Case]| (!open.is_empty()).then(|| which % open.len());
    match *what {
        Happens::Pass(seconds) => world.now += seconds,
        Happens::Declare { who, system, network, how, drill } => {
            let (person, key) = *choose(&PEOPLE, who);
            let network = choose(&NETWORKS, network).map(|text| text.parse().unwrap());
            let asks = Request { person, key, system: format!("system-{}", system % 4), network, drill };
            let how = *choose(&HOWS, how);
            let request = world.declare(&asks, how);
            if how != How::Refuse {
                open.push(Case { emergency: world.declared, request, asks });
            }
        }
        Happens::Second { which: n, who, how } => {
            let Some(case) = which(n, open).map(|n| &mut open[n]) else { return };
            case.request =
                world.second(case.emergency, &case.asks, *choose(&PEOPLE, who), *choose(&HOWS, how));
        }
        Happens::Redecide { which: n, how } => {
            let Some(case) = which(n, open).map(|n| &mut open[n]) else { return };
            case.request = world.redecide(case.emergency, &case.asks, *choose(&HOWS, how));
        }
        Happens::Extend { which: n, who, how } => {
            let Some(case) = which(n, open).map(|n| &mut open[n]) else { return };
            let (person, key) = *choose(&PEOPLE, who);
            let asks = Request { person, key, ..case.asks.clone() };
            case.request = world.extend(case.emergency, &asks, *choose(&HOWS, how));
        }
        Happens::Approve { which: n, who } => {
            let Some(case) = which(n, open).map(|n| &open[n]) else { return };
            world.approve(case.emergency, case.request, *choose(&PEOPLE, who));
        }
        Happens::Issue { which: n } => {
            if let Some(case) = which(n, open).map(|n| &open[n]) {
                world.issue(case.request);
            }
        }
        Happens::Call { who, also } => {
            world.call(&[choose(&PEOPLE, who).0, choose(&PEOPLE, also).0]);
        }
        Happens::Close { which: n, who, uses } => {
            let Some(case) = which(n, open).map(|n| open.remove(n)) else { return };
            // Mostly themselves.
            let by = if who < 40 { case.asks.person } else { choose(&PEOPLE, who).0 };
            world.close(case.emergency, by, uses);
        }
        Happens::Expire { which: n } => {
            if let Some(case) = which(n, open).map(|n| open.remove(n)) {
                world.expire(case.emergency);
            }
        }
        Happens::Activate(alias) => world.activate(alias, Activation::Init),
    }
}

type Logged = (u64, u64, Event, std::sync::Arc<Bundle>);

/// The whole log, read anew for every question.
struct Model<'a> {
    log: &'a [Logged],
    roster: &'a Roster,
    now: u64,
}

/// A grant: where in the log, and who approved it.
struct Grant<'a> {
    place: usize,
    approvers: Vec<&'a SignedBy>,
}

fn number(event: &Event) -> Option<EmergencyId> {
    match event {
        Event::EmergencyClosed { emergency, .. } => Some(*emergency),
        _ => event.decided().map(|decided| decided.emergency),
    }
}

impl<'a> Model<'a> {
    fn same(&self, a: &PersonName, b: &PersonName) -> bool {
        self.roster.canonical(a) == self.roster.canonical(b)
    }

    fn lately(&self, at: u64) -> bool {
        self.now - at <= RATE_WITHIN_S
    }

    fn count(&self, what: impl Fn(&Event) -> bool) -> u32 {
        self.log
            .iter()
            .filter(|(_, at, event, _)| self.lately(*at) && what(event))
            .count()
            .try_into()
            .unwrap()
    }

    /// Each emergency of `person`: its facts and its key.
    fn declared(&self, person: &PersonName) -> Vec<(EmergencyId, &'a Facts, &'a Fingerprint)> {
        let of = |(_, _, event, _): &'a Logged| match event {
            Event::EmergencyDeclared { emergency, facts, key, .. } => Some((*emergency, facts, key)),
            _ => None,
        };
        let all = self.log.iter().filter_map(of);
        all.filter(|(_, facts, _)| self.same(&facts.person, person)).collect()
    }

    /// Each time that a request of it was granted.
    fn grants(&self, emergency: EmergencyId) -> Vec<Grant<'a>> {
        let mut grants = Vec::new();
        for (place, (index, _, event, _)) in self.log.iter().enumerate() {
            let Some(Decided { decision, .. }) = event.decided().filter(|d| d.emergency == emergency) else {
                continue;
            };
            if matches!(decision.outcome, Outcome::Permit(_)) {
                grants.push(Grant { place, approvers: Vec::new() });
            }
            let mut approvers = Vec::new();
            for (later, (_, _, next, _)) in self.log.iter().enumerate().skip(place + 1) {
                let leaf = Hash::of(&index.to_be_bytes());
                match next {
                    next if number(next) == Some(emergency) => break,
                    Event::ApprovalGiven { of, by, .. } if *of == leaf => approvers.push(by),
                    Event::CertificateIssued { of, .. } if *of == leaf && !approvers.is_empty() => {
                        grants.push(Grant { place: later, approvers: std::mem::take(&mut approvers) });
                    }
                    _ => {}
                }
            }
        }
        grants
    }

    /// Whether a key is known of `person`, for all their keys that are.
    fn keys(&self, person: &PersonName) -> Vec<Fingerprint> {
        let mut keys = Vec::new();
        for (_, _, event, _) in self.log {
            let Event::EmergencyDeclared { emergency, facts, key, .. } = event else { continue };
            let grants = self.grants(*emergency);
            let Some(last) = grants.iter().map(|grant| grant.place).max().filter(|_| !facts.drill) else {
                continue;
            };
            let mut signers = vec![(&facts.person, key)];
            for (_, _, event, _) in &self.log[..=last] {
                if let Event::EmergencySeconded { emergency: of, by, .. }
                | Event::ExtensionRequested { emergency: of, by, .. } = event
                    && of == emergency
                {
                    signers.push((&by.person, &by.key));
                }
            }
            signers.extend(grants.iter().flat_map(|g| g.approvers.iter().map(|by| (&by.person, &by.key))));
            keys.extend(signers.iter().filter(|(who, _)| self.same(who, person)).map(|(_, key)| **key));
        }
        keys
    }

    fn never_used(&self, person: &PersonName) -> Option<bool> {
        let mut told = Vec::new();
        for (emergency, facts, _) in self.declared(person) {
            let mut given = !self.grants(emergency).is_empty();
            for (place, (_, _, event, bundle)) in self.log.iter().enumerate() {
                given |= event
                    .decided()
                    .is_some_and(|d| d.emergency == emergency && d.decision.terms_now().is_some());
                let Event::EmergencyClosed {
                    emergency: of, by: Closer::Person { person, closed, .. }, ..
                } = event
                else {
                    continue;
                };
                let Ok(Statement::Close(words)) = Statement::read(&closed.statement) else { unreachable!() };
                let roster = &bundle.roster;
                let themselves = roster.canonical(person) == roster.canonical(&facts.person);
                if *of == emergency && given && themselves {
                    told.extend(words.uses.map(|uses| (place, uses == 0)));
                }
            }
        }
        told.sort_unstable();
        let last: Vec<bool> = told.iter().rev().take(3).map(|(_, unused)| *unused).collect();
        (last.len() == 3).then(|| last.iter().all(|unused| *unused))
    }

    fn signals(&self, request: &Request) -> Signals {
        let person = name(request.person);
        let habits: Vec<&Facts> = self
            .declared(&person)
            .into_iter()
            .filter(|(emergency, facts, _)| !facts.drill && !self.grants(*emergency).is_empty())
            .map(|(_, facts, _)| facts)
            .collect();
        let new = |of: &[&Facts], known: &dyn Fn(&Facts) -> bool| {
            (of.len() >= 5).then(|| !of.iter().any(|facts| known(facts)))
        };
        let with_network: Vec<&Facts> = habits.iter().copied().filter(|f| f.network.is_some()).collect();
        let near = |facts: &Facts| {
            let apart = (facts.at / 3600 % 24).abs_diff(self.now / 3600 % 24);
            apart.min(24 - apart) <= u64::from(NEAR_H)
        };
        let keys = self.keys(&person);
        Signals {
            unusual_hour: new(&habits, &near),
            new_network: request
                .network
                .and_then(|network| new(&with_network, &|facts| facts.network == Some(network))),
            new_key: Some(!keys.is_empty() && !keys.contains(&key(request.key))),
            unusual_system: new(&habits, &|facts| facts.target.system.as_str() == request.system),
            severity_raised: Some(false),
            never_used: self.never_used(&person),
            declared_1h: self.count(|event| match event {
                Event::EmergencyDeclared { facts, .. } | Event::DeclarationRefused { facts, .. } => {
                    self.same(&facts.person, &person)
                }
                _ => false,
            }),
            asked_1h: self.count(|event| {
                let waits = |d: &Decided<'_>| d.decision.terms_waiting().is_some();
                let theirs = |d: &Decided<'_>| self.same(&d.facts.person, &person);
                !matches!(event, Event::EmergencyRedecided { .. })
                    && event.decided().is_some_and(|d| waits(&d) && theirs(&d))
            }),
        }
    }

    fn asked_of(&self, person: &PersonName) -> u32 {
        let mut count = 0;
        for (_, at, event, bundle) in self.log {
            let Event::RungCalled { people, .. } = event else { continue };
            let called: BTreeSet<&PersonName> =
                people.iter().map(|who| bundle.roster.canonical(who)).collect();
            let theirs = called.into_iter().filter(|who| self.same(who, person)).count();
            count += if self.lately(*at) { theirs } else { 0 };
        }
        u32::try_from(count).unwrap()
    }

    fn recent(&self, person: &PersonName) -> Vec<u64> {
        let of = |(_, _, event, _): &Logged| match event {
            Event::EmergencyDeclared { emergency, facts, .. } if self.same(&facts.person, person) => {
                Some(emergency.0)
            }
            _ => None,
        };
        self.log.iter().rev().filter_map(of).take(5).collect()
    }

    fn in_a_row(&self, requester: &PersonName, approver: &PersonName) -> u32 {
        let emergencies = self.declared(requester);
        let real = emergencies.iter().filter(|(_, facts, _)| !facts.drill);
        let mut grants: Vec<Grant<'_>> = real.flat_map(|(e, ..)| self.grants(*e)).collect();
        grants.retain(|grant| !grant.approvers.is_empty());
        grants.sort_by_key(|grant| std::cmp::Reverse(grant.place));
        let theirs = |g: &&Grant<'_>| g.approvers.iter().any(|by| self.same(&by.person, approver));
        u32::try_from(grants.iter().take_while(theirs).count()).unwrap().min(16) + 1
    }
}

/// Every answer of `history` is the model's.
fn agrees(history: &History, world: &World) -> Result<(), TestCaseError> {
    let (roster, now) = (&world.bundle.roster, world.now);
    let model = Model { log: &world.log, roster, now };
    for (n, (person, seed)) in PEOPLE.iter().enumerate() {
        let network = if n % 4 == 3 { hotel() } else { NETWORKS[n % 4].map(|text| text.parse().unwrap()) };
        let request = Request { person, key: *seed, system: format!("system-{}", n % 4), network, ..usual() };
        let who = name(person);
        let (key, system) = (key(*seed), request.system.parse().unwrap());
        let asks = Asks {
            person: &who,
            key: &key,
            network,
            system: &system,
            anew: None,
            severity_raised: Some(false),
        };
        prop_assert_eq!(history.signals(roster, &asks, now), model.signals(&request), "{}", person);
        let recent: Vec<u64> = history.recent(&who, roster).iter().map(|r| r.emergency.0).collect();
        prop_assert_eq!(recent, model.recent(&who), "{}", person);
        let approved = model
            .count(|event| matches!(event, Event::ApprovalGiven { by, .. } if model.same(&by.person, &who)));
        prop_assert_eq!(history.approvals_1h(roster, &who, now), approved, "{}", person);
        prop_assert_eq!(history.asked_of_1h(roster, &who, now), model.asked_of(&who), "{}", person);
        for (approver, _) in PEOPLE {
            let approver = name(approver);
            let expected = model.in_a_row(&who, &approver);
            prop_assert_eq!(history.in_a_row(roster, &who, &approver), expected, "{} {}", person, approver);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn on_random_days_the_history_says_what_the_whole_log_says(
        days in proptest::collection::vec(happens(), 0..90),
        look in 1usize..20,
    ) {
        let mut world = World::new();
        let mut open = Vec::new();
        for (n, what) in days.iter().enumerate() {
            play(&mut world, &mut open, what);
            if n % look == 0 {
                agrees(&world.history, &world)?;
            }
        }
        agrees(&world.history, &world)?;

        // The same log again, by another that was never asked anything on the way.
        let mut again = History::default();
        for (index, at, event, bundle) in &world.log {
            again.take(*index, *at, event, &bundle.roster);
        }
        agrees(&again, &world)?;
    }
}

#[test]
fn the_random_days_come_by_every_answer() {
    // What the property above would never see, it would not test.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let days = proptest::collection::vec(happens(), 90).new_tree(&mut runner).unwrap().current();
        let (mut world, mut open) = (World::new(), Vec::new());
        for what in &days {
            play(&mut world, &mut open, what);
        }
        assert!(world.now >= DAY);
        for (n, person) in ["ana", "ben", "cleo", "ana"].into_iter().enumerate() {
            let network = if n == 3 { hotel() } else { usual().network };
            let system = format!("system-{}", n % 3);
            let s = world.signals(&Request { person, system, network, ..usual() });
            for (what, value) in [
                ("hour", s.unusual_hour),
                ("network", s.new_network),
                ("key", s.new_key),
                ("system", s.unusual_system),
                ("used", s.never_used),
            ] {
                seen.insert((what, value));
            }
            let row = world.history.in_a_row(&world.bundle.roster, &name(person), &name("ben"));
            seen.insert(("row", Some(row >= 3)));
        }
    }
    let both = ["hour", "network", "key", "system", "used", "row"];
    for what in both.into_iter().flat_map(|what| [(what, Some(false)), (what, Some(true))]) {
        assert!(seen.contains(&what), "{what:?} never comes");
    }
}
