//! Reading evidence on the CA's own machine: the running CA puts it into the log before anything is read.

use fireaxe_protocol::log::Evidence;

use super::{Failed, operator_client};
use crate::data_dir::DataDir;
use crate::door::{EvidenceRequest, RecordedAnswer};

/// Has the CA of `dir` log that whoever runs this reads `what`; returns when the entry is there. Without a running CA
/// nothing is read, unless `unlogged` says that this is meant.
pub(super) fn tell_the_log(dir: &DataDir, what: Evidence, unlogged: bool) -> Result<(), Failed> {
    if unlogged {
        return Ok(());
    }
    let body = EvidenceRequest { what, manifest: None };
    let told: Result<RecordedAnswer, Failed> = operator_client::post(dir, "/operator/evidence", &body);
    told.map(|_| ()).map_err(|mut failed| {
        failed.lines.insert(0, "reading evidence is logged by the running CA, and it was not".into());
        failed.hint("start the CA (fireaxe-ca serve), or say that this reading is in no log: --unlogged")
    })
}
