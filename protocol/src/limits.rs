//! Every limit, in one table, each with the sum that justifies it.
//!
//! A limit is tested at the limit and one past it, in the room that enforces it.

/// Person, group, system, tier, trigger, action and rule names: bytes.
/// A key id holds one (`fireaxe/EM-<20>/<name>/<20>` = 8 + 3 + 20 + 1 + 32 + 1 + 20 would be 85),
/// so ids are cut to [`KEY_ID`] by refusing emergencies and serials above 10^11 digits never reached.
pub const NAME: usize = 32;
/// DNS host name: RFC 1035, 253 bytes of text.
pub const HOST: usize = 253;
/// Login account: `useradd` takes 32.
pub const ACCOUNT: usize = 32;
/// `<account>:<host>` = 32 + 1 + 253.
pub const PRINCIPAL: usize = ACCOUNT + 1 + HOST;
/// Key id: what every syslog line and terminal shows whole. `fireaxe/EM-` 11 + 10 digits + `/` +
/// 32 + `/` + 9 digits = 64.
pub const KEY_ID: usize = 64;
/// Reason given by a person: a long sentence; UTF-8 bytes.
pub const REASON: usize = 500;
/// Incident id after its prefix: trackers use at most 40.
pub const INCIDENT: usize = 64;
/// Statement text: the largest (a declaration: reason 500 escaped twice = 3,000, names < 1,000,
/// key 100) is below 5 KiB.
pub const STATEMENT: usize = 8 * 1024;
/// Armored SSHSIG: an sk-ecdsa signature with a 255-byte application is below 1 KiB.
pub const SIGNATURE: usize = 4 * 1024;
/// HTTP request body: one envelope, escaped again as a JSON string, doubles at most.
pub const BODY: usize = 64 * 1024;
/// Log entry: a C2SP entry bundle gives each entry a 16-bit length.
pub const ENTRY: usize = 60 * 1024;
/// One chunk of a `blob.stored` entry before base64: 40 KiB becomes 53.4 KiB of text.
pub const BLOB_CHUNK: usize = 40 * 1024;
/// A bundle's two files together: 10,000 systems of 100 bytes and 10,000 people of 300.
pub const BUNDLE: usize = 4 * 1024 * 1024;
/// How long a host keeps the connection on which it reports, unused, in seconds: two heartbeats. The CA keeps it
/// half a minute longer, so that no report meets a connection that is just being closed.
pub const HOST_IDLE_S: u64 = 120;
/// How far a statement's time may lie from the CA's, either way, in seconds.
pub const STATEMENT_WINDOW_S: u64 = 300;
/// How long a signed change of the bundle counts after its time, in seconds: a quorum gathers within a
/// working week. It can be played only once whatever its age: it names the activation that it replaces.
pub const BUNDLE_WINDOW_S: u64 = 7 * 24 * 3600;
/// Parameters of one action: a command line that a person types.
pub const PARAMS: usize = 8;
/// One parameter's value: bytes. A host name is the longest that an action should need.
pub const PARAM: usize = 253;
/// A parameter's pattern: bytes. A line that a reader of the policy takes in.
pub const PATTERN: usize = 200;
/// A compiled pattern: bytes. A class of nine ranges, 253 times (a value at its limit), needs about 50 KiB.
pub const PATTERN_PROGRAM: usize = 256 * 1024;
/// How long a request waits for approvals when its tier does not say, in seconds.
pub const WAIT_DEFAULT_S: u32 = 30 * 60;
/// The longest a request may wait, in seconds: one shift, as for a certificate.
pub const WAIT_MAX_S: u64 = LIFETIME_MAX_S;
/// Rungs of one ladder: more people than that are a crowd.
pub const RUNGS: usize = 8;
/// Distinct people whom one rung may call: an entry lists them, 35 bytes each (a name at its limit in quotes,
/// and a comma), and must stay far below [`ENTRY`]. More than these are a crowd, of whom nobody feels meant.
pub const CALLED: usize = 256;
/// All host patterns of one system together, bytes: each entry about an emergency lists them, beside signed
/// words of 10 KiB and terms of 20 KiB, within [`ENTRY`].
pub const SYSTEM_HOSTS: usize = 16 * 1024;
/// Quorums of one request (AND between them), each of at most 8 people.
pub const QUORUMS: usize = 4;
/// How often its holder's word alone stops the countdown of an emergency whose incident is resolved: a
/// forged or early word from a tracker comes once or twice, not for ever.
pub const HOLDS: u8 = 3;
/// Extensions of one emergency when its tier does not say.
pub const EXTENDS_DEFAULT: u8 = 3;
/// How far a certificate is back-dated, in seconds: sshd allows no skew at all.
pub const BACKDATE_S: u64 = 120;
/// The longest lifetime of a certificate, in seconds: one shift.
pub const LIFETIME_MAX_S: u64 = 8 * 3600;
/// The shortest lifetime that is worth a login, in seconds.
pub const LIFETIME_MIN_S: u64 = 60;
/// How long a host certificate lasts, in seconds. Renewed from half of it on: a CA may be away for three days
/// before a host becomes a stranger, and a host key that was stolen passes for its host no longer than a week.
pub const HOST_CERTIFICATE_S: u64 = 7 * 24 * 3600;
/// How long an invitation of a host is good when the operator does not say, in seconds.
pub const INVITATION_S: u64 = 3600;
/// The longest an invitation may be good, in seconds: a token lies in an installer's hands meanwhile.
pub const INVITATION_MAX_S: u64 = 7 * 24 * 3600;
/// How long the certificate of a self-test lasts, in seconds: [`LIFETIME_MIN_S`], and one login needs less.
pub const SELF_TEST_S: u32 = 60;
/// Self-tests of one host within [`SELF_TESTS_WITHIN_S`]: ten accounts, three times.
pub const SELF_TESTS: usize = 30;
/// See [`SELF_TESTS`]. Seconds.
pub const SELF_TESTS_WITHIN_S: u64 = 3600;
/// A join token: `fxj_` and 43 characters for 32 bytes.
pub const JOIN_TOKEN: usize = 47;
/// A certificate for one host, made on demand, in seconds: long enough for a login and its second try, and for
/// the next one to find it still there; short enough to be worth nothing in the morning.
pub const NARROWED_S: u32 = 600;
/// How near its end such a certificate is made anew, in seconds: a host's clock may be ahead as far as
/// [`BACKDATE_S`] lets it be behind.
pub const NARROWED_FRESH_S: u64 = BACKDATE_S;
/// Such certificates of one emergency that are alive at once: a loop over a rack, or over several. Its closing
/// lists them, 128 times 11 digits and a comma, 1.5 KiB; the revocation list carries 1 KiB of them for a day;
/// the log grows by at most 128 entries of 2 KiB in each eight minutes.
pub const NARROWED: usize = 128;
/// How long a login (a session key for reading) may last, in seconds.
pub const LOGIN_MAX_S: u64 = 8 * 3600;
/// How long after its end a revoked serial stays in the KRL, in seconds.
pub const KRL_KEEP_S: u64 = 24 * 3600;
/// A serial that is never issued and always revoked: the KRL's canary.
pub const CANARY_SERIAL: u64 = u64::MAX - 1;
/// Principals in a certificate: sshd takes 256; one scope needs one.
pub const PRINCIPALS: usize = 16;
/// Force-command: an argv of sixteen 256-byte words.
pub const FORCE_COMMAND: usize = 4096;
/// The same as a certificate carries it: in a recorded tier the recorder's path and quotes around it. Quotes
/// and backslashes take four bytes each; a command of hundreds of them is none.
pub const FORCED: usize = 6 * 1024;
/// Things of one kind in a report of a host: two lists of ten, 350 bytes each, stay within [`STATEMENT`].
pub const REPORTED: usize = 10;
/// Reports of one host with a number in an hour: one a second, which is more than people log in to one host,
/// and at 2 KiB an entry a host that lies adds 170 MiB a day to the log.
pub const REPORTS_PER_HOUR: u32 = 3600;
/// Alarms of one host in an hour that have a number: more are no news. The rest it only counts.
pub const ALARMS_PER_HOUR: u32 = 30;
/// Closings that one confirmation names: 256 leaves of 67 bytes, 17 KiB of an entry. More are confirmed by the
/// next.
pub const CONFIRMED: usize = 256;
/// Chunks of a recording in one request: twenty at their limit.
pub const RECORDING_BODY: usize = 1024 * 1024;
/// One recording on the CA's disk: a session that shows 1 MB a second for over an hour.
pub const RECORDING: u64 = 4 << 30;
/// All recordings of one host on the CA's disk: one that lies must not take what others need.
pub const RECORDINGS_OF_HOST: u64 = 64 << 30;
/// Recordings of one host on the CA's disk, whatever their size: one each minute for six weeks.
pub const RECORDINGS_OF_HOST_MANY: u64 = 65_536;
/// Recordings of all hosts together: as many as a file system of 16 GiB has inodes, by ext4's own choice.
pub const RECORDINGS_MANY: u64 = 1_048_576;
/// What recordings leave free on the CA's disk, bytes: the log of a busy week.
pub const RECORDINGS_RESERVE: u64 = 1 << 30;
/// Inodes that they leave free there: the log takes a handful, the machine's other programs what they need.
pub const RECORDINGS_RESERVE_INODES: u64 = 4096;
/// A revocation list that travels in an event of the feed: 32 KiB, some 4,000 serials that no range joins; a
/// larger one is fetched.
pub const FEED_LIST: usize = 32 * 1024;
/// A receipt: 40 hashes of 45 bytes, a checkpoint of 300, two cosignatures of 150, an entry line of 400.
pub const RECEIPT: usize = 4 * 1024;
/// A signed note: a checkpoint of 300 bytes and 16 Ed25519 cosignatures of 400 (name 253, base64 104)
/// need 6.7 KiB.
pub const NOTE: usize = 8 * 1024;
/// Signatures on one note: C2SP signed-note asks for at least 16.
pub const NOTE_SIGNATURES: usize = 16;
/// A checkpoint's note with its cosignatures, as a receipt carries it: beside 32 hashes of 45 bytes (a tree of four
/// thousand million entries), an entry line of 400 and 100 of text, it stays within [`RECEIPT`]. A head with the
/// longest name is 700 bytes; each cosignature is 105 and its name.
pub const COSIGNED_NOTE: usize = 2 * 1024;
/// A witness policy file: 96 lines of a key (name 253, base64 44) and an address of 200 are 50 KiB.
pub const WITNESS_POLICY: usize = 64 * 1024;
/// Logs, witnesses and groups of one: as many of each as C2SP tlog-policy asks every reader to take.
pub const WITNESS_POLICY_LINES: usize = 32;
/// A request to a witness: a line, 64 hashes of 45 bytes, and a note at its limit, are 11 KiB.
pub const ADD_CHECKPOINT: usize = 12 * 1024;
/// A witness's answer: sixteen lines of 400 bytes (see [`NOTE`]), 6.4 KiB.
pub const WITNESS_ANSWER: usize = 8 * 1024;
/// Hashes of a consistency proof to a witness: C2SP tlog-witness takes no more.
pub const WITNESS_PROOF: usize = 63;
/// Hashes of one Merkle proof: a tree of 2^64 leaves is 64 levels high.
pub const PROOF: usize = 64;
/// A whole certificate: principals, options and receipt at their limits.
pub const CERTIFICATE: usize = 16 * 1024;
/// How far the CA's clock may jump between two entries or across a restart before it stops signing.
/// Forward, in seconds, while the process runs.
pub const CLOCK_JUMP_S: u64 = 300;
/// A revocation list: two million serials that no range joins, 8 bytes each. sshd takes seconds for more.
pub const KRL: usize = 16 * 1024 * 1024;
/// A chunk of a recording, whole: one of these, in base64 or beside a header, stays within [`BODY`].
pub const RECORDING_CHUNK: usize = 48 * 1024;
/// Bytes of one event of a recording: what one read of a pipe gives; one fits in a chunk.
pub const RECORDING_EVENT: usize = 32 * 1024;
/// The beginning of a command in a recording's header: bytes. Escaped six-fold, with a forced command at its
/// limit escaped two-fold (printable ASCII), 24 + 8 KiB, it leaves 16 KiB of [`RECORDING_CHUNK`].
pub const RECORDING_ASKED: usize = 4 * 1024;
/// Auditors to whom a recording is sealed: in its header 65 bytes each; in each chunk an age stanza of 98.
pub const RECORDING_AUDITORS: usize = 16;
/// What sealing adds to a chunk: sums 40, place 24, age's first line, mac, nonce and tag 102, the stanzas of
/// [`RECORDING_AUDITORS`] 1,568, one that age makes up 270: 2 KiB, and as much again for a later age.
pub const RECORDING_SEALING: usize = 4 * 1024;
/// A terminal's name in a recording's header: bytes. `xterm-256color` has 14.
pub const RECORDING_TERM: usize = 64;
/// A snapshot of the CA's state on its disk: 10,000 hosts of 1,024 open connections each, 90 bytes a connection,
/// need 0.9 GiB. A larger one is not written, and the start reads the whole log.
pub const SNAPSHOT: usize = 1 << 30;
/// What a snapshot says of who can read it: `state/1 fireaxe-ca/1.22.333-pre.4` has 32 bytes.
pub const SNAPSHOT_SHAPE: usize = 64;
/// How long an entry says that somebody reads the same evidence, in seconds: who fetches a log of a million
/// entries asks 4,000 times, who resumes a recording a few times, and each is one act.
pub const EVIDENCE_READ_S: u64 = 3600;
/// Entries about refusals of evidence to one person in [`EVIDENCE_READ_S`]: one a minute says that somebody
/// tries, and at 500 bytes adds less than 1 MB a day to the log.
pub const EVIDENCE_REFUSED: u32 = 60;
/// Reads that the CA remembers to have logged: those of 16 auditors who fetch 1,024 recordings each within the
/// hour, 200 bytes each. What is forgotten is logged again.
pub const EVIDENCE_REMEMBERED: usize = 16_384;
/// Recordings that are handed out at once, each with 64 KiB in memory: a disk has no use for more.
pub const RECORDINGS_READ: usize = 16;
/// Recordings in one answer of the list: 400 bytes each, and as much again for names at their limit, stay below
/// 1 MiB.
pub const RECORDINGS_LISTED: usize = 1000;
/// Answers of that list that one `fireaxe rec fetch` asks for: a million recordings on the CA's disk are 1,049, and
/// three times as many may be gone from it.
pub const RECORDINGS_PAGES: usize = 4096;
/// Files in a zip that is read: a hash tile and a bundle for each 256 entries, 8 million entries. What has more
/// is a folder.
pub const ZIP_FILES: usize = 65_535;
/// The list of files at a zip's end, bytes: as many files with names of 40 bytes and as much beside each.
pub const ZIP_LIST: u64 = 16 * 1024 * 1024;
/// How many times longer a file of a zip may be unpacked: entries shrink to a quarter, text of one letter to a
/// thousandth.
pub const ZIP_RATIO: u64 = 200;
/// A part's name in a dossier or a period: `recordings/`, a host's name, `/`, 32 digits and `.cast` are 302 bytes.
pub const EVIDENCE_NAME: usize = 320;
/// Parts of a dossier or a period: an emergency of 10,000 entries has six for each; a whole log of 10 million
/// entries is 80,000 tiles and bundles.
pub const EVIDENCE_PARTS: usize = 200_000;
/// Its manifest: 200,000 parts of 160 bytes.
pub const EVIDENCE_MANIFEST: usize = 32 << 20;
/// The parts of a dossier that are held in memory to be checked, all of them together, bytes: everything but
/// recordings. 10,000 entries of 2 KiB, twice, and ten bundles at their limit, twice.
pub const EVIDENCE_HELD: usize = 256 << 20;
/// One line of an sshd log: bytes. sshd cuts what it says at 1 KiB; in JSON each byte of it may take six, and the
/// journal's other fields 2 KiB. Longer lines are said and passed over.
pub const SSHD_LINE: usize = 16 * 1024;
/// Logins of one reading of sshd logs: of 300 bytes each, 300 MB. More are read a period at a time.
pub const SSHD_LOGINS: usize = 1_000_000;
/// A syslog message of the stream: bytes. RFC 5425 asks receivers to take 8,192; most take no more by themselves.
pub const STREAM_MESSAGE: usize = 8 * 1024;
/// Text of the events that are sent at once: bytes. One more entry at [`ENTRY`], escaped six-fold, may go over it.
pub const STREAM_BATCH: usize = 1024 * 1024;
