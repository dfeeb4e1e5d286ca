//! `log replay`: decides everything again and says what came out otherwise; and of one emergency, why it was
//! decided so.

use clap::Args;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Outcome, Terms};
use fireaxe_protocol::reason::Reason;

use super::bar::Bar;
use super::source::From;
use super::{ascii_json, plain, time};
use crate::command::{Failed, print, tell};
use crate::replay::{Replayed, Told, replay};

/// Decide everything again, from the policy, roster and facts of its time.
#[derive(Debug, Args)]
pub(in crate::command) struct Replay {
    /// Explain the decisions of this emergency
    #[arg(value_name = "EM-N")]
    emergency: Option<EmergencyId>,
    #[command(flatten)]
    from: From,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(in crate::command) fn run(self) -> Result<(), Failed> {
        let mut source = self.from.open()?;
        let mut bar = Bar::new(source.size());
        let out = replay(&mut *source, self.emergency, &mut |read| bar.at(read));
        drop(bar);
        if self.json {
            print(json(&out))?;
        } else {
            out.told.iter().for_each(explain);
        }
        let mut lines: Vec<String> = out.found.iter().map(|found| plain(&found.to_string())).collect();
        for one in &out.differences {
            let of = one.emergency.map_or(String::new(), |id| format!(" ({id})"));
            lines.push(plain(&format!(
                "entry {}{of}: {}: recorded {}, derived {}",
                one.entry, one.field, one.recorded, one.derived
            )));
        }
        if !lines.is_empty() {
            return Err(Failed { code: 1, lines, hint: None }
                .hint("fireaxe-ca log verify says whether these are the log's own entries"));
        }
        if let Some(id) = self.emergency.filter(|_| out.told.is_empty()) {
            return Err(Failed::error(format!("there is no {id} in this log"))
                .hint("fireaxe-ca rec ls and fireaxe ls list them"));
        }
        tell(format_args!(
            "{} decisions in {} entries under {} bundle(s), each the same again",
            out.decisions, out.entries, out.bundles
        ));
        Ok(())
    }
}

fn json(out: &Replayed) -> String {
    let differences: Vec<_> = out
        .differences
        .iter()
        .map(|one| {
            serde_json::json!({
                "entry": one.entry, "emergency": one.emergency, "field": one.field,
                "recorded": one.recorded, "derived": one.derived,
            })
        })
        .collect();
    let found: Vec<_> =
        out.found.iter().map(|one| serde_json::json!({"entry": one.entry, "what": one.what})).collect();
    let decided: Vec<_> = out
        .told
        .iter()
        .map(|told| {
            serde_json::json!({
                "entry": told.entry, "at": told.at, "occasion": told.occasion,
                "facts": told.facts, "decision": told.decision,
            })
        })
        .collect();
    let told = serde_json::json!({
        "schema": "fireaxe.replayed/v1",
        "ok": out.is_same(),
        "entries": out.entries,
        "bundles": out.bundles,
        "decisions": out.decisions,
        "differences": differences,
        "found": found,
        "decided": decided,
    });
    ascii_json(&told)
}

/// A decision in words.
fn explain(told: &Told) {
    let facts = &told.facts;
    let target = facts.target.host.as_ref().map_or(facts.target.system.to_string(), ToString::to_string);
    tell(plain(&format!(
        "entry {}, {}: {} for {target}: {}",
        told.entry,
        time(told.at),
        facts.person,
        told.occasion
    )));
    match &told.decision.outcome {
        Outcome::Permit(terms) => tell(format_args!("  given: {}", gives(terms))),
        Outcome::NeedsApproval { full, meanwhile, .. } => {
            tell(format_args!("  waits for approval: {}", gives(full)));
            if let Some(meanwhile) = meanwhile {
                tell(format_args!("  given meanwhile: {}", gives(meanwhile)));
            }
        }
        Outcome::Refuse { reasons, .. } => {
            tell("  refused:");
            reasons.iter().for_each(reason);
        }
    }
    tell("  because:");
    told.decision.because.iter().for_each(reason);
}

fn gives(terms: &Terms) -> String {
    plain(&format!("tier {} as {} for {} s", terms.tier, terms.account, terms.lifetime_s))
}

fn reason(reason: &Reason) {
    let at = reason.at.as_ref().map_or(String::new(), |at| format!(" [{at}]"));
    tell(plain(&format!("    {}{at}", reason.sentence)));
}
