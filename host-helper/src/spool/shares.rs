//! Who may have how many places of the spool. Pure.
//!
//! Whoever holds a certificate can log in in a loop, and each login is two reports. So places are shared out by
//! *holder*: the person whom the certificate names, however many serials that person has.
//!
//! | rule | | why |
//! |---|---|---|
//! | a beginning is kept only with a place for its end | | an end must never wait for room: it names recordings and what was planted |
//! | one holder has at most [`share`], an eighth, of what need not be recorded | 512: 256 connections | it goes on untold, so few are enough |
//! | and half of what the others leave, if that is more, of what must be: [`shares::of`](crate::shares) | 2,048 | it is refused beyond that, and there is always as much for somebody else |
//! | connections that need not be recorded have at most three quarters of it | 3,072 | the rest is for those that are not let in unless the CA can be told |
//! | of those, one holder has at most [`BEGINNINGS`] kept in an hour | 450 | with their ends a quarter of what the CA takes of one host in an hour |
//! | ends that tell more than that they came, of connections beyond the share | half a share | a flood of logins must not hide what was planted behind it |
//! | the host's own word: alarms, confirmations | [`OWN`] beside all that | [`super::ALARMS_PER_HOUR`] for 17 hours |
//!
//! What is beyond a share: a login that is not let in untold is refused, its holder's alone; any other goes on
//! and is counted, by holder ([`super::counted`]). Nothing that was kept ever goes for something else.

use std::collections::BTreeMap;

use fireaxe_protocol::host::{Report, SessionClosed, SessionOpened};
use fireaxe_protocol::limits;
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::Nonce;
use serde::{Deserialize, Serialize};

use crate::shares;

/// Places for what the host says of itself.
pub(super) const OWN: usize = 512;

/// Connections of one holder that need not be recorded, in an hour.
pub(super) const BEGINNINGS: usize = limits::REPORTS_PER_HOUR as usize / 8;

/// Whose connection it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A person, by all of their certificates.
    Person(PersonName),
    /// Nobody: a self-test's certificate, or a connection that nothing is remembered of.
    Serial(u64),
}

/// What becomes of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has this place.
    Kept(Place),
    /// It is counted.
    Counted(Holder),
    /// It was counted before.
    Known,
    /// It is not taken.
    Full,
}

/// A place that was given; [`Shares::undo`] takes it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Whose; nobody's: the host's own word.
    pub(super) holder: Option<Holder>,
    /// The connection and what its place was before, if this changed it.
    moved: Option<(Nonce, Option<Stood>)>,
}

/// Where a connection that is not over stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stood {
    /// Its beginning is kept, and its end has a place.
    Reserved(Holder),
    /// Its beginning is counted.
    Counted(Holder),
}

/// See the file's top.
#[derive(Debug)]
pub(super) struct Shares {
    /// Places for connections.
    most: usize,
    held: BTreeMap<Holder, usize>,
    all: usize,
    own: usize,
    /// The hour, and who began how many in it that need not be recorded.
    hour: (u64, BTreeMap<Holder, usize>),
    /// At most as many as connections are alive.
    open: BTreeMap<Nonce, Stood>,
}

/// Places of one holder, of so many.
pub(super) fn share(most: usize) -> usize {
    most / 8
}

impl Shares {
    pub(super) fn of(most: usize) -> Shares {
        Shares {
            most,
            held: BTreeMap::new(),
            all: 0,
            own: 0,
            hour: (0, BTreeMap::new()),
            open: BTreeMap::new(),
        }
    }

    /// A place for a report that is said at `at`, unix seconds, if there is one.
    pub(super) fn place(&mut self, report: &Report, person: Option<&PersonName>, at: u64) -> Verdict {
        match report {
            Report::SessionOpened(opened) => self.begin(opened, person, at),
            Report::SessionClosed(closed) => self.end(closed),
            _ if self.own >= OWN => Verdict::Full,
            _ => {
                self.own += 1;
                Verdict::Kept(Place { holder: None, moved: None })
            }
        }
    }

    fn begin(&mut self, opened: &SessionOpened, person: Option<&PersonName>, at: u64) -> Verdict {
        let connection = opened.connection;
        match self.open.get(&connection) {
            // Said once more, after a crash of the one that says it. Its end has a place already.
            Some(Stood::Reserved(holder)) => {
                let holder = holder.clone();
                self.hold(&holder, 1);
                return Verdict::Kept(Place { holder: Some(holder), moved: None });
            }
            Some(Stood::Counted(_)) => return Verdict::Known,
            None => {}
        }
        let holder = person.map_or(Holder::Serial(opened.serial), |person| Holder::Person(person.clone()));
        let required = opened.record == Record::Required;
        let most = if required { self.most } else { self.most * 3 / 4 };
        let mine = self.of_holder(&holder);
        let theirs = if required { self.of_what_others_leave(mine) } else { 0 };
        let room = mine + 2 <= theirs.max(share(self.most)) && self.all + 2 <= most;
        if room && (required || self.within_hour(&holder, at)) {
            self.hold(&holder, 2);
            self.open.insert(connection, Stood::Reserved(holder.clone()));
            return Verdict::Kept(Place { holder: Some(holder), moved: Some((connection, None)) });
        }
        if required {
            return Verdict::Full;
        }
        self.open.insert(connection, Stood::Counted(holder.clone()));
        Verdict::Counted(holder)
    }

    fn end(&mut self, closed: &SessionClosed) -> Verdict {
        let connection = closed.connection;
        let stood = self.open.remove(&connection);
        let holder = match &stood {
            // Its own place becomes this one.
            Some(Stood::Reserved(holder)) => holder.clone(),
            Some(Stood::Counted(holder)) => {
                let most = share(self.most) + share(self.most) / 2;
                if !tells_more(closed) || self.of_holder(holder) >= most {
                    return Verdict::Counted(holder.clone());
                }
                let holder = holder.clone();
                self.hold(&holder, 1);
                holder
            }
            // Its beginning went before a restart: at most as many as were alive then.
            None => {
                let holder = Holder::Serial(closed.serial);
                self.hold(&holder, 1);
                holder
            }
        };
        Verdict::Kept(Place { holder: Some(holder), moved: Some((connection, stood)) })
    }

    /// The report could not be kept in its place.
    pub(super) fn undo(&mut self, place: &Place) {
        let Some(holder) = &place.holder else { return self.free(None) };
        match &place.moved {
            // A beginning: both places are free again.
            Some((connection, None)) if self.open.remove(connection).is_some() => self.release(holder, 2),
            // An end: its place is reserved for it as before.
            Some((connection, Some(stood))) => {
                self.open.insert(*connection, stood.clone());
                if let Stood::Counted(_) = stood {
                    self.release(holder, 1);
                }
            }
            _ => self.release(holder, 1),
        }
    }

    /// A report has left its place.
    pub(super) fn free(&mut self, holder: Option<&Holder>) {
        match holder {
            Some(holder) => self.release(holder, 1),
            None => self.own = self.own.saturating_sub(1),
        }
    }

    /// A report that an earlier start kept, in order; `waits`: it has a place still.
    pub(super) fn found(&mut self, report: &Report, holder: Option<&Holder>, waits: bool) {
        match (report, holder) {
            (Report::SessionOpened(opened), Some(holder)) => {
                let before = self.open.insert(opened.connection, Stood::Reserved(holder.clone()));
                self.hold(holder, usize::from(before.is_none()));
            }
            (Report::SessionClosed(closed), _) => {
                if let Some(Stood::Reserved(holder)) = self.open.remove(&closed.connection) {
                    self.release(&holder, 1);
                }
            }
            _ => {}
        }
        match holder {
            _ if !waits => {}
            Some(holder) => self.hold(holder, 1),
            None => self.own += 1,
        }
    }

    /// One more of this hour, if it may be kept.
    fn within_hour(&mut self, holder: &Holder, at: u64) -> bool {
        if self.hour.0 != at / 3600 {
            self.hour = (at / 3600, BTreeMap::new());
        }
        let begun = self.hour.1.entry(holder.clone()).or_default();
        *begun += 1;
        *begun <= BEGINNINGS
    }

    fn of_what_others_leave(&self, mine: usize) -> usize {
        let left = self.most.saturating_sub(self.all.saturating_sub(mine));
        usize::try_from(shares::of(left as u64)).unwrap_or(self.most)
    }

    fn of_holder(&self, holder: &Holder) -> usize {
        self.held.get(holder).copied().unwrap_or(0)
    }

    fn hold(&mut self, holder: &Holder, places: usize) {
        if places > 0 {
            *self.held.entry(holder.clone()).or_default() += places;
            self.all += places;
        }
    }

    fn release(&mut self, holder: &Holder, places: usize) {
        self.all = self.all.saturating_sub(places);
        match self.held.get_mut(holder) {
            Some(held) if *held > places => *held -= places,
            _ => drop(self.held.remove(holder)),
        }
    }
}

impl Holder {
    /// Whose a report is that an earlier program kept without saying.
    pub(super) fn of(report: &Report) -> Option<Holder> {
        match report {
            Report::SessionOpened(opened) => Some(Holder::Serial(opened.serial)),
            Report::SessionClosed(closed) => Some(Holder::Serial(closed.serial)),
            _ => None,
        }
    }
}

/// Whether an end says more than that it came. A recording says itself what it is: it goes to the CA anyway.
fn tells_more(closed: &SessionClosed) -> bool {
    !closed.planted.is_empty() || closed.more > 0 || closed.swept.left > 0
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Person(person) => write!(f, "{person}"),
            Holder::Serial(serial) => write!(f, "who has serial {serial}"),
        }
    }
}
