//! What hosts have seen of the log: whether this one has lost entries, or is not the only one.
//!
//! Two things are told apart. A *note* that the log's key signed raises the fence: the CA believes its own key,
//! not the host. A host's *word* on size and root raises nothing, for root on one of many hosts must not be able
//! to stop a CA; it is listened to only while the CA is fenced already because its log was copied or restored,
//! and then only three hosts together, none of which knows more, end that.

use std::sync::Arc;

use axum::http::StatusCode;
use fireaxe_protocol::host::{Heartbeat, Report};
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::log::Checkpoint;

use super::Door;
use super::problem::{Answer, Told};
use super::tiles::in_log;
use crate::clock::Moment;
use crate::fence::{Fence, FenceError, Source};
use crate::log::{LogError, Reader, Relation};
use crate::road::Heard;

/// Looks at the newest heartbeat in what a host said now.
pub(super) async fn look(door: &Arc<Door>, heard: &Arc<Heard>, now: Moment) -> Answer<()> {
    let is_now = |at: u64| at.abs_diff(now.wall_s) <= STATEMENT_WINDOW_S;
    let beat = heard.unnumbered().iter().rev().find_map(|words| match &words.report {
        Report::Heartbeat(beat) if is_now(words.header.at) => Some(beat),
        _ => None,
    });
    let fence = door.road.published().fence().clone();
    let Some(beat) = beat.filter(|beat| beat.ahead.is_some() || fence.is_in_doubt()) else { return Ok(()) };
    let enrolled = door.road.published().speakers().all().len();
    let (host, beat) = (heard.host().host.clone(), beat.clone());
    let looked = in_log(door, move |reader| {
        let from = Source::Host(host.clone());
        if let Some(lies) = lies_in_it(reader, &beat)? {
            // A file of the fence that cannot be written is no reason not to listen to the host.
            said(fence.heard(&host, lies, enrolled, now.tick_ms));
        }
        match &beat.ahead {
            Some(note) => raised(reader, &fence, from, note),
            None => Ok(()),
        }
    });
    looked.await.map_err(|_| {
        Told::new(StatusCode::SERVICE_UNAVAILABLE, "log.unreadable", "the log cannot be read now")
    })
}

/// Whether the newest head that a host says it saw lies in the log. Nothing: it saw none.
fn lies_in_it(reader: &Reader, beat: &Heartbeat) -> Result<Option<bool>, LogError> {
    let Some((size, root)) = beat.head else { return Ok(None) };
    let head = Checkpoint { origin: reader.origin().clone(), size, root };
    Ok(Some(size > 0 && reader.relation(&head)? == Relation::Contained))
}

fn raised(reader: &Reader, fence: &Fence, from: Source, note: &str) -> Result<(), LogError> {
    match Checkpoint::open(note, reader.key(), reader.origin()) {
        Ok(head) if fence.asks(head.size) => {
            said(fence.raise(from, note, &head, reader.relation(&head)?, reader.size()?));
        }
        Ok(_) => {}
        // Not our key's word: it says nothing, whoever brings it.
        Err(error) => tracing::warn!(event = "head.not_ours", %from, %error),
    }
    Ok(())
}

fn said(done: Result<(), FenceError>) {
    if let Err(error) = done {
        tracing::error!(event = "fence.not_kept", %error);
    }
}
