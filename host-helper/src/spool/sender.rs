//! The thread that sends. It waits until there is something, sends it, and makes of the answer what is due;
//! when the CA is not there it comes back later and later, each time at a moment of its own.

use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::api::{Problem, ReportsTaken};
use fireaxe_protocol::host::Report;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Envelope;
use fireaxe_transport::TransportError;

use super::{Spool, renumbered};
use crate::authority::Authority;
use crate::error::HostError;
use crate::reports::Reports;
use crate::{journal, randomness};

/// Takes signed reports to the CA.
pub trait Courier {
    /// At most [`fireaxe_protocol::api::Reports::MOST`].
    fn carry(&self, reports: Vec<Envelope>) -> Result<ReportsTaken, TransportError>;
}

impl Courier for Authority {
    fn carry(&self, reports: Vec<Envelope>) -> Result<ReportsTaken, TransportError> {
        self.report(reports)
    }
}

/// Sends what is in the spool.
pub struct Sender<C> {
    spool: Arc<Spool>,
    courier: C,
    /// One at a time, until this one is taken: one of the batch is what the CA does not take.
    pub(super) alone: bool,
    pause: Duration,
}

impl<C> std::fmt::Debug for Sender<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

/// What came of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// There was nothing to send.
    Idle,
    /// Something was taken, or what it was changed: go on at once.
    Again,
    /// It could not be sent.
    Later,
}

impl<C: Courier> Sender<C> {
    /// Sends what is in `spool` by `courier`.
    pub fn new(spool: Arc<Spool>, courier: C) -> Sender<C> {
        Sender { spool, courier, alone: false, pause: FIRST }
    }

    /// Sends for ever.
    pub fn run(&mut self) {
        loop {
            match self.round() {
                Ok(Round::Idle) => self.spool.wait(None),
                Ok(Round::Again) => self.pause = FIRST,
                Ok(Round::Later) => self.later(),
                Err(error) => {
                    journal::say(&format!("the spool cannot be kept: {error}"));
                    self.later();
                }
            }
        }
    }

    fn later(&mut self) {
        self.spool.wait(Some(self.pause / 2 + randomness::jitter(self.pause)));
        self.pause = (self.pause * 2).min(LAST);
    }

    /// Sends once what there is: first what has no number, since it is news.
    pub fn round(&mut self) -> Result<Round, HostError> {
        let (news, confirmation) = self.spool.unnumbered();
        if !news.is_empty() {
            return match self.courier.carry(news) {
                Ok(taken) => self.spool.heard(&taken).map(|()| Round::Again),
                Err(error) => {
                    self.spool.unconfirmed(confirmation);
                    Ok(self.failed(&error))
                }
            };
        }
        let mut batch = self.spool.batch()?;
        if self.alone {
            batch.truncate(1);
        }
        let (Some((first, _)), Some((last, _))) = (batch.first(), batch.last()) else {
            return Ok(Round::Idle);
        };
        let (first, last) = (*first, *last);
        match self.courier.carry(batch.into_iter().map(|(_, envelope)| envelope).collect()) {
            Ok(taken) => {
                self.alone = self.alone && taken.seq < first;
                self.spool.taken(&taken, last)?;
                // A CA that takes nothing and says nothing else is not asked in a tight loop.
                Ok(if taken.seq < first { Round::Later } else { Round::Again })
            }
            Err(error) => match error.problem() {
                Some(problem) => self.refused(&problem.clone(), first, last),
                None => Ok(self.failed(&error)),
            },
        }
    }

    fn failed(&self, error: &TransportError) -> Round {
        if self.pause == FIRST {
            journal::say(&format!("reports wait: {error}"));
        }
        Round::Later
    }

    fn refused(&mut self, problem: &Problem, first: u64, last: u64) -> Result<Round, HostError> {
        let other_words = problem.code == OTHER_WORDS;
        if let Some(expected) = problem.expected.filter(|expected| other_words || *expected != first) {
            // It has other words under such a number, or counts otherwise: one of the two was set back. What it has
            // word for word is done with, or the log would have it twice.
            let logged = problem.logged.iter().copied().filter(|seq| (first..=last).contains(seq));
            let logged: Vec<u64> = logged.collect();
            self.spool.numbers().renumber(expected, &logged, &self.spool.voice)?;
            self.spool.say(Report::Alarmed(renumbered(expected)))?;
            return Ok(Round::Again);
        }
        if problem.code == BEFORE && self.spool.numbers().stamp_anew(&self.spool.voice)? {
            return Ok(Round::Again);
        }
        // What is said of the report itself, and not of the host or the moment.
        let about_it = problem.reasons.iter().any(|reason| reason.code.starts_with("report."));
        if !about_it && !matches!(problem.status, 400 | 413 | 415 | 422) {
            journal::say(&format!("the CA does not take reports: {} ({})", problem.title, problem.code));
            return Ok(Round::Later);
        }
        if first != last {
            self.alone = true;
            return Ok(Round::Again);
        }
        // It would stop all that come after it. Its place and number go to an alarm that tells.
        self.alone = false;
        let sentence = format!("the CA does not take report {first}: {} ({})", problem.title, problem.code);
        let alarm = Reason::new("spool.refused", sentence);
        journal::reason(&alarm);
        self.spool.numbers().refused(first, alarm, &self.spool.voice)?;
        Ok(Round::Later)
    }
}

/// The CA has another report under that number; it says which is the next.
const OTHER_WORDS: &str = "report.other_words";
/// The CA takes nothing that was said before the host was enrolled.
const BEFORE: &str = "report.before_enrolment";
/// The first pause after a failure; each doubles, up to the last. Half of it and a random part on top.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);
