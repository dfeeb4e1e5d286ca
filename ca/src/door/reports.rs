//! What hosts say: signed reports in. Those with a number go to the log; the others to the fleet's view, and no
//! further: the writer never hears of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use fireaxe_protocol::api::{Reports, ReportsTaken};
use fireaxe_protocol::host::Report;
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::statement::HostReport;

use super::emergencies::{Bytes, body};
use super::places::ConnectionPlace;
use super::problem::{Answer, Told};
use super::{Door, enrolment, heads};
use crate::road::Refusal;

/// `POST /v1/hosts/{host}/reports`
pub(super) async fn report(
    State(door): State<Arc<Door>>,
    host: enrolment::Host,
    connection: Option<Extension<ConnectionPlace>>,
    bytes: Bytes,
) -> Answer<Json<ReportsTaken>> {
    let taken = taken(&door, host, connection, bytes).await;
    door.metrics.said("report", taken.as_ref().map_or_else(|told| told.code(), |_| "ok"));
    taken
}

async fn taken(
    door: &Arc<Door>,
    host: enrolment::Host,
    connection: Option<Extension<ConnectionPlace>>,
    bytes: Bytes,
) -> Answer<Json<ReportsTaken>> {
    let host = enrolment::named(host)?;
    let Reports { reports } = body(bytes)?;
    if reports.is_empty() || reports.len() > Reports::MOST {
        let sentence = format!("1 to {} reports are taken at once", Reports::MOST);
        return Err(Told::new(StatusCode::BAD_REQUEST, "report.count", sentence));
    }
    let published = door.road.published();
    let heard = Arc::new(published.speakers().hear(&published.gate().origin, &host, reports)?);
    let (now, size) = (door.clock.now(), published.health().entries);
    for words in heard.unnumbered() {
        if let Report::Alarmed(reason) = &words.report {
            tracing::warn!(event = "host.alarmed", %host, code = %reason.code, logged = false);
        }
    }
    door.fleet.heard(heard.host(), heard.unnumbered(), now, size);
    // Before anything of it is appended: it may say that nothing must be.
    heads::look(door, &heard, now).await?;
    let before = heard.host().seq;
    // What is old may be a copy, out of the log most easily: it gives nobody a place that is kept.
    let is_now = |words: &HostReport| words.header.at.abs_diff(now.wall_s) <= STATEMENT_WINDOW_S;
    if let Some(Extension(connection)) = connection
        && (heard.has_news() || heard.unnumbered().iter().any(is_now))
    {
        connection.is_of(&host);
    }
    // A host that has said enough, or sends a second request before the first is answered, ends here. Of what
    // it may still say in the hour the writer has the last word.
    if heard.has_news() && !heard.host().hour.has_room(now.wall_s) {
        return Err(Refusal::TooManyReports(host).into());
    }
    let seq = if heard.is_for_the_log() {
        let _turn = door.report_turns.take(&host)?;
        door.road.report(heard.clone()).await?
    } else {
        before
    };
    // Not what is only repeated: everybody can read it in the log, and send it.
    let fresh = before.saturating_add(1)..=seq;
    let news = heard.numbered().iter().map(|(words, _)| words).filter(|words| fresh.contains(&words.seq));
    door.fleet.heard(heard.host(), news, now, size);
    let confirm = published.speakers().owes(&host);
    Ok(Json(ReportsTaken { schema: "fireaxe.reports-taken/v1".into(), seq, confirm }))
}
