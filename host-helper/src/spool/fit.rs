//! How a report becomes short enough for a statement. Pure.

use fireaxe_protocol::host::Report;
use fireaxe_protocol::limits;

use super::Said;

/// The longest sentence of an alarm. Bytes; escaped six-fold it stays within a statement.
const SENTENCE: usize = 1000;

/// A report, cut until its statement has at most [`limits::STATEMENT`] bytes; what was cut is counted in it.
pub(super) fn shortened(mut said: Said, length: impl Fn(&Said) -> usize) -> Said {
    if let Report::Alarmed(reason) = &mut said.report
        && reason.sentence.len() > SENTENCE
    {
        let end = (0..=SENTENCE).rev().find(|end| reason.sentence.is_char_boundary(*end)).unwrap_or(0);
        reason.sentence.truncate(end);
        reason.sentence.push('…');
    }
    while length(&said) > limits::STATEMENT {
        let cut = match &mut said.report {
            Report::SessionClosed(closed) => {
                closed.more = closed.more.saturating_add(1);
                closed.planted.pop().is_some() || closed.recordings.pop().is_some()
            }
            Report::Heartbeat(heartbeat) => {
                heartbeat.more = heartbeat.more.saturating_add(1);
                heartbeat.strays.pop().is_some() || heartbeat.drift.pop().is_some()
            }
            _ => false,
        };
        if !cut {
            break;
        }
    }
    said
}
