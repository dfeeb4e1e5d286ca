//! The revocation list while the daemon runs: taken from the feed, or fetched when the feed does not bring it;
//! and whoever must know is told when sshd has another one. Whether a list is good is [`crate::krl`]'s.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::FeedList;
use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::reason::Reason;

use super::heartbeat::Beat;
use super::rooms::{Connections, InForce};
use crate::config::Config;
use crate::error::HostError;
use crate::krl::{self, Outcome, Received, State, installed};
use crate::reports::Reports;
use crate::{clock, journal};

/// Keeps the list. Used by the feed's thread and by the one that polls.
pub(super) struct Lists {
    config: Arc<Config>,
    connections: Arc<dyn Connections>,
    reports: Arc<dyn Reports>,
    beat: Arc<Beat>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The list that the connections know.
    list: Option<Hash>,
    /// The last trouble that an alarm was raised about, and when.
    trouble: Option<(String, u64)>,
}

impl Lists {
    pub(super) fn new(
        config: Arc<Config>,
        connections: Arc<dyn Connections>,
        reports: Arc<dyn Reports>,
        beat: Arc<Beat>,
    ) -> Lists {
        Lists { config, connections, reports, beat, told: Mutex::default() }
    }

    /// A list, or a fresh note about one, came on the feed.
    pub(super) fn came(&self, list: &FeedList) {
        let now = clock::now();
        let taken = match &list.krl {
            Some(text) => match STANDARD.decode(text) {
                Ok(bytes) => {
                    let received = Received { bytes: &bytes, note: &list.note };
                    krl::take(&self.config, &received, None, now).map(|_| ())
                }
                Err(_) => Err(HostError::Krl(krl::KrlError::Unreadable("it is no base64".into()))),
            },
            // A list of many bytes is fetched.
            None => match krl::renew(&self.config, &list.note, now) {
                Ok(Some(_)) => Ok(()),
                Ok(None) => krl::update(&self.config, now).map(|_| ()),
                Err(error) => Err(error),
            },
        };
        self.settle(taken);
    }

    /// Fetches the list if nobody confirmed it within `age` seconds.
    pub(super) fn poll(&self, age: u64) {
        let now = clock::now();
        let fresh = |state: State| now.saturating_sub(state.confirmed_at) < age && state.confirmed_at <= now;
        let there = installed(&self.config.revoked_keys).is_ok();
        let taken = match there && State::read(&self.config.state).is_some_and(fresh) {
            true => Ok(()),
            false => krl::update(&self.config, now).map(|outcome| match outcome {
                Outcome::Replaced { version } => {
                    journal::say(&format!("revocation list: version {version} is in force"));
                }
                Outcome::Newest { .. } => {}
            }),
        };
        self.settle(taken);
    }

    /// Tells whoever must know of the list that is in force now, by whomever it was put there, and raises an
    /// alarm about one that was not taken.
    pub(super) fn settle(&self, taken: Result<(), HostError>) {
        match taken {
            Ok(()) => self.told.lock().unwrap_or_else(PoisonError::into_inner).trouble = None,
            // The CA is not there: the list grows old, and the heartbeat says how old.
            Err(HostError::Transport(error)) => journal::say(&format!("revocation list: {error}")),
            Err(error) => self.trouble(&error),
        }
        let Ok(bytes) = fs::read(&self.config.revoked_keys) else { return };
        let Ok(list) = installed(&self.config.revoked_keys) else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Between the two reads it may have been replaced: then the next round tells.
        if told.list == Some(list.hash) || Hash::of(&bytes) != list.hash {
            return;
        }
        // Under the lock: two threads must not tell of two lists in the wrong order.
        let at = clock::now();
        self.connections.listed(InForce { version: list.version, hash: list.hash, bytes: &bytes, at });
        told.list = Some(list.hash);
        drop(told);
        self.beat.now();
    }

    fn trouble(&self, error: &HostError) {
        let (text, now) = (error.to_string(), clock::now());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // The same trouble comes with every note: told once an hour.
        let again = |(before, at): &(String, u64)| *before == text && now.saturating_sub(*at) < 3600;
        if told.trouble.as_ref().is_some_and(again) {
            return;
        }
        told.trouble = Some((text.clone(), now));
        drop(told);
        // Not kept: the journal has it.
        let _ = self.reports.say(Report::Alarmed(Reason::new("krl.refused", text)));
    }
}
