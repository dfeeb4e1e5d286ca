//! The page of a period: what was asked for, by whom, of which log; what is in it, with hashes. Prints.

use fireaxe_protocol::evidence::html::Page;
use fireaxe_protocol::evidence::{Manifest, utc};

use super::period::PeriodQuery;

/// The page; `manifest` lists every other part.
pub(super) fn page(query: &PeriodQuery, (first, end): (u64, u64), manifest: &Manifest) -> String {
    let (from, to) = (utc(query.from), utc(query.to));
    let mut page = Page::new(&format!("Period {from} to {to}"));
    let made = &manifest.made;
    let logged = if made.logged { "yes: manifest.entry.json" } else { "NO: made without a running CA" };
    page.facts([
        ("Asked for", format!("entries of the log from {from} up to and not including {to}")),
        ("The whole log too", if query.all { "yes: log/tile".into() } else { "no".into() }),
        ("Made", format!("{} by {} with fireaxe-ca {}", utc(made.at), made.by, made.version)),
        ("In the log", logged.into()),
        ("Log", manifest.origin.to_string()),
        ("Log key", manifest.log_key.clone()),
        ("Head", format!("{} entries, root {}", manifest.size, manifest.root)),
        ("Entries here", format!("{}, from index {first} on", end - first)),
    ]);
    page.heading("Entries by kind");
    let rows: Vec<Vec<String>> =
        manifest.counts.iter().map(|(kind, count)| vec![kind.clone(), count.to_string()]).collect();
    page.table(&["Kind", "Entries"], &rows, "Nothing happened.");
    page.heading("Files");
    let listed = manifest.parts.iter().filter(|part| !part.name.starts_with("log/tile/"));
    let rows: Vec<Vec<String>> =
        listed.map(|part| vec![part.name.clone(), part.bytes.to_string(), part.sha256.to_string()]).collect();
    page.table(&["File", "Bytes", "SHA-256"], &rows, "");
    page.heading("How to check it");
    page.list([
        "sha256sum -c SHA256SUMS: every part is as it was written.",
        "fireaxe verify FILE: every entry of entries.jsonl lies in the log, in order, none left out of the period; \
         the log's key signed the manifest. Offline.",
        "Tables and this page are made for reading; what counts are the entries. That the log's key is the right one, \
         compare with what you have from elsewhere.",
    ]);
    page.end()
}
