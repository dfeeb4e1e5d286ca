//! `fireaxe-host enrol`: makes this host one of the CA's. It proves its host key and a token of one use, and
//! gets its name, a host certificate, the CA's keys and the first revocation list.
//!
//! The order keeps doors as they were if this ends half-way, and every step may be done again: nothing of what
//! is written before the last step is read by anybody yet, or it says what was there before. `host.toml`, the
//! last, is what makes the host enrolled; with the same token the CA gives the same answer until then.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use fireaxe_protocol::api::{Join, Joined, Keys};
use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::log::{Hash, KrlNote, NoteKey};
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::statement::{Enrol, Header, Kind, Statement};
use fireaxe_transport::{Address, Ca, Pin, Timeouts, TransportError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::{self, Config, Enrolled};
use crate::daemon::renewal;
use crate::error::HostError;
use crate::host_key::HostKey;
use crate::login::witnesses;
use crate::{atomic, clock, drop_in, files, krl, randomness};

/// The longest token file. A token is one line of less than 100. Bytes.
const TOKEN: u64 = 1024;
/// The file that says which witnesses are asked for, beside the configuration.
const WITNESS_POLICY: &str = "witness-policy";
/// Which enrolment this is: numbers of reports count from it.
const FILE: &str = "enrolment.json";

/// Where the CA is, who this host is to be, and where its files are.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the CA is.
    pub addr: Address,
    /// Which certificate it shows.
    pub pin: Pin,
    /// The name that the host was invited under.
    pub host: HostName,
    /// Where the configuration is written.
    pub config: PathBuf,
    /// The private host key.
    pub host_key: PathBuf,
    /// Where sshd reads the CA's keys.
    pub user_ca: PathBuf,
    /// Where sshd reads the revocation list.
    pub revoked_keys: PathBuf,
    /// What this program remembers.
    pub state: PathBuf,
    /// Which witnesses are asked for from now on: a file that is checked and copied beside the configuration.
    /// Nothing: as before, if this host was enrolled before.
    pub witness_policy: Option<PathBuf>,
    /// The file of auditors' keys, if recordings are sealed.
    pub auditors: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The CA's answer.
    pub joined: Joined,
    /// Version of the first revocation list.
    pub krl_version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    addr: String,
    pin: Pin,
    krl_key: String,
    origin: String,
    user_ca: PathBuf,
    revoked_keys: PathBuf,
    state: PathBuf,
    enrolled: WrittenEnrolled,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEnrolled {
    host: String,
    system: String,
    log_key: String,
    host_ca: String,
    host_key: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    witness_policy: Option<PathBuf>,
    auditors: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    enrolment: Hash,
}

/// The leaf under which this host is enrolled; nothing: unknown.
pub fn enrolment(state: &Path) -> Option<Hash> {
    let text = fs::read_to_string(state.join(FILE)).ok()?;
    serde_json::from_str::<Enrolment>(&text).ok().map(|there| there.enrolment)
}

/// Reads the token from a file, or from standard input for `-`. Wiped when dropped.
pub fn token(from: &Path) -> Result<Zeroizing<String>, HostError> {
    let failed = |error: std::io::Error| HostError::read(from, &error);
    // As large as it may get: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(TOKEN as usize + 1));
    if from == Path::new("-") {
        std::io::stdin().take(TOKEN).read_to_string(&mut text).map_err(failed)?;
    } else {
        fs::File::open(from).map_err(failed)?.take(TOKEN).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Enrols.
pub fn enrol(plan: &Plan, token: &str) -> Result<Done, HostError> {
    config::no_ca_in(&plan.state)?;
    let key = HostKey::read(&plan.host_key)?;
    let parsed: JoinToken = token.parse()?;
    let ca = Ca::new(plan.addr.clone(), plan.pin, Timeouts::default())?;

    // Step 1: what the CA is, by the pin alone; and that nothing here speaks against it.
    let keys: Keys = ca.get("/v1/keys", None).map_err(HostError::NotJoined)?;
    let trusted = trusted(plan, &keys)?;
    let log_key: NoteKey = keys.log.parse().map_err(|_| HostError::Keys("the log's key is none"))?;
    let before = before(plan)?;
    let asked = witnesses_asked(plan, before.as_ref(), &log_key)?;
    // To whom recordings are sealed: as told, else as it was. To enrol anew is no reason to record in clear.
    let auditors = plan.auditors.clone().or_else(|| before?.auditors);

    // Step 2: join. A crash from here on: the host is enrolled at the CA and does not know; the same token
    // again gets the same answer.
    let header =
        Header { kind: Kind::Enrol, to: keys.origin.clone(), nonce: randomness::nonce()?, at: clock::now() };
    let words = Enrol { header, host: plan.host.clone(), token: parsed.hash(), public_key: key.public() };
    let join = Join { enrol: key.sign(&Statement::Enrol(words)), token: token.to_owned() };
    let answer = ca.post::<Joined>("/v1/hosts", None, &join);
    drop(Zeroizing::new(join.token));
    let joined = answer.map_err(|error| match error {
        TransportError::Problem(problem) => HostError::Refused(problem),
        other => HostError::NotJoined(other),
    })?;

    // Step 3: is it what this host asked for?
    let enrolled = Enrolled {
        host: plan.host.clone(),
        system: joined.system.clone(),
        log_key,
        host_ca: keys.host_ca,
        host_key: plan.host_key.clone(),
        witness_policy: asked.as_ref().map(|(path, _)| path.clone()),
        auditors,
    };
    if joined.host != plan.host {
        return Err(HostError::Certificate(format!("the CA enrolled {} instead", joined.host)));
    }
    renewal::check(&joined.certificate, &enrolled, &key, clock::now())?;
    let text = written(plan, &keys, &enrolled)?;
    let config = Config::parse(&text).map_err(|why| HostError::Config { path: plan.config.clone(), why })?;

    // Step 4: what nobody reads yet. Numbers of reports begin anew.
    atomic::folder(&plan.state)?;
    let leaf = serde_json::to_vec(&Enrolment { enrolment: joined.enrolment }).unwrap_or_default();
    atomic::write(&plan.state.join(FILE), &leaf)?;
    if !trusted {
        if let Some(folder) = plan.user_ca.parent() {
            atomic::folder(folder)?;
        }
        atomic::write(&plan.user_ca, format!("{}\n", keys.user_ca).as_bytes())?;
    }
    let certificate = renewal::certificate_path(&plan.host_key);
    atomic::write(&certificate, format!("{}\n", joined.certificate).as_bytes())?;

    // Step 5: a list that revokes, before anything trusts the CA.
    let (krl::Outcome::Replaced { version } | krl::Outcome::Newest { version }) =
        krl::update(&config, clock::now()).map_err(|error| match error {
            HostError::Transport(error) => HostError::NotJoined(error),
            other => other,
        })?;

    // Step 6: from here on this host is enrolled. The policy comes before the configuration that names it: a crash
    // in between leaves a file that nobody reads, or a stricter one in the place of the one before.
    if let Some(folder) = plan.config.parent() {
        atomic::folder(folder)?;
    }
    if let Some((path, text)) = &asked {
        atomic::write(path, text)?;
    }
    atomic::write(&plan.config, text.as_bytes())?;
    Ok(Done { joined, krl_version: version })
}

/// What this host was told when it was enrolled before, if it was. One that cannot be read may have asked for
/// witnesses or sealed recordings: to go on as if it had not would end both without a word, so both must be given.
fn before(plan: &Plan) -> Result<Option<Enrolled>, HostError> {
    match Config::read_before(&plan.config) {
        Ok(config) => Ok(config.and_then(|config| config.enrolled)),
        Err(_) if plan.witness_policy.is_some() && plan.auditors.is_some() => Ok(None),
        Err(why) => Err(HostError::Before { path: plan.config.clone(), why }),
    }
}

/// Which witnesses this host will ask for, checked: those of the file that is given, else those that it asked for
/// before, so that nobody who enrols a host anew makes it ask for less by leaving out a word.
fn witnesses_asked(
    plan: &Plan,
    before: Option<&Enrolled>,
    log: &NoteKey,
) -> Result<Option<(PathBuf, Vec<u8>)>, HostError> {
    let before = before.and_then(|before| before.witness_policy.clone());
    let installed = || plan.config.with_file_name(WITNESS_POLICY);
    let (read, to) = match (&plan.witness_policy, before) {
        (Some(from), before) => (witnesses::given(from, log), before.unwrap_or_else(installed)),
        (None, Some(before)) => (witnesses::kept(&before, log), before),
        (None, None) => return Ok(None),
    };
    let (_, text) = read.map_err(HostError::Witnesses)?;
    Ok(Some((to, text)))
}

/// Whether this CA is trusted here already. One that is not may only be put in the place of another while no
/// drop-in makes sshd read the file: else certificates of the other would stop counting on the way.
fn trusted(plan: &Plan, keys: &Keys) -> Result<bool, HostError> {
    let there = match files::read_user_ca(&plan.user_ca) {
        Ok(there) => there,
        Err(HostError::Read { .. }) if !plan.user_ca.exists() => return Ok(false),
        Err(error) => return Err(error),
    };
    if there.contains(&keys.user_ca) {
        return Ok(true);
    }
    match Path::new("/").join(drop_in::DROP_IN).exists() {
        true => Err(HostError::OtherCa { path: plan.user_ca.clone() }),
        false => Ok(false),
    }
}

fn written(plan: &Plan, keys: &Keys, enrolled: &Enrolled) -> Result<String, HostError> {
    // The name of the notes' key is checked when the text is read again.
    let _: fireaxe_protocol::log::NoteKey = keys
        .krl
        .parse()
        .ok()
        .filter(|key: &fireaxe_protocol::log::NoteKey| key.name() == KrlNote::key_name(&keys.origin))
        .ok_or(HostError::Keys("the key of the lists' notes is another's"))?;
    let written = Written {
        addr: plan.addr.to_string(),
        pin: plan.pin,
        krl_key: keys.krl.clone(),
        origin: keys.origin.to_string(),
        user_ca: plan.user_ca.clone(),
        revoked_keys: plan.revoked_keys.clone(),
        state: plan.state.clone(),
        enrolled: WrittenEnrolled {
            host: enrolled.host.to_string(),
            system: enrolled.system.to_string(),
            log_key: keys.log.clone(),
            host_ca: keys.host_ca.to_string(),
            host_key: plan.host_key.clone(),
            witness_policy: enrolled.witness_policy.clone(),
            auditors: enrolled.auditors.clone(),
        },
    };
    let text = toml::to_string(&written)
        .map_err(|error| HostError::Config { path: plan.config.clone(), why: error.to_string() })?;
    Ok(format!(
        "# Written by fireaxe-host enrol. Change it with that, or as docs/OPERATIONS.md says.\n{text}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &Path, witness_policy: Option<&str>, auditors: Option<&str>) -> Plan {
        Plan {
            addr: "https://127.0.0.1:8443".parse().unwrap(),
            pin: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            host: "db-3.payments.prod".parse().unwrap(),
            config: folder.join("host.toml"),
            host_key: folder.join("host_key"),
            user_ca: folder.join("user_ca"),
            revoked_keys: folder.join("revoked_keys"),
            state: folder.join("state"),
            witness_policy: witness_policy.map(PathBuf::from),
            auditors: auditors.map(PathBuf::from),
        }
    }

    #[test]
    fn only_a_host_without_a_configuration_is_taken_for_one_that_asks_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(before(&plan(dir.path(), None, None)), Ok(None));
        let file = dir.path().join("host.toml");
        let refused = |plan: &Plan| matches!(before(plan), Err(HostError::Before { .. }));
        for text in [&b""[..], b"[enrolled", b"auditors = 1", b"\xff"] {
            fs::write(&file, text).unwrap();
            for (policy, auditors) in [(None, None), (Some("/p"), None), (None, Some("/a"))] {
                assert!(refused(&plan(dir.path(), policy, auditors)), "{text:?}: {policy:?} {auditors:?}");
            }
            assert_eq!(before(&plan(dir.path(), Some("/p"), Some("/a"))), Ok(None));
        }
        // It cannot even be opened as a file.
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(refused(&plan(dir.path(), None, None)));
    }
}
