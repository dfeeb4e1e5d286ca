//! The one place where a refusal becomes an answer: RFC 9457 problem details with a stable code, all
//! reasons and the next command. What the caller need not know is "internal".

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fireaxe_protocol::api::Problem;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Decision, NotNarrowed, Outcome};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::SignatureError;

use crate::road::{CannotNarrow, Refusal};

/// What a route gives back.
pub type Answer<T> = Result<T, Told>;

/// A problem on its way out.
#[derive(Debug)]
pub struct Told(Box<Problem>);

impl Told {
    /// A problem with one reason, whose sentence is also its title.
    pub(super) fn new(status: StatusCode, code: &str, sentence: impl Into<String>) -> Told {
        let sentence = sentence.into();
        Told(Box::new(Problem {
            kind: format!("https://fireaxe.invalid/problems/{code}"),
            title: sentence.clone(),
            status: status.as_u16(),
            code: code.to_owned(),
            reasons: vec![Reason::new(code, sentence)],
            next: None,
            nearest: Vec::new(),
            changed: Vec::new(),
            decision: None,
            entry: None,
            index: None,
            expected: None,
            logged: Vec::new(),
        }))
    }

    /// The same with the command to type next.
    #[must_use]
    pub(super) fn next(mut self, command: impl Into<String>) -> Told {
        self.0.next = Some(command.into());
        self
    }

    /// The same with the number that must come next.
    #[must_use]
    pub(super) fn expected(mut self, number: u64) -> Told {
        self.0.expected = Some(number);
        self
    }

    /// The same with the numbers of what is refused with the rest and is in the log all the same.
    #[must_use]
    pub(super) fn logged(mut self, numbers: Vec<u64>) -> Told {
        self.0.logged = numbers;
        self
    }

    /// Its code, for counting.
    pub(super) fn code(&self) -> &str {
        &self.0.code
    }
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(*self.0)).into_response();
        let kind = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<Refusal> for Told {
    fn from(refusal: Refusal) -> Told {
        let said = refusal.to_string();
        match refusal {
            Refusal::Stranger => Told::new(
                StatusCode::UNAUTHORIZED,
                "key.unknown",
                "no person of the roster has this key (never enrolled, or removed)",
            )
            .next("fireaxe enrol --person NAME, then have the lines it prints added to roster.toml"),
            Refusal::Signature(error) => signature(&error),
            Refusal::WrongKind { .. } => {
                Told::new(StatusCode::BAD_REQUEST, "statement.kind", said).next(LOOK)
            }
            Refusal::WrongLog { .. } => {
                Told::new(StatusCode::BAD_REQUEST, "statement.other_log", said).next("fireaxe doctor")
            }
            Refusal::Stale { skew_s } => {
                let (code, words) = if skew_s >= 0 {
                    (
                        "statement.stale",
                        format!(
                            "the statement was signed {skew_s} s ago by the CA's clock; at most 300 s are taken"
                        ),
                    )
                } else {
                    (
                        "statement.future",
                        format!(
                            "the statement was signed {} s in the future by the CA's clock; at most 300 s are taken",
                            skew_s.unsigned_abs()
                        ),
                    )
                };
                Told::new(StatusCode::BAD_REQUEST, code, words).next("fireaxe doctor   (compares the clocks)")
            }
            Refusal::NonceReused => Told::new(StatusCode::CONFLICT, "statement.nonce_reused", said)
                .next("run the command again: it makes a statement with a nonce of its own"),
            Refusal::CounterBack { .. } => Told::new(StatusCode::FORBIDDEN, "key.counter_back", said).next(
                "sign again; if it happens twice, the key may be cloned: use your spare and tell security",
            ),
            Refusal::KeyNotFresh => {
                Told::new(StatusCode::BAD_REQUEST, "public_key.not_fresh", said).next(FRESH)
            }
            Refusal::UnknownTarget { name, nearest } => {
                let mut told = Told::new(
                    StatusCode::NOT_FOUND,
                    "target.unknown",
                    if nearest.is_empty() {
                        format!("there is no system or host {name}")
                    } else {
                        format!("there is no system or host {name}; near it: {}", nearest.join(", "))
                    },
                );
                // A pattern cannot be typed.
                let typed = nearest.iter().find(|name| !name.contains('*'));
                let next = typed
                    .map_or("fireaxe explain --systems".into(), |name| format!("fireaxe open {name} ..."));
                told.0.nearest = nearest;
                told.next(next)
            }
            Refusal::Denied { decision, leaf, index } => denied(*decision, leaf, index),
            Refusal::UnknownEmergency(id) => {
                Told::new(StatusCode::NOT_FOUND, "emergency.unknown", format!("there is no {id}"))
                    .next("fireaxe ls")
            }
            Refusal::WrongDeclaration(_) => {
                Told::new(StatusCode::CONFLICT, "emergency.other_declaration", said).next("fireaxe ls")
            }
            Refusal::Closed(_) => Told::new(StatusCode::CONFLICT, "emergency.closed", said)
                .next("fireaxe open TARGET ...   (declares a new one)"),
            Refusal::Closing { .. } => Told::new(StatusCode::CONFLICT, "emergency.closing", said)
                .next("fireaxe open TARGET ...   (declares a new one)"),
            Refusal::NotYours { .. } => Told::new(StatusCode::FORBIDDEN, "emergency.not_yours", said)
                .next("whoever declared it closes or extends it; somebody with the role incident_commander closes it"),
            // Said with what is different, where that can be read back.
            Refusal::Superseded { id, .. } => changed(id, said, Vec::new()),
            Refusal::Changed { id, changed: what } => changed(id, said, what),
            Refusal::Settled { id, .. } => Told::new(StatusCode::CONFLICT, "request.settled", said)
                .next(format!("fireaxe ls   (how {id} stands)")),
            Refusal::NothingWaits(_) => Told::new(StatusCode::CONFLICT, "request.none", said)
                .next("fireaxe approve   (lists what waits)"),
            Refusal::NoSecondAwaited(_) => {
                Told::new(StatusCode::CONFLICT, "second.not_awaited", said).next("fireaxe ls")
            }
            Refusal::NotNarrowed { id, why, .. } => not_narrowed(id, said, &why),
            Refusal::NotOver(_) => Told::new(StatusCode::CONFLICT, "review.not_over", said)
                .next("fireaxe review   (lists what is owed)"),
            Refusal::NoReviewOwed(_) => Told::new(StatusCode::CONFLICT, "review.not_owed", said)
                .next("fireaxe review   (lists what is owed)"),
            Refusal::MayNot { reasons } => may_not(StatusCode::FORBIDDEN, reasons),
            Refusal::Bundle { reasons } => may_not(StatusCode::CONFLICT, reasons),
            Refusal::Host(refusal) => super::host_problem::told(&refusal),
            Refusal::UnknownReader => Told::new(StatusCode::UNAUTHORIZED, "reader.unknown", said)
                .next("fireaxe ls   (logs in by itself)"),
            Refusal::NotAuditor => Told::new(StatusCode::FORBIDDEN, "role.auditor", said)
                .next("fireaxe ls   (emergencies are for everybody in the roster; the role is given there)"),
            Refusal::NotThatHost(_) => Told::new(StatusCode::UNAUTHORIZED, "host.other_key", said)
                .next("fireaxe-host doctor   (says which key it is enrolled with)"),
            Refusal::ReportGap { expected, logged, .. } => {
                Told::new(StatusCode::CONFLICT, "report.gap", said)
                    .expected(expected)
                    .logged(logged)
                    .next("send the reports from there; a host that has lost them is enrolled anew")
            }
            Refusal::OtherWords { expected, logged, .. } => {
                Told::new(StatusCode::CONFLICT, "report.other_words", said).expected(expected).logged(logged).next(
                    "send it under the next number; if the host was not set back, look whether there are two of it",
                )
            }
            Refusal::ReportBefore(_) => Told::new(StatusCode::CONFLICT, "report.before_enrolment", said)
                .next("set the host's clock if it is behind; what it said before it joined is not taken"),
            Refusal::TooManyReports(_) => {
                Told::new(StatusCode::TOO_MANY_REQUESTS, "report.too_many", said).next(AGAIN)
            }
            Refusal::UnknownSystem(_) => Told::new(StatusCode::NOT_FOUND, "system.unknown", said)
                .next("fireaxe-ca policy check DIR   (lists the systems)"),
            Refusal::LogUnavailable => Told::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "log.unavailable",
                "the CA cannot write its log, so nothing is signed; live certificates go on to their end",
            )
            .next("send the same statement again in a moment; the operator looks with: fireaxe-ca doctor"),
            Refusal::MirrorUnavailable(_) => Told::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "mirror.unavailable",
                format!("{said}; so nothing is signed; live certificates go on to their end"),
            )
            .next(
                "send the same statement again in a moment; the operator mounts the mirror's disk, or makes room on \
                 it, and looks with: fireaxe-ca doctor",
            ),
            Refusal::Fenced(_) => Told::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ca.fenced",
                format!("{said}; live certificates go on to their end"),
            )
            .next("the operator looks with: fireaxe-ca doctor   (and docs/OPERATIONS.md, \"The fence\")"),
            Refusal::ClockStopped => Told::new(StatusCode::SERVICE_UNAVAILABLE, "clock.stopped", said)
                .next("the operator, once the clock is right: fireaxe-ca clock confirm --reason TEXT"),
            Refusal::Ahead(_) => Told::new(StatusCode::SERVICE_UNAVAILABLE, "witness.ahead", said)
                .next("the operator: docs/OPERATIONS.md, When a witness is ahead"),
            Refusal::Busy => Told::new(StatusCode::SERVICE_UNAVAILABLE, "ca.busy", said).next(AGAIN),
            Refusal::Slow => Told::new(StatusCode::SERVICE_UNAVAILABLE, "ca.slow", said).next(AGAIN),
            Refusal::Stopping => Told::new(StatusCode::SERVICE_UNAVAILABLE, "ca.stopping", said).next(AGAIN),
            Refusal::Internal(internal) => {
                tracing::error!(event = "internal", fault = %internal);
                Told::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "the CA made a mistake of its own; nothing was signed",
                )
                .next("the operator finds it in the CA's log as event \"internal\"")
            }
        }
    }
}

fn signature(error: &SignatureError) -> Told {
    let code = match error {
        SignatureError::Statement(_) => "statement.unreadable",
        SignatureError::TooLong(_) | SignatureError::Unreadable => "signature.unreadable",
        SignatureError::Namespace { .. } => "signature.namespace",
        SignatureError::Algorithm(_) => "signature.algorithm",
        SignatureError::Mismatch => "signature.mismatch",
    };
    Told::new(StatusCode::BAD_REQUEST, code, error.to_string()).next(LOOK)
}

fn changed(id: EmergencyId, said: String, what: Vec<String>) -> Told {
    let mut told = Told::new(StatusCode::CONFLICT, "request.changed", said)
        .next(format!("fireaxe approve {id}   (shows what waits now)"));
    told.0.changed = what;
    told
}

/// Never a dead end: what is held goes on working on every host that it reaches.
fn not_narrowed(id: EmergencyId, said: String, why: &CannotNarrow) -> Told {
    let held = || format!("what {id} holds goes on working");
    let (status, code, next) = match why {
        CannotNarrow::OutOfReach => {
            (StatusCode::FORBIDDEN, "host.out_of_reach", "fireaxe open HOST ...".to_owned())
        }
        CannotNarrow::TooMany => (
            StatusCode::TOO_MANY_REQUESTS,
            "narrowed.too_many",
            format!("{}; ask again in some minutes", held()),
        ),
        CannotNarrow::Terms(NotNarrowed::Already) => (StatusCode::CONFLICT, "narrowed.already", held()),
        CannotNarrow::Terms(NotNarrowed::TooLate) => {
            (StatusCode::CONFLICT, "narrowed.too_late", format!("fireaxe extend {id}"))
        }
        CannotNarrow::NotOpen | CannotNarrow::NothingHeld | CannotNarrow::There(_) => {
            (StatusCode::CONFLICT, "narrowed.nothing_held", "fireaxe status".to_owned())
        }
    };
    Told::new(status, code, said).next(next)
}

/// All reasons that keep somebody from something; the first one's code is the problem's.
fn may_not(status: StatusCode, reasons: Vec<Reason>) -> Told {
    let code = reasons.first().map_or("internal", |reason| reason.code.as_str()).to_owned();
    let title = reasons.first().map_or_else(String::new, |reason| reason.sentence.clone());
    let mut told = Told::new(status, &code, title);
    told.0.next = next_of(&code).map(str::to_owned);
    told.0.reasons = reasons;
    told
}

fn next_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "approval.own" => "ask somebody else: fireaxe status says who was asked",
        "approval.not_asked" | "approval.twice" => "fireaxe approve   (lists what waits for you)",
        "approval.presence" | "second.presence" => {
            "sign with your security key: fireaxe doctor says which key is used"
        }
        "rate.approvals" => "ask another approver to read it",
        "second.own" | "second.off_call" => "somebody else on call: fireaxe second EM-...",
        "review.took_part" | "review.not_asked" => {
            "fireaxe review   (lists what is owed, and what of it is yours)"
        }
        "bundle.other_activation" | "bundle.other_hash" | "statement.stale" => {
            "fireaxe-ca policy statement DIR ...   (then sign that)"
        }
        "bundle.unsound" => "fireaxe-ca policy check DIR   and   fireaxe-ca policy test DIR",
        "bundle.no_admins" => {
            "a CA whose roster has [role] policy_admin from the start: fireaxe-ca init --data DIR --bundle DIR"
        }
        code if code.starts_with("bundle.") => {
            "fireaxe-ca policy statement DIR --data DATA   (what changes, who must sign, who gains by it)"
        }
        _ => return None,
    })
}

fn denied(decision: Decision, leaf: fireaxe_protocol::log::Hash, index: u64) -> Told {
    let mut told = Told::new(StatusCode::FORBIDDEN, "policy.denied", "the policy refuses this request");
    if let Outcome::Refuse { reasons, smaller } = &decision.outcome {
        told.0.reasons.clone_from(reasons);
        told.0.next = smaller.as_ref().map(|smaller| {
            let mut command = String::from("the same with");
            if let Some(severity) = smaller.severity {
                command.push_str(&format!(" --severity {severity}"));
            }
            if let Some(want) = &smaller.want {
                command.push_str(&format!(" --want {want}"));
            }
            command
        });
    }
    told.0.decision = Some(Box::new(decision));
    told.0.entry = Some(leaf);
    told.0.index = Some(index);
    told
}

const AGAIN: &str = "send the same statement again in a moment: it is answered once";
const FRESH: &str = "run the command again: it makes a fresh key";
const LOOK: &str = "fireaxe doctor";

/// Nothing is served there.
pub(super) async fn no_such_route() -> Told {
    Told::new(StatusCode::NOT_FOUND, "route.unknown", "nothing is served at this path")
}

/// The request, or the answer to it, takes too long.
pub(super) fn timeout() -> Told {
    Told::new(StatusCode::REQUEST_TIMEOUT, "request.timeout", "the request did not come whole in time")
        .next(AGAIN)
}

/// Something is, but not like this.
pub(super) async fn no_such_method() -> Told {
    Told::new(StatusCode::METHOD_NOT_ALLOWED, "method.unknown", "this path does not take that method")
}
