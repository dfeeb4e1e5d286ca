//! What the user of a recorded terminal is told: who they are here and until when, then that it ends.

use crate::daemon::words::Run;
use fireaxe_protocol::policy::Record;

/// Minutes before the end at which it is said.
const WARNINGS: [u64; 3] = [10, 5, 1];

/// The first line.
pub(super) fn banner(run: &Run, account: &str, host: &str, now: u64) -> String {
    let emergency = run.emergency.as_ref().map(|id| format!("{id}  ")).unwrap_or_default();
    let recorded = match run.record {
        Record::None => "not recorded",
        Record::BestEffort | Record::Required => "recorded",
    };
    format!(
        "{emergency}{account} on {host}  {}  {recorded}   extend: fireaxe extend  close: fireaxe close",
        ends(run.until, now)
    )
}

/// `ends 03:01 UTC (in 44 min)`
pub(super) fn ends(until: u64, now: u64) -> String {
    let day = until % 86_400;
    let left = until.saturating_sub(now);
    let left = if left < 120 { format!("{left} s") } else { format!("{} min", left / 60) };
    format!("ends {:02}:{:02} UTC (in {left})", day / 3600, day % 3600 / 60)
}

/// Warnings that are still to be given, the next one last.
#[derive(Debug, Clone)]
pub(super) struct Warnings {
    left: Vec<u64>,
}

impl Warnings {
    /// Those that lie ahead.
    pub(super) fn ahead(until: u64, now: u64) -> Warnings {
        let mut left: Vec<u64> = WARNINGS.iter().map(|minutes| until.saturating_sub(minutes * 60)).collect();
        left.retain(|at| *at > now);
        left.reverse();
        Warnings { left }
    }

    /// When the next is due, unix seconds.
    pub(super) fn next(&self) -> Option<u64> {
        self.left.last().copied()
    }

    /// Whether one is due; several that were slept through count as one.
    pub(super) fn due(&mut self, now: u64) -> bool {
        let before = self.left.len();
        self.left.retain(|at| *at > now);
        self.left.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_says_who_where_until_when_and_what_to_type() {
        let run = Run {
            recording: fireaxe_protocol::statement::Nonce([0; 16]),
            command: None,
            shell: "/bin/bash".into(),
            record: Record::Required,
            emergency: Some("EM-42".parse().unwrap()),
            tier: "root".parse().unwrap(),
            until: 1_790_000_000 / 86_400 * 86_400 + 3 * 3600 + 60,
        };
        assert_eq!(
            banner(&run, "root", "db-3", run.until - 44 * 60),
            "EM-42  root on db-3  ends 03:01 UTC (in 44 min)  recorded   extend: fireaxe extend  close: fireaxe close"
        );
        let unseen = Run { record: Record::None, emergency: None, ..run };
        assert!(banner(&unseen, "ops", "db-3", unseen.until).contains("(in 0 s)  not recorded"));
    }

    #[test]
    fn warnings_come_ten_five_and_one_minute_before_the_end() {
        let mut warnings = Warnings::ahead(10_000, 10_000 - 601);
        assert_eq!(warnings.next(), Some(10_000 - 600));
        assert!(!warnings.due(10_000 - 601) && warnings.due(10_000 - 600) && !warnings.due(10_000 - 599));
        assert!(warnings.due(10_000 - 30), "five and one were slept through");
        assert_eq!(warnings.next(), None);
        assert_eq!(Warnings::ahead(10_000, 10_000 - 300).next(), Some(10_000 - 60));
    }
}
