//! Standing access: every way in that needs no emergency. Keys in `authorized_keys` wherever sshd looks for
//! them, CAs that are not ours, passwords. Homes are their users': what is in them is read as hostile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fireaxe_protocol::host::{Stray, StrayKind};
use fireaxe_protocol::reason::Reason;

use super::{Doctor, Finding, Version, Weight};
use crate::apply::accounts::{self, Account};
use crate::apply::effective::Effective;
use crate::drop_in::{DROP_IN, DropIn, USER_CA};
use crate::escape::plain;

/// The most that is read of a file. Bytes; 2,000 keys.
const FILE: u64 = 1024 * 1024;
/// Accounts that are looked at.
const ACCOUNTS: usize = 10_000;
/// Accounts for which sshd is asked one by one, when its configuration tells accounts apart; 20 ms each.
const ASKED: usize = 64;
/// The longest place in a finding, see [`Stray::place`]. Bytes.
const PLACE: usize = 256;

pub(super) fn findings(
    doctor: &Doctor<'_>,
    drop_in: Option<&DropIn>,
    general: Option<&Effective>,
) -> Vec<Finding> {
    let Some(general) = general else { return Vec::new() };
    let mut found = Vec::new();
    let mut trusted: BTreeSet<String> = general.all("trustedusercakeys").iter().cloned().collect();
    passwords(doctor, general, &mut found);
    let accounts: Vec<Account> = accounts::all().into_iter().take(ACCOUNTS).collect();
    let tells_apart = others_match();
    let mut seen = BTreeSet::new();
    let mut asked = 0;
    let mut authority_lines = false;
    for account in &accounts {
        let tier = account.name == "root"
            || drop_in.is_some_and(|drop_in| drop_in.accounts.iter().any(|a| a.as_str() == account.name));
        // Nobody logs in to an account without a shell, but forwards and sftp need none.
        let own = (tier || (tells_apart && asked < ASKED)).then(|| {
            asked += 1;
            Effective::ask(doctor.sshd, &account.name).ok()
        });
        let effective = own.flatten();
        trusted.extend(effective.iter().flat_map(|own| own.all("trustedusercakeys")).cloned());
        let patterns = effective.as_ref().unwrap_or(general).first("authorizedkeysfile").unwrap_or("");
        for path in patterns.split_whitespace().filter_map(|pattern| expand(pattern, account)) {
            if seen.insert(path.clone()) {
                authority_lines |= keys_file(&path, account, &mut found);
            }
        }
        known_hosts(
            doctor,
            &Path::new(&account.home).join(".ssh/known_hosts"),
            account,
            &mut seen,
            &mut found,
        );
    }
    authorities(&trusted, &mut found);
    let nobody =
        Account { name: String::new(), uid: 0, ours: false, home: "/etc/ssh".into(), shell: String::new() };
    for file in ["ssh_known_hosts", "ssh_known_hosts2"] {
        known_hosts(doctor, &Path::new("/etc/ssh").join(file), &nobody, &mut seen, &mut found);
    }
    if authority_lines && Version::ask(doctor.sshd).number.is_some_and(|v| ((9, 9)..(10, 3)).contains(&v)) {
        found.push(Finding::wrong(
            "sshd.comma_principals",
            "a cert-authority line in authorized_keys on this version admits principals with commas (CVE-2026-35414)",
            "upgrade to 10.3, or use TrustedUserCAKeys instead of that line",
        ));
    }
    found
}

fn standing(
    kind: StrayKind,
    place: &str,
    account: Option<&str>,
    sentence: String,
    next: &'static str,
) -> Finding {
    let code = match kind {
        StrayKind::AuthorizedKey => "standing.key",
        StrayKind::ForeignCa => "standing.ca",
        StrayKind::Password => "standing.password",
        StrayKind::CertAuthorityLine => "standing.ca_line",
    };
    let account = account.filter(|name| !name.is_empty()).map(|name| plain(name, 64));
    let stray = Stray { kind, place: plain(place, PLACE), account, since: None };
    Finding {
        reason: Reason::new(code, sentence),
        next,
        weight: Weight::Standing,
        stray: Some(stray),
        owner: None,
    }
}

/// Files of CA keys that are not ours, of all accounts that sshd was asked for.
fn authorities(files: &BTreeSet<String>, found: &mut Vec<Finding>) {
    let ours = format!("/{USER_CA}");
    for file in files.iter().filter(|file| *file != "none" && **file != ours) {
        let sentence =
            format!("certificates of another CA open accounts: TrustedUserCAKeys {}", plain(file, PLACE));
        let next = "is it wanted? its log is not ours";
        let mut finding = standing(StrayKind::ForeignCa, file, None, sentence, next);
        dated(&mut finding, fs::metadata(file).ok().as_ref());
        found.push(finding);
    }
}

fn passwords(doctor: &Doctor<'_>, general: &Effective, found: &mut Vec<Finding>) {
    let next = "set PasswordAuthentication no and KbdInteractiveAuthentication no";
    for keyword in ["passwordauthentication", "kbdinteractiveauthentication"] {
        if general.is(keyword, "yes") {
            let place = format!("{keyword} yes");
            found.push(standing(
                StrayKind::Password,
                &place,
                None,
                format!("sshd takes passwords: {place}"),
                next,
            ));
        }
    }
    let root = Effective::ask(doctor.sshd, "root").ok();
    let by_password = |root: &Effective| {
        root.is("permitrootlogin", "yes")
            && (root.is("passwordauthentication", "yes") || root.is("kbdinteractiveauthentication", "yes"))
    };
    if root.as_ref().is_some_and(by_password) {
        let place = "permitrootlogin yes";
        let sentence = "root can log in with a password".to_owned();
        found.push(standing(
            StrayKind::Password,
            place,
            Some("root"),
            sentence,
            "PermitRootLogin prohibit-password",
        ));
    }
    for keyword in ["hostbasedauthentication", "gssapiauthentication"] {
        if general.is(keyword, "yes") {
            let sentence = format!("sshd lets people in by {keyword}, which needs no emergency");
            found.push(Finding::wrong("sshd.other_way", sentence, "switch it off unless it is wanted"));
        }
    }
}

/// Whether a configuration file that is not ours has a `Match`.
fn others_match() -> bool {
    let folder =
        fs::read_dir("/etc/ssh/sshd_config.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files = folder.chain([PathBuf::from("/etc/ssh/sshd_config")]);
    files.any(|path| {
        let has = |line: &str| line.trim_start().to_ascii_lowercase().starts_with("match");
        path != Path::new("/").join(DROP_IN)
            && fs::read_to_string(&path).is_ok_and(|text| text.lines().any(has))
    })
}

/// A path of `AuthorizedKeysFile` for an account, as sshd expands it.
fn expand(pattern: &str, account: &Account) -> Option<PathBuf> {
    if pattern == "none" {
        return None;
    }
    let mut out = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('%')) => out.push('%'),
            ('%', Some('h')) => out.push_str(&account.home),
            ('%', Some('u')) => out.push_str(&account.name),
            ('%', Some('U')) => out.push_str(&account.uid.to_string()),
            ('%', _) => return None,
            (c, _) => out.push(c),
        }
    }
    let path = Path::new(&out);
    Some(if path.is_absolute() { path.to_path_buf() } else { Path::new(&account.home).join(path) })
}

/// Looks at one `authorized_keys`; gives whether it has a `cert-authority` line.
fn keys_file(path: &Path, account: &Account, found: &mut Vec<Finding>) -> bool {
    let Some((text, meta)) = read(path, account, found) else { return false };
    let (mut keys, mut authorities) = (0, 0);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if is_authority(line) { authorities += 1 } else { keys += 1 }
    }
    let place = path.display().to_string();
    let shown = plain(&place, PLACE);
    let who = plain(&account.name, 64);
    let next = "is it wanted? then it is a way in without an emergency; else remove it";
    for (kind, count, what) in [
        (StrayKind::AuthorizedKey, keys, "keys"),
        (StrayKind::CertAuthorityLine, authorities, "CAs (cert-authority)"),
    ] {
        if count > 0 {
            let sentence = format!("{count} {what} in {shown} open {who}");
            let mut finding = standing(kind, &place, Some(&account.name), sentence, next);
            dated(&mut finding, Some(&meta));
            found.push(finding);
        }
    }
    authorities > 0
}

fn known_hosts(
    doctor: &Doctor<'_>,
    path: &Path,
    account: &Account,
    seen: &mut BTreeSet<PathBuf>,
    found: &mut Vec<Finding>,
) {
    if !seen.insert(path.to_path_buf()) {
        return;
    }
    let ours = doctor.config.enrolled.as_ref().map(|enrolled| enrolled.host_ca.to_string());
    let Some((text, meta)) = read(path, account, found) else { return };
    let foreign = |line: &&str| {
        line.starts_with("@cert-authority") && !ours.as_ref().is_some_and(|key| line.contains(key.as_str()))
    };
    if text.lines().any(|line| foreign(&line.trim())) {
        let place = path.display().to_string();
        let sentence =
            format!("another CA of hosts is believed: @cert-authority in {}", plain(&place, PLACE));
        let next = "is it wanted? whoever holds that CA can pose as the hosts it is believed for";
        let mut finding = standing(StrayKind::CertAuthorityLine, &place, Some(&account.name), sentence, next);
        dated(&mut finding, Some(&meta));
        found.push(finding);
    }
}

fn dated(finding: &mut Finding, meta: Option<&fs::Metadata>) {
    if let Some(meta) = meta {
        finding.owner = Some(meta.uid());
        if let Some(stray) = &mut finding.stray {
            stray.since = u64::try_from(meta.mtime()).ok();
        }
    }
}

/// Reads a file in somebody's home: never waits for a pipe, never follows a link out of the home, never
/// reads more than [`FILE`]. What cannot be looked at is a finding itself: sshd may read it.
fn read(path: &Path, account: &Account, found: &mut Vec<Finding>) -> Option<(String, fs::Metadata)> {
    let unseen = |why: String, found: &mut Vec<Finding>| {
        let place = path.display().to_string();
        let sentence =
            format!("{} of {} was not read: {why}", plain(&place, PLACE), plain(&account.name, 64));
        let next = "look at it by hand: sshd follows links";
        found.push(standing(StrayKind::AuthorizedKey, &place, Some(&account.name), sentence, next));
    };
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return None,
        Err(error) => {
            unseen(error.to_string(), found);
            return None;
        }
    };
    let home = Path::new(&account.home).canonicalize().ok();
    if real != path && !home.is_some_and(|home| real.starts_with(&home)) {
        unseen(format!("it is a link to {}", plain(&real.display().to_string(), PLACE)), found);
        return None;
    }
    // Between the two somebody may put a link or a pipe in its place: neither is opened.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(&real);
    let file = match opened.and_then(|file| file.metadata().map(|meta| (file, meta))) {
        Ok((file, meta)) if meta.is_file() => (file, meta),
        Ok(_) => {
            unseen("it is no file".into(), found);
            return None;
        }
        Err(error) => {
            unseen(error.to_string(), found);
            return None;
        }
    };
    let (file, meta) = file;
    let mut bytes = Vec::new();
    if file.take(FILE).read_to_end(&mut bytes).is_err() || meta.len() > FILE {
        unseen(format!("it has {} bytes", meta.len()), found);
    }
    Some((String::from_utf8_lossy(&bytes).into_owned(), meta))
}

/// Whether `cert-authority` is one of the options in front of a key: those reach to the first blank outside
/// quotes, and commas outside quotes part them. A line without options begins with the key's type.
fn is_authority(line: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    let mut option = String::new();
    for c in line.chars() {
        let ends = !quoted && [',', ' ', '\t'].contains(&c);
        if ends && option.eq_ignore_ascii_case("cert-authority") {
            return true;
        }
        match c {
            _ if ends && c != ',' => return false,
            _ if ends => option.clear(),
            '"' if !escaped => quoted = !quoted,
            c => option.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn account(home: &Path) -> Account {
        Account {
            name: "ana".into(),
            uid: 1,
            ours: false,
            home: home.display().to_string(),
            shell: "/bin/sh".into(),
        }
    }

    #[test]
    fn keys_and_authorities_are_told_apart_by_their_options() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("authorized_keys");
        fs::write(
            &path,
            "# ssh-ed25519 AAAA\n\nssh-ed25519 AAAA ana\ncommand=\"echo cert-authority\" ssh-rsa AAAA\n\
             command=\"a b \\\" c\",cert-authority,principals=\"ops\" ssh-ed25519 AAAA\n",
        )
        .unwrap();
        let mut found = Vec::new();
        assert!(keys_file(&path, &account(dir.path()), &mut found));
        let kinds: Vec<_> = found.iter().map(|f| f.stray.as_ref().unwrap().kind).collect();
        assert_eq!(kinds, [StrayKind::AuthorizedKey, StrayKind::CertAuthorityLine]);
        assert!(found[1].reason.sentence.starts_with("1 CAs"), "{found:?}");
    }

    #[test]
    fn what_is_no_file_of_the_home_is_not_opened_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(dir.path().join("elsewhere"), "ssh-ed25519 AAAA").unwrap();
        symlink(dir.path().join("elsewhere"), home.join("link")).unwrap();
        std::process::Command::new("mkfifo").arg(home.join("pipe")).status().unwrap();
        symlink("/dev/zero", home.join("zero")).unwrap();
        for name in ["link", "pipe", "zero"] {
            let mut found = Vec::new();
            assert!(!keys_file(&home.join(name), &account(&home), &mut found));
            assert!(found[0].reason.sentence.contains("was not read"), "{name}: {found:?}");
        }
        // A link within the home is the home's business.
        fs::write(home.join("keys"), "ssh-ed25519 AAAA").unwrap();
        symlink("keys", home.join("inner")).unwrap();
        let mut found = Vec::new();
        keys_file(&home.join("inner"), &account(&home), &mut found);
        assert!(found[0].reason.sentence.starts_with("1 keys"), "{found:?}");
    }

    #[test]
    fn names_are_shown_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k\u{1b}[2J");
        fs::write(&path, "ssh-ed25519 AAAA\u{1b}").unwrap();
        let mut found = Vec::new();
        keys_file(&path, &account(dir.path()), &mut found);
        assert!(!format!("{:?}", found[0].reason.sentence).contains("\\u{1b}[2J\""));
        assert!(found[0].reason.sentence.is_ascii() && !found[0].reason.sentence.contains('\u{1b}'));
    }

    #[test]
    fn patterns_are_expanded_as_sshd_does() {
        let ana = account(Path::new("/home/ana"));
        for (pattern, path) in [
            (".ssh/authorized_keys", Some("/home/ana/.ssh/authorized_keys")),
            ("/etc/keys/%u", Some("/etc/keys/ana")),
            ("%h/k%%", Some("/home/ana/k%")),
            ("/etc/%U", Some("/etc/1")),
            ("none", None),
            ("/etc/%x", None),
        ] {
            assert_eq!(expand(pattern, &ana).as_deref(), path.map(Path::new), "{pattern}");
        }
    }
}
