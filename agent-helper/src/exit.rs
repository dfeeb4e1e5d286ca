//! Exit codes, in one place (`sysexits.h` where it has a word for it).

use fireaxe_protocol::api::Problem;
use fireaxe_protocol::policy::Outcome;

/// How a verb ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Not done; the message says why.
    Error = 1,
    /// The command line is not one.
    Usage = 2,
    /// The CA does not know who asks.
    SignIn = 4,
    /// The CA is not there.
    Unavailable = 69,
    /// All of it waits for approval.
    Pending = 75,
    /// The policy says no.
    Denied = 77,
    /// The configuration is not one.
    Config = 78,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}

/// The exit code of a refusal by the CA. The policy's own "no" is told from everything else by its
/// decision; then by HTTP status.
pub(crate) fn of_problem(problem: &Problem) -> Exit {
    let refused = problem.decision.as_ref().is_some_and(|d| matches!(d.outcome, Outcome::Refuse { .. }));
    match problem.status {
        _ if refused => Exit::Denied,
        401 => Exit::SignIn,
        403 => Exit::Denied,
        502..=504 => Exit::Unavailable,
        _ => Exit::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::policy::Decision;

    #[test]
    fn each_refusal_has_its_code() {
        let problem = |status| Problem {
            kind: String::new(),
            title: String::new(),
            status,
            code: String::new(),
            reasons: Vec::new(),
            next: None,
            nearest: Vec::new(),
            changed: Vec::new(),
            decision: None,
            entry: None,
            index: None,
            expected: None,
            logged: Vec::new(),
        };
        for (status, exit) in [(401, 4), (403, 77), (404, 1), (409, 1), (422, 1), (503, 69)] {
            assert_eq!(of_problem(&problem(status)) as u8, exit, "{status}");
        }
        let mut denied = problem(422);
        denied.decision = Some(Box::new(Decision {
            outcome: Outcome::Refuse { reasons: Vec::new(), smaller: None },
            severity: None,
            trigger: None,
            sensitivity: 1,
            blast: 1,
            band: "low".into(),
            cell: None,
            awaits: None,
            because: Vec::new(),
        }));
        assert_eq!(of_problem(&denied) as u8, 77);
    }
}
