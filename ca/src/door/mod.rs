//! The door: HTTPS in, JSON out. Everything that comes from outside is parsed, bounded and judged here;
//! everything that goes out is made here from what the road says. Decides nothing.
//!
//! | file | routes |
//! |---|---|
//! | `emergencies.rs` | declare, close, list, one |
//! | `requests.rs` | what waits for people: approve, refuse, second, extend, review; grants and cards |
//! | `events.rs` | what happens to an emergency, as it happens |
//! | `reading.rs` | who may read: sessions and read proofs |
//! | `policy.rs` | explain, surface |
//! | `hosts.rs` | keys, revocation list |
//! | `enrolment.rs` | hosts join, renew their certificate, ask for a self-test |
//! | `feed.rs`, `herald.rs` | what hosts follow, and what they are told |
//! | `reports.rs` | what hosts say |
//! | `host_turns.rs` | one request of a kind at a time for each host |
//! | `recordings.rs`, `recorded.rs` | what they recorded: as it comes in, as auditors read it |
//! | `evidence.rs` | who may read entries and recordings, and what the log is told of it |
//! | `fleet.rs` | how they are |
//! | `heads.rs` | what heads of the log they have seen: whether this one has lost entries |
//! | `tiles.rs` | checkpoint and tiles of the log |
//! | `bundles.rs` | the local socket: another bundle |
//! | `operator_hosts.rs` | the local socket: invite, retire, list hosts |
//! | `operator_evidence.rs` | the local socket: evidence that is read there, or leaves the CA |
//! | `operator.rs` | the local socket: incidents, clock, health, metrics |
//! | `problem.rs`, `host_problem.rs` | the one place where a refusal becomes an answer |
//! | `listen.rs` | sockets and TLS |
//! | `places.rs`, `networks.rs` | who may hold a connection, and who goes when there are too many |

mod bundles;
mod emergencies;
mod enrolment;
mod events;
mod evidence;
mod feed;
mod fleet;
mod heads;
mod herald;
mod host_problem;
mod host_turns;
mod hosts;
mod listen;
mod networks;
mod operator;
mod operator_evidence;
mod operator_hosts;
mod places;
mod policy;
mod problem;
mod reading;
mod recorded;
mod recordings;
mod reports;
mod requests;
mod tiles;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use fireaxe_protocol::limits;

pub use listen::{ListenError, Tls, listen_https, listen_operator};
pub use operator::{ClockConfirmation, IncidentReport, Peer, RecordedAnswer};
pub use operator_evidence::{CertificateAgain, CertificatesAnswer, CertificatesRequest, EvidenceRequest};
pub use operator_hosts::{
    EnrolledOne, HostsAnswer, InvitationRequest, InvitedAnswer, InvitedOne, Reached, RetiredAnswer,
};
pub use problem::Answer;

use crate::clock::Clock;
use crate::log::Reader;
use crate::metrics::Metrics;
use crate::recordings::Recordings;
use crate::road::Road;
use crate::views::Views;

/// What every route may use.
pub struct Door {
    /// The way to the writer.
    pub road: Road,
    /// Committed entries and tiles.
    pub reader: Mutex<Reader>,
    /// Lists for people.
    pub views: Views,
    /// Session keys that may read.
    pub sessions: reading::Sessions,
    /// The revocation list as last made.
    pub revocation_list: hosts::RevocationList,
    /// How many may watch at once.
    pub watchers: events::Watchers,
    /// Hosts that follow.
    pub feed: Feed,
    /// How hosts are.
    pub fleet: Fleet,
    /// Whose reports are on their way to the log.
    pub report_turns: HostTurns,
    /// What hosts recorded.
    pub recordings: Recordings,
    /// Turns at the disk that they are on.
    pub recording_turns: RecordingTurns,
    /// Proofs that one head continues another, as last made.
    pub proofs: Proofs,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
}

pub use bundles::{ActivatedAnswer, BundleChangeRequest, ShadowAnswer, ShadowRequest};
pub use events::Watchers;
pub use feed::Feed;
pub(crate) use fleet::is_stale;
pub use fleet::{Fleet, FleetCounts};
pub use herald::start_herald;
pub use host_turns::HostTurns;
pub use hosts::RevocationList;
pub use listen::PeerAddress;
pub use places::DESCRIPTORS;
pub use reading::Sessions;
pub use recordings::RecordingTurns;
pub use tiles::Proofs;

/// The routes that the outside sees.
pub fn routes(door: Arc<Door>) -> Router {
    Router::new()
        .route("/v1/keys", get(hosts::keys))
        .route("/v1/krl", get(hosts::krl))
        .route("/v1/hosts", post(enrolment::join))
        .route("/v1/hosts/{host}/certificate", post(enrolment::certificate))
        .route("/v1/hosts/{host}/self-tests", post(enrolment::self_test))
        .route("/v1/emergencies", get(emergencies::list).post(emergencies::declare))
        .route("/v1/emergencies/{id}", get(emergencies::one))
        .route("/v1/emergencies/{id}/closure", post(emergencies::close))
        .route("/v1/emergencies/{id}/seconds", post(requests::second))
        .route("/v1/emergencies/{id}/approvals", post(requests::approve))
        .route("/v1/emergencies/{id}/refusals", post(requests::refuse))
        .route("/v1/emergencies/{id}/extensions", post(requests::extend))
        .route("/v1/emergencies/{id}/review", post(requests::review))
        .route("/v1/emergencies/{id}/grant", get(requests::grant))
        .route("/v1/emergencies/{id}/certificates/{host}", post(requests::narrow))
        .route("/v1/emergencies/{id}/request", get(requests::card))
        .route("/v1/emergencies/{id}/events", get(events::watch))
        .route("/v1/requests", get(requests::list))
        .route("/v1/certificates", get(emergencies::certificates))
        .route("/v1/recordings", get(recorded::list))
        .route("/v1/recordings/{host}/{recording}", get(recorded::one))
        .route("/v1/sessions", post(reading::login))
        .route("/v1/policy", get(policy::surface))
        .route("/v1/policy/explain", post(policy::explain))
        .route("/v1/feed", get(feed::follow))
        .route("/v1/fleet", get(fleet::fleet))
        .route("/v1/hosts/{host}/reports", post(reports::report))
        .route("/v1/hosts/{host}/recordings/{recording}", post(recordings::append))
        .route("/log/consistency", get(tiles::consistency))
        .route("/log/checkpoint", get(tiles::checkpoint))
        .route("/log/tile/{*path}", get(tiles::tile))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(limits::BODY))
        .layer(middleware::from_fn(in_time))
        .with_state(door)
}

/// No request takes longer than this, up to the head of its answer.
const WHOLE: Duration = Duration::from_secs(20);

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(WHOLE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem::timeout().into_response(),
    }
}

/// The routes of the operator's local socket, for a connection whose other end is `peer`. `ca` is what hosts are
/// told when they are invited.
pub fn operator_routes(door: Arc<Door>, peer: Peer, ca: Reached) -> Router {
    Router::new()
        .route("/operator/incidents", post(operator::incident))
        .route("/operator/hosts", get(operator_hosts::list).post(operator_hosts::invite))
        .route("/operator/hosts/{host}/retirement", post(operator_hosts::retire))
        .route("/operator/clock", post(operator::clock))
        .route("/operator/evidence", post(operator_evidence::accessed))
        .route("/operator/certificates", post(operator_evidence::certificates))
        .route("/operator/bundle", post(bundles::activate).layer(DefaultBodyLimit::max(bundles::BODY)))
        .route("/operator/shadow", post(bundles::shadow).layer(DefaultBodyLimit::max(bundles::BODY)))
        .route("/operator/fleet", get(fleet::operator_fleet))
        .route("/healthz", get(operator::healthz))
        .route("/metrics", get(operator::metrics))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(limits::BODY))
        .layer(Extension(peer))
        .layer(Extension(ca))
        .with_state(door)
}
