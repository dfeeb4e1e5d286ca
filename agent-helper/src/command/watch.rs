//! Waiting for news of one emergency: its events, and Ctrl-C where somebody sits. When there are no events to
//! be had it counts as news every few seconds, so that the caller asks; so nothing is ever missed.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use fireaxe_protocol::names::EmergencyId;
use fireaxe_transport::Events;

use crate::authority::Authority;
use crate::clock::Deadline;
use crate::control::client::Control;
use crate::places::Places;
use crate::tty::Keys;

/// Between two tries to get events, and between two questions without them.
const AGAIN: Duration = Duration::from_secs(5);
/// Before a stream that ended is opened again: the CA was restarted, or its time was up.
const REOPEN: Duration = Duration::from_millis(500);

/// What was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// There may be news: ask.
    News,
    /// Nothing within the time that was given.
    Nothing,
    /// Somebody pressed Ctrl-C.
    Interrupt,
}

enum Message {
    Event(u32),
    Ended(u32),
    Interrupt,
}

/// The events of one emergency, opened again whenever they end.
pub(super) struct Watch {
    emergency: EmergencyId,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    /// Which opening; what an earlier one still says counts for nothing.
    opening: u32,
    is_open: bool,
    again: Deadline,
}

impl Watch {
    /// Watches this one; connects at the first [`Watch::next`].
    pub(super) fn new(emergency: EmergencyId) -> Watch {
        let (sender, receiver) = channel();
        let again = Deadline::after(Duration::ZERO);
        Watch { emergency, sender, receiver, opening: 0, is_open: false, again }
    }

    /// Also hears Ctrl-C.
    pub(super) fn listen(&self, keys: &Keys) {
        let sender = self.sender.clone();
        // The receiver is gone only when nobody waits any more.
        keys.listen(move || drop(sender.send(Message::Interrupt)));
    }

    /// Waits for the next thing, for at most `patience`.
    pub(super) fn next(&mut self, authority: &Authority<'_>, places: &Places, patience: Duration) -> Seen {
        if !self.is_open && self.again.left().is_zero() {
            let opened = Control::connect(places)
                .map_err(Into::into)
                .and_then(|mut control| authority.events(&mut control, self.emergency));
            match opened {
                Ok(events) => self.follow(events),
                Err(_) => self.again = Deadline::after(AGAIN),
            }
            // What happened before it was open comes in no event.
            return Seen::News;
        }
        let patience = if self.is_open { patience } else { patience.min(self.again.left()) };
        let mut first = self.receiver.recv_timeout(patience);
        let mut seen = Seen::Nothing;
        loop {
            match first {
                Ok(Message::Interrupt) => return Seen::Interrupt,
                Ok(Message::Event(of)) if of == self.opening => seen = Seen::News,
                Ok(Message::Ended(of)) if of == self.opening => {
                    self.is_open = false;
                    self.again = Deadline::after(REOPEN);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return seen,
            }
            // Several at once are one: what changed is read from the grant.
            first = self.receiver.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }

    fn follow(&mut self, mut events: Events) {
        self.opening = self.opening.wrapping_add(1);
        self.is_open = true;
        let (of, sender) = (self.opening, self.sender.clone());
        std::thread::spawn(move || {
            while let Ok(Some(_)) = events.next_event() {
                if sender.send(Message::Event(of)).is_err() {
                    return;
                }
            }
            let _ = sender.send(Message::Ended(of));
        });
    }
}
