//! Actions: one exact command instead of a tier. What is wrong with asking for one, under which tier's
//! controls it is had, and what becomes of that tier's terms. What may be filled into its command is
//! `command`'s.

use crate::names::{ActionName, Principal, SystemName};
use crate::policy::decide::{Choice, lifetime};
use crate::policy::finding::nearest;
use crate::policy::severity::line;
use crate::policy::shape::{Action, Policy};
use crate::policy::tighten::{Candidate, Setting, candidate};
use crate::policy::{Facts, Smaller, Target, Terms, Want};
use crate::reason::Reason;

impl Action {
    /// Whether it may run on `system`.
    pub fn runs_on(&self, system: &SystemName) -> bool {
        self.systems.iter().any(|at| at.value == *system)
    }

    /// The command with these parameters filled in, as [`Command::fill`]; reasons name the action's line.
    pub fn render(&self, params: &[(String, String)]) -> Result<String, Vec<Reason>> {
        let at = |reason: Reason| reason.at(line(self.line));
        self.command.fill(params).map_err(|reasons| reasons.into_iter().map(at).collect())
    }

    /// `terms` made those of this action, which runs `command` and nothing else on `target`; every control
    /// stays as it is.
    fn instead_of(&self, terms: Terms, command: String, target: &Target) -> Terms {
        let principal = match &target.host {
            Some(host) => Principal::of_host(&self.account, host),
            None => Principal::of_system(&self.account, &target.system),
        };
        Terms {
            power: self.power,
            account: self.account.clone(),
            principals: vec![principal],
            force_command: Some(command),
            extensions: vec![],
            action: Some(self.name.clone()),
            ..terms
        }
    }

    /// Which of the choices has the controls for this action: the mildest that can do as much, because an
    /// action is less than the tier. `None`: the row gives too little.
    pub(in crate::policy) fn controls(&self, choices: &[Choice<'_>]) -> Option<usize> {
        choices.iter().rposition(|choice| choice.tier.power >= self.power)
    }

    /// Why it is had, and under whose controls.
    pub(in crate::policy) fn granted(&self, setting: &Setting<'_>, choice: &Choice<'_>) -> Reason {
        let Choice { tier, severity, .. } = choice;
        let sentence = format!(
            "action {} takes power {}: it has the controls of tier {} (power {}; row {}, severity {severity})",
            self.name, self.power, tier.name, tier.power, setting.band.name
        );
        Reason::new("action.granted", sentence).at(line(self.line))
    }

    /// Why it is not had: the row gives too little.
    pub(in crate::policy) fn above(&self, setting: &Setting<'_>, choices: &[Choice<'_>]) -> Reason {
        let each = choices.iter().map(|choice| format!("{} (power {})", choice.tier.name, choice.tier.power));
        let given = each.collect::<Vec<_>>().join(", ");
        let sentence = format!(
            "action {} takes power {}: at severity {} row {} gives {}",
            self.name,
            self.power,
            setting.severity,
            setting.band.name,
            if given.is_empty() { "nothing" } else { &given }
        );
        Reason::new("action.power", sentence).at(line(setting.band.cell(setting.severity).line))
    }
}

/// A choice as it is asked for: its tier, or an action under the tier's controls. What is wrong with the
/// action denies it here too, so that nobody gets a tier for a command that cannot be filled.
pub(in crate::policy) fn wanted<'a>(setting: &Setting<'a>, choice: &Choice<'_>) -> Candidate<'a> {
    let mut candidate = candidate(setting, choice.tier, choice.severity);
    if let Some(Want::Action(name, params)) = &setting.facts.want {
        let system = &setting.system.name;
        let action = setting.policy.action(name).filter(|action| action.runs_on(system));
        if let Some((action, Ok(command))) = action.map(|action| (action, action.render(params))) {
            candidate.terms = action.instead_of(candidate.terms, command, &setting.facts.target);
        }
        candidate.denied.extend(refused(setting.policy, setting.facts, name, params));
    }
    candidate
}

/// The largest request that would be granted instead of a refused action: the action itself, where only
/// severity or lifetime stood in its way, or else a tier that can do less than the action.
pub(in crate::policy) fn smaller(
    setting: &Setting<'_>,
    choices: &[Choice<'_>],
    name: &ActionName,
    say_severity: bool,
) -> Option<Smaller> {
    let facts = setting.facts;
    let granted = |candidate: Candidate<'_>, want| {
        let Candidate { mut terms, .. } = Some(candidate).filter(|candidate| candidate.is_free(facts))?;
        terms.lifetime_s = lifetime(&terms, facts);
        Some(Smaller { severity: say_severity.then_some(setting.severity), want, terms })
    };
    let action = setting.policy.action(name);
    let itself = action.and_then(|action| choices.get(action.controls(choices)?));
    if let Some(same) = itself.and_then(|choice| granted(wanted(setting, choice), None)) {
        return Some(same);
    }
    // An unknown action stands for whatever the row gives.
    let less = choices.iter().filter(|c| action.is_none_or(|action| c.tier.power < action.power));
    let free =
        less.filter_map(|c| granted(candidate(setting, c.tier, c.severity), Some(c.tier.name.clone())));
    free.reduce(|most, other| if other.terms.power > most.terms.power { other } else { most })
}

/// What is wrong with asking for this action here, whatever the severity.
pub(in crate::policy) fn refused(
    policy: &Policy,
    facts: &Facts,
    name: &ActionName,
    params: &[(String, String)],
) -> Vec<Reason> {
    let system = &facts.target.system;
    let here: Vec<&str> = policy.actions_on(system).map(|action| action.name.as_str()).collect();
    let there_are = match here.as_slice() {
        [] => format!("{system} has no actions"),
        here => format!("on {system} there are: {}", here.join(", ")),
    };
    let Some(action) = policy.action(name) else {
        // A name of this system if one is near, else one of any.
        let all = policy.actions.keys().map(ActionName::as_str);
        let near = [nearest(name.as_str(), here.iter().copied()), nearest(name.as_str(), all)];
        let near = near.iter().flatten().next().map(|near| format!("; did you mean `{near}`?"));
        let sentence = format!("the policy knows no action {name}{}; {there_are}", near.unwrap_or_default());
        return vec![Reason::new("action.unknown", sentence)];
    };
    let mut reasons = Vec::new();
    if !action.runs_on(system) {
        let systems: Vec<&str> = action.systems.iter().map(|at| at.value.as_str()).collect();
        let sentence = format!("action {name} runs on {} only; {there_are}", systems.join(", "));
        reasons.push(Reason::new("action.elsewhere", sentence).at(line(action.line)));
    }
    reasons.extend(action.render(params).err().unwrap_or_default());
    // A tier's shell can be opened and left alone; a command does what it does.
    if facts.drill {
        let sentence = "a rehearsal would run the command for real: rehearse with a tier";
        reasons.push(Reason::new("action.drill", sentence).at(line(action.line)));
    }
    reasons
}

/// The same policy, in which every action's command is as written: nothing to fill in, so that what a person
/// would fill in does not matter. To walk the table with; never to decide anything for anybody.
pub(in crate::policy) fn with_fixed_commands(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for action in policy.actions.values_mut() {
        action.command = action.command.without_params();
    }
    policy
}
