//! `log verify`: reads the whole log and says whether it holds together.

use clap::Args;

use super::bar::Bar;
use super::source::{From, Knew, tell_what_a_copy_lacks};
use super::{ascii_json, plain, time};
use crate::command::{Failed, print, tell};
use crate::verify::{FINDINGS, Found, Tally, verify_source};

/// Check tree, checkpoints, statements, decisions, certificates and state from the bytes.
#[derive(Debug, Args)]
pub(in crate::command) struct Verify {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    knew: Knew,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(in crate::command) fn run(self) -> Result<(), Failed> {
        let knew = self.knew.read()?;
        let mut source = self.from.open()?;
        let mut bar = Bar::new(source.size());
        let (tally, found) = verify_source(&mut *source, &knew, &mut |read| bar.at(read));
        drop(bar);
        if self.json {
            print(json(&tally, &found, source.has_all_heads()))?;
        }
        if !found.is_empty() {
            let mut lines: Vec<String> = found.iter().map(|found| plain(&found.to_string())).collect();
            if found.len() >= FINDINGS {
                lines.push(format!("it stopped after {FINDINGS} findings"));
            }
            lines.push(format!("the log does not hold together: {} finding(s)", found.len()));
            return Err(Failed { code: 1, lines, hint: None }.hint(
                "keep this log as it is, and hold it against a copy, a mirror, or a head that a host keeps",
            ));
        }
        tell_tally(&tally, self.knew.gives_key());
        tell_what_a_copy_lacks(&*source);
        Ok(())
    }
}

fn json(tally: &Tally, found: &[Found], all_heads: bool) -> String {
    let found: Vec<_> = found.iter().map(|f| serde_json::json!({"entry": f.entry, "what": f.what})).collect();
    let told = serde_json::json!({
        "schema": "fireaxe.verified/v1",
        "ok": found.is_empty(),
        "entries": tally.entries,
        "checkpoints": tally.checkpoints,
        "all_heads": all_heads,
        "tiles": tally.tiles,
        "statements": tally.statements,
        "reports": tally.reports,
        "decisions": tally.decisions,
        "certificates": tally.certificates,
        "kinds": tally.kinds,
        "first_at": tally.first_at,
        "last_at": tally.last_at,
        "key": tally.key.as_ref().map(ToString::to_string),
        "root": tally.root,
        "found": found,
    });
    ascii_json(&told)
}

fn tell_tally(tally: &Tally, key_is_known: bool) {
    tell(format_args!(
        "the log holds together: {} entries under {} signed heads, {} statements signed by people of \
         their roster, {} reports signed by their hosts, {} decisions the same again, {} certificates as their \
         terms say",
        tally.entries,
        tally.checkpoints,
        tally.statements,
        tally.reports,
        tally.decisions,
        tally.certificates
    ));
    for (kind, count) in &tally.kinds {
        tell(format_args!("{count:>10}  {}", plain(kind)));
    }
    tell(format_args!("first entry: {}", time(tally.first_at)));
    tell(format_args!("last entry:  {}", time(tally.last_at)));
    if let Some(root) = tally.root {
        tell(format_args!("root {root}"));
    }
    match &tally.key {
        Some(key) if key_is_known => tell(format_args!("signed by the key you gave: {key}")),
        Some(key) => tell(format_args!("signed by the key that entry 0 names; compare it with yours: {key}")),
        None => {}
    }
}
