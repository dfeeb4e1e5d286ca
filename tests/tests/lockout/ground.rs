//! A host that every test of the suite stands on: set up from files or by the program, its five doors, and
//! what is put in a file's place.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use fireaxe_protocol::log::NoteSigner;
use fireaxe_tests::host::Login;
use fireaxe_tests::keys::{Authority, KeyPair, Says};
use fireaxe_tests::lists::Lists;
use fireaxe_tests::run::Ran;
use fireaxe_tests::world::OpenSsh;
use fireaxe_tests::{Host, World};

pub(crate) const NAME: &str = "db-3.payments.prod";
pub(crate) const LIST: &str = "/etc/ssh/fireaxe_revoked_keys";
pub(crate) const USER_CA: &str = "/etc/ssh/fireaxe_user_ca.pub";
pub(crate) const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-fireaxe.conf";
pub(crate) const OPS: &str = "/etc/ssh/fireaxe_principals/ops";
pub(crate) const ACCOUNTS: [&str; 2] = ["ops", "root"];
pub(crate) const REVOKED: u64 = 42;

/// Which of the five doors are open, in the table's order.
pub(crate) type Doors = [bool; 5];

/// As it should be.
pub(crate) const GOOD: Doors = [true, true, true, false, false];
/// No certificate opens anything; standing keys do.
pub(crate) const KEYS_ONLY: Doors = [true, true, false, false, false];
/// sshd cannot read its list: it refuses every key of the accounts that have one.
pub(crate) const UNREADABLE: Doors = [true, false, false, false, false];
/// The list on disk revokes nobody.
pub(crate) const REVOKES_NOBODY: Doors = [true, true, true, true, false];

pub(crate) struct Ground {
    pub(crate) world: World,
    pub(crate) authority: Authority,
    pub(crate) lists: Lists,
    pub(crate) host: Host,
    pub(crate) standing: KeyPair,
    pub(crate) good: KeyPair,
    revoked: KeyPair,
    strange: KeyPair,
}

impl Ground {
    /// A host that is set up from files, by a stand-in for a CA that can serve anything.
    pub(crate) fn new(openssh: OpenSsh) -> Option<Ground> {
        let mut ground = Ground::bare(openssh)?;
        ground.host.start();
        ground.apply(&[]).ok();
        assert_eq!(ground.doors(), GOOD);
        Some(ground)
    }

    /// The same before `apply`, sshd not started; none where that OpenSSH is not there.
    pub(crate) fn bare(openssh: OpenSsh) -> Option<Ground> {
        let world = World::new();
        let authority = Authority::new(&world, "ca");
        let lists = Lists::serve(&authority);
        let host = world.host_with(openssh, NAME, "payments-db")?;
        if openssh == OpenSsh::Backports {
            // Since 9.8 every refused login of a test counts against the next one.
            host.put("/etc/ssh/sshd_config.d/40-site.conf", "PerSourcePenalties no\n");
        }
        lists.set_good(5, &[REVOKED]);
        lists.configure(&host);
        enrolled(&host);
        host.fireaxe(&["krl"]).ok();

        let keys = world.room("keys");
        let [standing, good, revoked, strange] =
            ["standing", "good", "revoked", "strange"].map(|name| KeyPair::generate(&keys, name));
        for home in ["root", "home/deploy"] {
            host.put(&format!("/{home}/.ssh/authorized_keys"), standing.public_line());
        }
        authority.certify(&good, &Says::principal("ops:payments-db").serial(7));
        authority.certify(&revoked, &Says::principal("ops:payments-db").serial(REVOKED));
        authority.certify(&strange, &Says::principal("deploy:payments-db").serial(8));
        Some(Ground { world, authority, lists, host, standing, good, revoked, strange })
    }

    pub(crate) fn apply(&self, words: &[&str]) -> Ran {
        apply(&self.host, &[&["--stock", "--no-self-test"], words].concat())
    }

    pub(crate) fn doors(&self) -> Doors {
        let open = |login: Login, account: &str| self.host.ssh(&login, account, "true").code == 0;
        [
            open(Login::Key(self.standing.path().into()), "deploy"),
            open(Login::Key(self.standing.path().into()), "root"),
            open(Login::certified(&self.good), "ops"),
            open(Login::certified(&self.revoked), "ops"),
            open(Login::certified(&self.strange), "deploy"),
        ]
    }

    #[track_caller]
    pub(crate) fn are(&self, expected: Doors, state: &str) {
        assert_eq!(self.doors(), expected, "doors of: {state}");
    }
}

/// `apply` for the two accounts.
pub(crate) fn apply(host: &Host, words: &[&str]) -> Ran {
    let accounts = ACCOUNTS.iter().flat_map(|account| ["--account", account]);
    let args = ["apply"].into_iter().chain(accounts).chain(words.iter().copied());
    host.fireaxe(&args.collect::<Vec<_>>())
}

/// What enrolment would write, with keys of nobody.
fn enrolled(host: &Host) {
    let path = "/etc/fireaxe/host.toml";
    let text = fs::read_to_string(host.file(path)).unwrap();
    let origin =
        text.lines().find_map(|line| line.strip_prefix("origin = \"")).unwrap().trim_end_matches('"');
    let log = NoteSigner::new(origin, ed25519_dalek::SigningKey::from_bytes(&[4; 32])).unwrap();
    let host_ca = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILtzLwicX0I+FB2CSyefGykEJAmjS7Rmf8XldhuaXjBX";
    let more = format!(
        "[enrolled]\nhost = \"{NAME}\"\nsystem = \"payments-db\"\nlog_key = \"{}\"\nhost_ca = \"{host_ca}\"\n",
        log.key()
    );
    host.put(path, text + &more);
}

/// A file replaced for a while: by bytes, by nothing, by something that is no file.
pub(crate) enum Instead {
    Nothing,
    Bytes(Vec<u8>),
    Folder,
    Link(&'static str),
    Mode(u32),
    Owner(u32),
}

/// Puts it there; what was there comes back when the value is dropped.
pub(crate) struct Swapped {
    path: PathBuf,
    aside: PathBuf,
}

impl Swapped {
    pub(crate) fn new(host: &Host, path: &str, instead: &Instead) -> Swapped {
        let path = host.file(path);
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        match instead {
            Instead::Nothing => {}
            Instead::Bytes(bytes) => fs::write(&path, bytes).unwrap(),
            Instead::Folder => fs::create_dir(&path).unwrap(),
            Instead::Link(to) => symlink(to, &path).unwrap(),
            Instead::Mode(mode) => {
                fs::copy(&aside, &path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Instead::Owner(uid) => {
                fs::copy(&aside, &path).unwrap();
                chown(&path, Some(*uid), Some(*uid)).unwrap();
            }
        }
        Swapped { path, aside }
    }
}

impl Drop for Swapped {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.path);
        let _ = fs::rename(&self.aside, &self.path);
    }
}

pub(crate) fn bytes(text: impl AsRef<[u8]>) -> Instead {
    Instead::Bytes(text.as_ref().to_vec())
}

/// Every file below `/etc/ssh` and `/etc/pam.d`, with its bytes.
pub(crate) fn as_it_is(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![host.file("/etc/ssh"), host.file("/etc/pam.d")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Every path that `apply` may make or change, with mode, owner and bytes: all accounts with their shells and homes,
/// sshd's and PAM's files, sudo's, ours, the recorder's name; but for what useradd and userdel keep for themselves.
pub(crate) fn everything(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders: Vec<_> =
        ["/etc", "/home", "/var/lib", "/var/mail", "/var/spool"].map(|f| host.file(f)).into();
    folders.extend(
        ["/usr/libexec/fireaxe", "/run/fireaxe"].map(|f| host.outside(f)).into_iter().filter(|f| f.exists()),
    );
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if name.ends_with("/etc/.pwd.lock")
                || ["passwd", "group", "shadow", "gshadow", "subuid", "subgid"].iter().any(|f| {
                    name.ends_with(&format!("/etc/{f}-")) || name.ends_with(&format!("/etc/{f}.lock"))
                })
            {
                continue;
            }
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = format!("{name} {:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
            if path.is_symlink() {
                found.push((name, fs::read_link(&path).unwrap().display().to_string().into()));
            } else if path.is_dir() {
                found.push((name, Vec::new()));
                folders.push(path);
            } else {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
