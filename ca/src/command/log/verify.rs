//! `log verify`: reads the whole log and says whether it holds together.

use std::io::IsTerminal;

use clap::Args;

use crate::command::{Data, Failed, print, tell};
use crate::data_dir::DataDir;
use crate::log::Reader;
use crate::verify::verify;

/// Check tree, checkpoints, statements, decisions, certificates and state from the bytes.
#[derive(Debug, Args)]
pub(in crate::command) struct Verify {
    #[command(flatten)]
    data: Data,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(in crate::command) fn run(self) -> Result<(), Failed> {
        let command = self;
        let dir = DataDir::at(&command.data.dir);
        let reader = Reader::open(&dir.log()).map_err(|e| Failed::log(&dir, e))?;
        let size = reader.size().map_err(|e| Failed::log(&dir, e))?;
        let shown = std::io::stderr().is_terminal();
        let (tally, found) = verify(&reader, &mut |read| {
            if shown && size > 10_000 {
                eprint!("\r{read} of {size} entries");
            }
        })
        .map_err(|e| Failed::log(&dir, e))?;
        if shown && size > 10_000 {
            tell("");
        }
        if command.json {
            let found: Vec<_> =
                found.iter().map(|f| serde_json::json!({"entry": f.entry, "what": f.what})).collect();
            let told = serde_json::json!({
                "schema": "fireaxe.verified/v1",
                "ok": found.is_empty(),
                "entries": tally.entries,
                "checkpoints": tally.checkpoints,
                "statements": tally.statements,
                "reports": tally.reports,
                "decisions": tally.decisions,
                "certificates": tally.certificates,
                "root": tally.root,
                "found": found,
            });
            print(format_args!("{told}\n"))?;
        }
        if !found.is_empty() {
            let mut lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            lines.push(format!("the log does not hold together: {} finding(s)", found.len()));
            return Err(Failed { code: 1, lines, hint: None });
        }
        tell(format_args!(
            "the log holds together: {} entries under {} signed heads, {} statements signed by people of \
             their roster, {} reports signed by their hosts, {} decisions the same again, {} certificates as their terms say",
            tally.entries,
            tally.checkpoints,
            tally.statements,
            tally.reports,
            tally.decisions,
            tally.certificates
        ));
        if let Some(root) = tally.root {
            tell(format_args!("root {root}"));
        }
        Ok(())
    }
}
