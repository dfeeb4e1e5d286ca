//! Locks the agent's process down before the first key is born: no core dump, no tracing by other
//! processes of the user, no memory written to swap where the limit allows it.

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Below this limit the whole process does not fit into locked memory, and once `mlockall` is in force
/// every later allocation past the limit would fail. Bytes.
const ROOM: u64 = 256 * 1024 * 1024;

/// Does what can be done; what cannot is told, one sentence each. Never stops the agent: in an
/// emergency an agent whose memory may be swapped is better than none, and `fireaxe doctor` says so.
pub(crate) fn lock_down() -> Vec<String> {
    let mut notes = Vec::new();
    if rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_err() {
        notes.push("core dumps cannot be turned off".to_owned());
    }
    if rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        notes.push("other processes of this user may look into the agent's memory".to_owned());
    }
    let limit = rustix::process::getrlimit(Resource::Memlock);
    let whole = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let raised = rustix::process::setrlimit(Resource::Memlock, whole).is_ok();
    let room = if raised { limit.maximum } else { limit.current };
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if room.is_some_and(|bytes| bytes < ROOM) || rustix::mm::mlockall(flags).is_err() {
        let kib = room.map_or(0, |bytes| bytes / 1024);
        notes.push(format!(
            "keys may be written to swap: the limit on locked memory (ulimit -l) is {kib} KiB, {} are needed",
            ROOM / 1024
        ));
    }
    notes
}
