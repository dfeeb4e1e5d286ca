//! What a host said, held against the state of its time: signed by the key with which it was enrolled then, for
//! this log and of itself; and what stands beside its words (whose certificate that was, what cannot be) follows
//! from them and from the log. That its number is the next one and that it confirms exactly the closings that it
//! owed, the fold asks.

use fireaxe_protocol::log::{Entry, HostSaid};
use fireaxe_protocol::statement::Statement;

use super::check::Check;
use crate::road::{entry_of_report, said_before, serial_of_report};
use crate::state::State;

impl Check {
    pub(super) fn host_said(&mut self, state: &State, entry: &Entry, by: &HostSaid) {
        let index = entry.index;
        self.tally.reports += 1;
        let speaker = state.reported.host(&by.host).filter(|speaker| speaker.enrolment == by.of);
        let Some(speaker) = speaker else {
            return self.note(index, format!("{} was not enrolled so at its time", by.host));
        };
        let key = speaker.key.key_data();
        let spoken = match self.spoken(&by.said) {
            Ok(spoken) => spoken,
            Err(error) => return self.note(index, error.to_string()),
        };
        if spoken.statement.header().to != *state.origin() {
            self.note(index, "the report in it is for another log");
        }
        let signed = spoken.signed.ok().filter(|_| spoken.key == key);
        let Some(Statement::Report(words)) = signed.map(|signed| signed.statement) else {
            let what =
                format!("the report in it is not signed by the key with which {} was enrolled", by.host);
            return self.note(index, what);
        };
        if words.host != by.host {
            return self.note(index, "the report in it speaks of another host");
        }
        if said_before(&words, speaker.enrolled_at) {
            self.note(index, format!("the report in it was signed before {} was enrolled so", by.host));
        }
        let came = serial_of_report(&words.report).and_then(|serial| self.known.came(serial));
        let follows = entry_of_report(state, speaker, &words, came, by.clone());
        if follows.as_ref() != Some(&entry.event) {
            self.note(
                index,
                "what stands beside the host's words does not follow from them and from the log",
            );
        }
    }
}
