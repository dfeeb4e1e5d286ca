//! `VERIFY.txt`: every command for people who have nothing of ours, and what the file cannot show by itself.
//! Commands stand on lines of their own, four blanks in front, to be typed in the file's folder.

use std::fmt::Write;

use super::dossier::Dossier;
use super::layout;
use super::manifest::Manifest;
use super::said::{said, signed_as};

/// Of a dossier.
pub(super) fn of_dossier(dossier: &Dossier) -> String {
    let id = dossier.emergency;
    let mut out = format!(
        "HOW TO VERIFY THE DOSSIER OF {id}\n\n\
         Unpack it, go into its folder, and type the lines that begin with four blanks. sha256sum is of coreutils,\n\
         ssh-keygen of OpenSSH (8.1 or newer). Nothing here is to be believed before it was checked.\n\n"
    );
    let _ = writeln!(
        out,
        "1. EVERYTHING IS AS IT WAS WRITTEN (sha256sum)\n\n    sha256sum -c {}\n",
        layout::SUMS
    );
    out.push_str(&manifest_words(dossier.made.logged));
    out.push_str(
        "2. WHO SIGNED WHAT (ssh-keygen)\n\n\
         Each statement is the exact text that a person or a host signed. allowed_signers says whose key is whose:\n\
         a person's from roster.toml of that time, a host's from the entry by which it joined.\n\n",
    );
    for kept in dossier.entries.values() {
        for (n, one) in said(&kept.entry.event).into_iter().enumerate() {
            let Some((namespace, _)) = signed_as(one.envelope) else { continue };
            let [words, signature] = layout::statement(kept.entry.index, n);
            let _ = writeln!(
                out,
                "    ssh-keygen -Y verify -f {} -I {} -n {namespace} -s {signature} < {words}",
                layout::ALLOWED_SIGNERS,
                one.who.principal()
            );
        }
    }
    out.push_str("\n3. WHAT CERTIFICATES GAVE (ssh-keygen)\n\n");
    if dossier.certificates.is_empty() {
        out.push_str(
            "None is here as it went out: the CA signs none again that is revoked before its time, or could not be\n\
             asked. The second line of its entry is everything that was signed, but for the receipt.\n",
        );
    }
    for serial in &dossier.certificates {
        let _ = writeln!(out, "    ssh-keygen -L -f {}", layout::certificate(*serial));
    }
    let _ = write!(
        out,
        "\n4. EVERYTHING TOGETHER (fireaxe, on any machine, without a network and without a CA)\n\n    \
         fireaxe verify .\n\n\
         It checks all of the above; that each entry lies in the log under its signed head (proofs/, C2SP tlog-proof;\n\
         log/checkpoint, C2SP tlog-checkpoint); that each key was that person's or host's at that time; that each\n\
         decision comes out the same again from policy and facts; that approvals were by enough people, over exactly\n\
         what waited; that certificates are what the decisions gave; that recordings are what hosts reported.\n\n\
         The leaf of an entry, by hand:\n\n    printf '\\000' | cat - entries/000000.json | sha256sum\n\n"
    );
    let _ = write!(
        out,
        "5. WHAT A DOSSIER CANNOT SHOW BY ITSELF\n\n\
         - That the log's key is the right one. Compare this with what you have from elsewhere (a client's state\n\
         folder, last year's audit, the operator), or give it: fireaxe verify FILE --key KEY\n\n\
         {}\n\n\
         - That nothing was left out. Every entry that is here is in the log; that every entry of the emergency is\n\
         here, and that each change of policy and roster was itself in order, only the whole log shows:\n\
         fireaxe-ca log verify.\n\
         - What hosts say is their word. Root on a host can lie about that host, and stop a recording.\n\
         - That the log was shown to everybody alike: compare the head with one that a host, a witness or another\n\
         auditor has: size {}, root {}.\n",
        dossier.log_key, dossier.head.size, dossier.head.root
    );
    out
}

/// How the manifest is signed, or that it is not.
pub(super) fn manifest_words(logged: bool) -> String {
    if logged {
        format!(
            "Then the sum of {} is the one that {} names. That entry is in the log: so the\n\
             log's key vouches for every part, and the log keeps that this file was made.\n\n    sha256sum {0}\n\n",
            layout::MANIFEST,
            layout::MANIFEST_ENTRY
        )
    } else {
        format!(
            "NOT LOGGED: this file was made without a running CA. No entry of the log names {}: sums\n\
             only show that parts fit each other, and the log does not know that it was made.\n\n",
            layout::MANIFEST
        )
    }
}

/// Of a period.
pub fn of_period(manifest: &Manifest) -> String {
    let mut out = format!(
        "HOW TO VERIFY THIS PERIOD\n\n\
         Unpack it, go into its folder, and type the lines that begin with four blanks. Nothing here is to be\n\
         believed before it was checked.\n\n\
         1. EVERYTHING IS AS IT WAS WRITTEN (sha256sum)\n\n    sha256sum -c {}\n\n",
        layout::SUMS
    );
    out.push_str(&manifest_words(manifest.made.logged));
    let _ = write!(
        out,
        "2. THE ENTRIES LIE IN THE LOG (fireaxe, on any machine, without a network and without a CA)\n\n    \
         fireaxe verify .\n\n\
         Each line of {} is an entry: its index, its leaf, its exact bytes. With log/range they come to the root that\n\
         log/checkpoint signs: so none of them was changed, dropped, added or moved.\n\n\
         3. WHAT A PERIOD CANNOT SHOW BY ITSELF\n\n\
         - That the log's key is the right one. Compare it with what you have from elsewhere, or give it:\n\
         fireaxe verify FILE --key KEY\n\n{}\n\n\
         - That the entry before the first one here, and the one after the last, are of other times: their indices\n\
         are in log/range; the whole log shows it (log/tile, if it is here, or fireaxe-ca log verify).\n\
         - What the tables and the page say is made from the entries for reading; they are not compared with them.\n\
         - Who signed what and whether decisions were right: fireaxe-ca log verify, and the dossier of an emergency.\n",
        layout::ENTRIES,
        manifest.log_key
    );
    out
}
