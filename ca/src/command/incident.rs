//! `incident put`: the operator's word on an incident. Evidence that decisions may rest on, while no
//! tracker is connected or when it is down.

use clap::{Args, Subcommand};
use fireaxe_protocol::names::{IncidentId, ReasonText, Severity, SystemName};
use fireaxe_protocol::policy::IncidentState;

use super::{Data, Failed, operator_client, print, tell};
use crate::data_dir::DataDir;
use crate::door::{IncidentReport, RecordedAnswer};

/// Record what is known of an incident.
#[derive(Debug, Subcommand)]
pub(super) enum Incident {
    /// Record or update one
    Put(Put),
}

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The tracker's id with its prefix, e.g. pd:PGR0VU2
    incident: IncidentId,
    /// 1 (worst) to 4
    #[arg(long, short, value_parser = severity)]
    severity: Severity,
    /// A system it touches; may be repeated
    #[arg(long = "system", required = true)]
    systems: Vec<SystemName>,
    /// Its title
    #[arg(long)]
    title: Option<ReasonText>,
    /// It is over: what rests on it starts closing
    #[arg(long)]
    resolved: bool,
    /// Print the entry as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
}

fn severity(text: &str) -> Result<Severity, String> {
    let number: u8 = text.parse().map_err(|_| "a severity is 1 (worst) to 4".to_owned())?;
    Severity::try_from(number).map_err(|e| e.to_string())
}

impl Incident {
    pub(super) fn run(self) -> Result<(), Failed> {
        let Incident::Put(put) = self;
        let update = IncidentReport {
            incident: put.incident.clone(),
            state: if put.resolved { IncidentState::Resolved } else { IncidentState::Open },
            severity: put.severity,
            systems: put.systems,
            title: put.title,
        };
        let told: RecordedAnswer =
            operator_client::post(&DataDir::at(&put.data.dir), "/operator/incidents", &update)?;
        if put.json {
            print(format_args!("{}\n", serde_json::json!(told)))?;
        }
        let state = if put.resolved { "resolved" } else { "open" };
        tell(format_args!(
            "{} is {state}, severity {}: entry {} of the log",
            put.incident, put.severity, told.index
        ));
        Ok(())
    }
}
