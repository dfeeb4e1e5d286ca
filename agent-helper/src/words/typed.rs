//! What was typed, to be typed again with a change: every refusal and every wait ends with a whole command.

use fireaxe_protocol::names::{ActionName, IncidentId, Severity, TierName};
use fireaxe_protocol::policy::{Pattern, Smaller};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Params;

use super::{quote, written};

/// What was typed after `open`, to be typed again with a change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed {
    pub(crate) target: String,
    pub(crate) severity: Option<Severity>,
    pub(crate) incident: Option<IncidentId>,
    pub(crate) reason: Option<String>,
    pub(crate) want: Option<TierName>,
    pub(crate) action: Option<ActionName>,
    pub(crate) params: Params,
    pub(crate) for_s: Option<u32>,
    pub(crate) drill: bool,
}

impl Typed {
    /// The whole command that asks for `smaller` instead.
    pub(crate) fn smaller(&self, smaller: &Smaller) -> String {
        let mut other = self.clone();
        other.severity = smaller.severity.or(other.severity);
        if smaller.want.is_some() {
            // A tier instead of the action: one of them alone can be asked for.
            other.want = smaller.want.clone();
            other.action = None;
            other.params = Params::default();
        }
        // The largest request may be larger than the time that was asked for; never smaller than given.
        other.for_s = other.for_s.filter(|for_s| *for_s <= smaller.terms.lifetime_s);
        other.command()
    }

    /// What to type when the policy refuses this: the smaller request; else the same without the one
    /// thing that was wrong; else a question that declares nothing.
    pub(crate) fn after_refusal(&self, reasons: &[Reason], smaller: Option<&Smaller>) -> String {
        if let Some(smaller) = smaller {
            return self.smaller(smaller);
        }
        let mut other = self.clone();
        if !reasons.is_empty() && reasons.iter().all(|r| r.code.starts_with("lifetime.")) {
            other.for_s = None;
            return other.command();
        }
        let worse = self.severity.and_then(|s| Severity::try_from(u8::from(s).saturating_sub(1)).ok());
        match worse.filter(|_| reasons.iter().any(|r| r.code == "risk.denied")) {
            Some(worse) => {
                other.severity = Some(worse);
                format!("{}   (what it gives if it is worse than you said)", other.question())
            }
            None => format!("{}   (how the policy gets there)", other.question()),
        }
    }

    /// What to type when the CA knows no such target and `near` is a name or pattern like it.
    pub(crate) fn corrected(&self, near: &str) -> Option<String> {
        let target = if near.contains('*') { fill(near, &self.target)? } else { near.to_owned() };
        Some(Typed { target, ..self.clone() }.command())
    }

    fn question(&self) -> String {
        let whole = Typed { reason: None, drill: false, ..self.clone() }.command();
        whole.replacen("fireaxe open", "fireaxe explain", 1)
    }

    /// The whole command, quoted for a shell.
    pub(crate) fn command(&self) -> String {
        let mut out = format!("fireaxe open {}", quote(&self.target));
        if let Some(severity) = self.severity {
            out.push_str(&format!(" -s {severity}"));
        }
        if let Some(incident) = &self.incident {
            out.push_str(&format!(" --incident {incident}"));
        }
        if let Some(want) = &self.want {
            out.push_str(&format!(" --want {want}"));
        }
        if let Some(action) = &self.action {
            out.push_str(&format!(" --action {action}"));
            for (name, value) in self.params.iter() {
                out.push_str(&format!(" {}", quote(&format!("{name}={value}"))));
            }
        }
        if let Some(for_s) = self.for_s {
            out.push_str(&format!(" --for {}", written(for_s)));
        }
        if self.drill {
            out.push_str(" --drill");
        }
        if let Some(reason) = &self.reason {
            out.push_str(&format!(" -r {}", quote(reason)));
        }
        out
    }
}

/// A host of the pattern `near`, as like `typed` as can be: each label that fits is kept, each that the
/// pattern spells out is put right.
fn fill(near: &str, typed: &str) -> Option<String> {
    let (wanted, found): (Vec<&str>, Vec<&str>) = (near.split('.').collect(), typed.split('.').collect());
    if wanted.len() != found.len() {
        return None;
    }
    let right = wanted.iter().zip(found).map(|(pattern, label)| {
        if !pattern.contains('*') {
            return Some((*pattern).to_owned());
        }
        // A host name has at least two labels.
        let (pattern, host) = (format!("{pattern}.x"), format!("{label}.x"));
        let fits = pattern.parse::<Pattern>().ok()?.matches(&host.parse().ok()?);
        fits.then(|| label.to_owned())
    });
    right.collect::<Option<Vec<String>>>().map(|labels| labels.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::keyring::tests::terms as some_terms;

    #[test]
    fn the_smaller_request_is_a_whole_command_that_a_shell_reads_back() {
        let typed = Typed {
            target: "db-3.payments.prod".into(),
            severity: Some(1.try_into().unwrap()),
            reason: Some("it's $(down)".into()),
            ..Typed::default()
        };
        let smaller = Smaller {
            severity: Some(2.try_into().unwrap()),
            want: Some("look".parse().unwrap()),
            terms: some_terms("look", 1),
        };
        let command = typed.smaller(&smaller);
        assert_eq!(command, r"fireaxe open db-3.payments.prod -s 2 --want look -r 'it'\''s $(down)'");
        let echoed = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s|' {}", command.trim_start_matches("fireaxe open "))])
            .output()
            .unwrap();
        let echoed = String::from_utf8(echoed.stdout).unwrap();
        assert_eq!(echoed, "db-3.payments.prod|-s|2|--want|look|-r|it's $(down)|");
    }

    #[test]
    fn an_action_is_written_with_its_parameters_and_gives_way_to_a_smaller_tier() {
        let mut params = Params::default();
        params.insert("shard", "12; rm -rf /").unwrap();
        let action = Some("restart-payments".parse().unwrap());
        let typed = Typed { target: "payments-db".into(), action, params, ..Typed::default() };
        let command = "fireaxe open payments-db --action restart-payments 'shard=12; rm -rf /'";
        assert_eq!(typed.command(), command);
        let smaller =
            Smaller { severity: None, want: Some("look".parse().unwrap()), terms: some_terms("look", 1) };
        assert_eq!(typed.smaller(&smaller), "fireaxe open payments-db --want look");
    }

    #[test]
    fn no_refusal_is_answered_with_the_same_command_again() {
        let typed = Typed {
            target: "payments-db".into(),
            severity: Some(4.try_into().unwrap()),
            reason: Some("x".into()),
            for_s: Some(28_800),
            ..Typed::default()
        };
        assert_eq!(typed.command(), "fireaxe open payments-db -s 4 --for 8h -r x");
        let why = |code: &str| vec![Reason::new(code, "so")];
        assert_eq!(
            typed.after_refusal(&why("lifetime.above_tier"), None),
            "fireaxe open payments-db -s 4 -r x"
        );
        assert!(
            typed
                .after_refusal(&why("risk.denied"), None)
                .starts_with("fireaxe explain payments-db -s 3 --for 8h   (")
        );
        assert!(
            typed.after_refusal(&why("rule.denied"), None).starts_with("fireaxe explain payments-db -s 4")
        );
    }

    #[test]
    fn a_mistyped_host_is_put_right_as_its_pattern_says() {
        let corrected =
            |typed: &str, near: &str| Typed { target: typed.into(), ..Typed::default() }.corrected(near);
        let found = |host: &str| Some(format!("fireaxe open {host}"));
        assert_eq!(corrected("db-9.payment.prod", "db-*.payments.prod"), found("db-9.payments.prod"));
        assert_eq!(corrected("payment-db", "payments-db"), found("payments-db"));
        assert_eq!(corrected("dv-9.payment.prod", "db-*.payments.prod"), None);
        assert_eq!(corrected("db-9.prod", "db-*.payments.prod"), None);
    }
}
