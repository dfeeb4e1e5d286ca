//! The block in `/etc/pam.d/sshd` that tells the daemon of every connection. Pure text: put in, found, cut
//! out again so that every other byte is as it was.
//!
//! Only at the open: at the close PAM hands the program what the account's own files said, `LD_PRELOAD` too,
//! and root would run it.
//!
//! It stands right after `pam_loginuid`, which gives the connection the audit session by which it is known
//! later, and before `pam_env`, which may let the account's own files set variables for what follows.
//!
//! Three lines, so that nothing of ours can lock anyone out. When the hook lets somebody in, the others are skipped.
//! When it does not, the second asks whether the program runs at all: if it does, that was a refusal, and the third
//! makes it one; if it does not, the third is skipped. Certificates are refused then by `principals`, which is the
//! same program; plain keys go on as before. In this order, since `pam_exec` first closes every descriptor up to the
//! hard limit, open or not (20,000 were seen), and a login that is let in pays for that once.

use std::path::Path;

/// sshd's PAM service.
pub(crate) const PAM: &str = "/etc/pam.d/sshd";

const BEGIN: &str =
    "# fireaxe: begin (written by `fireaxe-host apply`; `fireaxe-host remove` takes it out)\n";
const END: &str = "# fireaxe: end\n";

/// The text with the block for `program` in it, wherever an older one was.
pub(crate) fn with_block(text: &str, program: &Path) -> String {
    let text = without_block(text);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (at, login_uid) = match after_login_uid(&lines) {
        Some(at) => (at, ""),
        None => (first_session(&lines), "session optional pam_loginuid.so\n"),
    };
    let mut out: String = lines.iter().take(at).copied().collect();
    // A last line without its end would swallow the block's first.
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    let program = program.display();
    out.push_str(&format!(
        "{BEGIN}{login_uid}\
         session [success=2 default=ignore] pam_exec.so quiet type=open_session {program} hook\n\
         session [success=ignore default=1] pam_exec.so quiet type=open_session {program} --version\n\
         session required pam_deny.so\n\
         {END}"
    ));
    out.extend(lines.iter().skip(at).copied());
    out
}

/// The text without the block: what it was before, but for a missing end of its last line.
pub(crate) fn without_block(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for line in text.split_inclusive('\n') {
        match line {
            BEGIN => within = true,
            END if within => within = false,
            line if !within => out.push_str(line),
            _ => {}
        }
    }
    out
}

/// Whether exactly the block for `program` is there.
pub(crate) fn has_block(text: &str, program: &Path) -> bool {
    text.contains(BEGIN) && with_block(text, program) == text
}

/// The index of the line after the session's `pam_loginuid`.
fn after_login_uid(lines: &[&str]) -> Option<usize> {
    let found = lines.iter().position(|line| is_session(line) && line.contains("pam_loginuid.so"))?;
    // A line that goes on in the next one.
    let more = lines.iter().skip(found).take_while(|line| line.trim_end().ends_with('\\')).count();
    Some(found + more + 1)
}

/// The index of the first line that may hold session rules; the end, if none.
fn first_session(lines: &[&str]) -> usize {
    let first = |line: &&str| is_session(line) || line.trim_start().starts_with("@include common-session");
    lines.iter().position(first).unwrap_or(lines.len())
}

fn is_session(line: &str) -> bool {
    let kind = line.split_whitespace().next().unwrap_or("");
    kind.trim_start_matches('-').eq_ignore_ascii_case("session")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "# PAM configuration for the Secure Shell service\n\
        @include common-auth\naccount    required     pam_nologin.so\n@include common-account\n\
        session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close\n\
        session    required     pam_loginuid.so\nsession    optional     pam_keyinit.so force revoke\n\
        @include common-session\nsession    required     pam_env.so # [1]\n\
        session    required     pam_env.so user_readenv=1 envfile=/etc/default/locale\n\
        @include common-password\n";

    fn program() -> &'static Path {
        Path::new("/usr/bin/fireaxe-host")
    }

    #[test]
    fn it_stands_after_loginuid_and_before_what_the_account_can_set() {
        let text = with_block(DEBIAN, program());
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
        assert!(at("pam_loginuid.so") < at("fireaxe-host hook"), "{text}");
        assert!(at("fireaxe-host hook") < at("fireaxe-host --version"), "{text}");
        assert!(at("fireaxe-host --version") < at("required pam_deny.so"), "{text}");
        assert!(at("# fireaxe: end") < at("pam_keyinit"), "{text}");
    }

    #[test]
    fn taken_out_it_leaves_every_byte_as_it_was() {
        let others = [
            "",
            "auth required pam_deny.so\n",
            "session required pam_unix.so\n",
            "#session required pam_loginuid.so\n-session optional pam_systemd.so\n",
            "session required \\\n  pam_x.so\nsession required pam_loginuid.so \\\n  debug\n@include x\n",
            DEBIAN,
        ];
        for text in others {
            let with = with_block(text, program());
            assert_eq!(without_block(&with), text);
            assert!(has_block(&with, program()) && !has_block(text, program()));
            assert_eq!(with_block(&with, program()), with, "again is the same");
            assert!(!has_block(&with, Path::new("/opt/fireaxe-host")));
        }
    }

    #[test]
    fn a_stack_without_loginuid_gets_one_before_its_first_session_rule() {
        let text = with_block("auth required a.so\n@include common-session\n", program());
        assert!(text.starts_with("auth required a.so\n# fireaxe: begin"), "{text}");
        assert!(text.contains("session optional pam_loginuid.so\nsession [success"), "{text}");
        assert!(!with_block(DEBIAN, program()).contains("optional pam_loginuid"));
    }

    #[test]
    fn a_rule_that_goes_on_in_the_next_line_is_not_cut_in_two() {
        let text = "session required pam_loginuid.so \\\n  require_auditd\nsession required b.so\n";
        assert!(
            with_block(text, program())
                .starts_with("session required pam_loginuid.so \\\n  require_auditd\n# fireaxe: begin")
        );
    }
}
