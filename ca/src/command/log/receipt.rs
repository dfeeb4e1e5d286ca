//! `log receipt`: the dossier of one emergency.

use std::collections::BTreeMap;

use clap::Args;
use fireaxe_protocol::log::Checkpoint;
use fireaxe_protocol::names::EmergencyId;

use super::handing_out::{Out, failed};
use crate::command::{Failed, operator_client, tell};
use crate::data_dir::DataDir;
use crate::door::{CertificatesAnswer, CertificatesRequest};
use crate::evidence::{Collected, collect, dossier};
use crate::log::Reader;
use crate::road::CERTIFICATES;

/// Put everything of one emergency into one file that is checked offline.
#[derive(Debug, Args)]
pub(in crate::command) struct Receipt {
    /// Which, e.g. EM-42
    emergency: EmergencyId,
    #[command(flatten)]
    out: Out,
}

impl Receipt {
    pub(in crate::command) fn run(self) -> Result<(), Failed> {
        let (id, dir) = (self.emergency, self.out.dir());
        self.out.check()?;
        let of_log = |error| Failed::log(&dir, error);
        let reader = Reader::open(&dir.log()).map_err(of_log)?;
        let note = reader.latest_checkpoint().map_err(of_log)?;
        let head = Checkpoint::open(&note, reader.key(), reader.origin()).map_err(|e| of_log(e.into()))?;
        let collected = collect(&reader, id, head.size).map_err(of_log)?;
        if !collected.declared {
            return Err(Failed::error(format!("the log has no {id}")).hint("fireaxe ls lists emergencies"));
        }
        let certificates = self.certificates(&dir, &collected)?;
        let left = collected.serials.len() - certificates.len();
        if left > 0 {
            tell(format_args!(
                "{left} certificate(s) are in it as their bodies: revoked before their time, or not asked for"
            ));
        }
        let made = self.out.made();
        let draft = dossier(&reader, &dir.recordings(), (id, &note), &collected, &certificates, made);
        self.out.hand_out(&reader, &draft.map_err(failed)?)
    }

    /// As they went out, of the CA that has the key.
    fn certificates(&self, dir: &DataDir, collected: &Collected) -> Result<BTreeMap<u64, String>, Failed> {
        let mut out = BTreeMap::new();
        if !self.out.is_logged() {
            return Ok(out);
        }
        let serials: Vec<u64> = collected.serials.iter().copied().collect();
        for some in serials.chunks(CERTIFICATES) {
            let request = CertificatesRequest { serials: some.to_vec() };
            let told: CertificatesAnswer = operator_client::post(dir, "/operator/certificates", &request)
                .map_err(|failed| self.out.unavailable(failed))?;
            out.extend(told.certificates.into_iter().map(|one| (one.serial, one.certificate)));
        }
        Ok(out)
    }
}
