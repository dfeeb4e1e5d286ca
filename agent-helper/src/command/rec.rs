//! `rec fetch`: recordings beside the copy of the log. Only whole chunks that continue the chain are kept, so what is
//! here can be gone on with; a whole one must be what its host signed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use fireaxe_protocol::api::{RecordingLine, RecordingState, Recordings};
use fireaxe_protocol::limits::{RECORDING, RECORDING_CHUNK, RECORDINGS_PAGES};
use fireaxe_protocol::recording::{Chain, RecordingError};
use serde::Serialize;

use super::Context;
use crate::authority::Authority;
use crate::cli::{Rec, RecordingsOf};
use crate::control::client::Control;
use crate::copy::{CopyError, Folder};
use crate::exit::Exit;
use crate::failure::Failure;

pub(super) fn run(cx: &Context, what: &Rec) -> Result<Exit, Failure> {
    let Rec::Fetch { which, dir } = what;
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let folder = Folder::open(dir)?;
    let (mut done, mut found) = (Done::default(), Vec::new());
    let mut progress = cx.screen.progress();
    let (mut after, mut pages) = (None::<String>, 0);
    loop {
        let page: Recordings = authority.get(&mut control, &path(which.as_ref(), after.as_deref()))?;
        for line in page.recordings.iter().filter(|line| is_of(which.as_ref(), line)) {
            if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                progress.show(&format!("{} {}", line.host, line.recording));
            }
            match fetch(&authority, &mut control, &folder, line)? {
                Came::As(state) => done.count(state),
                Came::Refused(why) => found.push(format!("{} {}: {why}", line.host, line.recording)),
            }
        }
        pages += 1;
        after = match following(pages, after.as_deref(), page.next)? {
            Some(next) => Some(next),
            None => break,
        };
    }
    drop(progress);
    tell(cx, dir, &done, &found);
    match found.is_empty() {
        true => Ok(Exit::Ok),
        false if cx.screen.is_json() => Ok(Exit::Error),
        false => Err(Failure::Recordings(found)),
    }
}

/// What to ask for after this many pages, if there is more. A list that does not go on, or never ends, would be asked
/// for without end; a page without a line is none of these: the CA looks at only so many names for each.
fn following(pages: usize, after: Option<&str>, next: Option<String>) -> Result<Option<String>, Failure> {
    match next {
        Some(_) if pages >= RECORDINGS_PAGES => Err(Failure::Answer("its list of recordings does not end")),
        Some(next) if after.is_some_and(|last| last >= next.as_str()) => {
            Err(Failure::Answer("its list of recordings does not go on"))
        }
        next => Ok(next),
    }
}

fn path(which: Option<&RecordingsOf>, after: Option<&str>) -> String {
    let emergency = match which {
        Some(RecordingsOf::Emergency(id)) => Some(format!("emergency={id}")),
        _ => None,
    };
    let query: Vec<String> =
        emergency.into_iter().chain(after.map(|after| format!("after={after}"))).collect();
    match query.is_empty() {
        true => "/v1/recordings".to_owned(),
        false => format!("/v1/recordings?{}", query.join("&")),
    }
}

fn is_of(which: Option<&RecordingsOf>, line: &RecordingLine) -> bool {
    match which {
        Some(RecordingsOf::Host(host)) => line.host == *host,
        Some(RecordingsOf::Emergency(id)) => line.emergency == Some(*id),
        None => true,
    }
}

/// How many there are of each.
#[derive(Debug, Default, Serialize)]
struct Done {
    /// Whole, and what their hosts signed.
    complete: u64,
    /// Held together so far; not reported yet.
    open: u64,
    /// Reported, and not at the CA.
    missing: u64,
    /// Gone by the policy's time.
    expired: u64,
}

impl Done {
    fn count(&mut self, state: RecordingState) {
        let of = match state {
            RecordingState::Reported => &mut self.complete,
            RecordingState::NotReported => &mut self.open,
            RecordingState::Missing => &mut self.missing,
            RecordingState::Expired => &mut self.expired,
        };
        *of += 1;
    }
}

/// What came of one.
enum Came {
    As(RecordingState),
    /// It is not what it must be.
    Refused(String),
}

fn fetch(
    authority: &Authority<'_>,
    control: &mut Control,
    folder: &Folder,
    line: &RecordingLine,
) -> Result<Came, Failure> {
    if matches!(line.state, RecordingState::Missing | RecordingState::Expired) {
        return Ok(Came::As(line.state));
    }
    let (host, name) = (line.host.as_str(), line.recording.to_string());
    let mut file = folder.recording(host, &name)?;
    let failed = |error: std::io::Error| {
        let path = folder.path("recordings").join(host).join(&name).display().to_string();
        Failure::from(CopyError::File { path, why: error.to_string() })
    };
    let mut here = SoFar::default();
    // What is here was checked when it came; half a chunk at its end, or what somebody changed, is brought again.
    let _ = here.take_from(|into| file.read(into).map_err(failed), |_| Ok(()))?;
    here.left.clear();
    let mut bring = |mut so_far: SoFar| {
        file.set_len(so_far.good).map_err(failed)?;
        file.seek(SeekFrom::Start(so_far.good)).map_err(failed)?;
        let path = format!("/v1/recordings/{host}/{name}?from={}", so_far.good);
        let mut coming = authority.reading(control, &path)?;
        let kept = |mut file: &File, bytes: &[u8]| file.write_all(bytes).map_err(failed);
        let wrong = so_far.take_from(|into| Ok(coming.next(into)?), |bytes| kept(&file, bytes))?;
        file.sync_data().map_err(failed)?;
        Ok::<Came, Failure>(match wrong {
            Some(error) => Came::Refused(error.to_string()),
            None => so_far.came(line),
        })
    };
    let (resumes, is_whole) = (here.good > 0, here.chain.end().is_some() || here.good >= line.bytes);
    let came = if is_whole { here.came(line) } else { bring(here)? };
    match came {
        // It does not fit what is here, which may be what is wrong: once more, all of it.
        Came::Refused(_) if resumes => bring(SoFar::default()),
        came => Ok(came),
    }
}

/// A recording as far as it was read.
#[derive(Default)]
struct SoFar {
    chain: Chain,
    /// Bytes of whole chunks.
    good: u64,
    left: Vec<u8>,
}

impl SoFar {
    /// Takes bytes until `read` has no more; `keep` is given each whole chunk that continues the chain. What does
    /// not ends it; what is left at the end is no whole chunk, and no fault: it may still be being written.
    fn take_from(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, Failure>,
        mut keep: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Option<RecordingError>, Failure> {
        let mut piece = vec![0; 2 * RECORDING_CHUNK];
        loop {
            let got = read(&mut piece)?;
            if got == 0 {
                return Ok(None);
            }
            self.left.extend_from_slice(piece.get(..got).unwrap_or_default());
            let mut whole = 0;
            let wrong = loop {
                let rest = self.left.get(whole..).unwrap_or_default();
                match self.chain.next(rest) {
                    Ok(Some((_, taken))) => whole += taken,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            keep(self.left.get(..whole).unwrap_or_default())?;
            self.good += whole as u64;
            self.left.drain(..whole);
            if wrong.is_some() {
                return Ok(wrong);
            }
            if self.good > RECORDING {
                return Ok(Some(RecordingError::Length(self.left.len())));
            }
        }
    }

    /// Held against what the list says that it must be.
    fn came(&self, line: &RecordingLine) -> Came {
        let header = self.chain.header();
        if header.is_some_and(|header| header.host != line.host || header.recording != line.recording) {
            return Came::Refused("its own header names another host or another recording".into());
        }
        let Some(reported) = &line.reported else { return Came::As(RecordingState::NotReported) };
        match self.chain.recorded() {
            Some(found) if found == *reported => Came::As(RecordingState::Reported),
            Some(found) if found.chunks < reported.chunks => {
                let missing = reported.chunks - found.chunks;
                Came::Refused(format!("{missing} of its {} chunks are missing at its end", reported.chunks))
            }
            Some(_) => Came::Refused("it is not what the host reported: another head, or other sums".into()),
            None => Came::Refused("it has no whole header".into()),
        }
    }
}

fn tell(cx: &Context, dir: &Path, done: &Done, refused: &[String]) {
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        dir: &'a Path,
        #[serde(flatten)]
        done: &'a Done,
        refused: &'a [String],
    }
    cx.screen.json(&Answer { schema: "fireaxe.recordings-fetched/v1", dir, done, refused });
    if !cx.screen.is_json() {
        let Done { complete, open, missing, expired } = done;
        cx.screen.say(&format!(
            "{complete} recordings are here and what their hosts signed; {open} not reported yet, {missing} missing \
             at the CA, {expired} expired"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pages are asked for of a CA that answers the n-th with this `next`.
    fn asked(next: impl Fn(usize) -> Option<String>) -> (usize, bool) {
        let (mut after, mut pages) = (None::<String>, 0);
        loop {
            pages += 1;
            assert!(pages <= 2 * RECORDINGS_PAGES, "asked for without end");
            match following(pages, after.as_deref(), next(pages)) {
                Ok(Some(next)) => after = Some(next),
                Ok(None) => return (pages, true),
                Err(_) => return (pages, false),
            }
        }
    }

    #[test]
    fn a_list_that_never_ends_or_does_not_go_on_is_not_asked_for_without_end() {
        let larger = |n: usize| Some(format!("db-3.payments.prod/{n:032x}"));
        assert_eq!(asked(larger), (RECORDINGS_PAGES, false));
        assert_eq!(asked(|n| larger(n).filter(|_| n < RECORDINGS_PAGES)), (RECORDINGS_PAGES, true));
        assert_eq!(asked(|_| larger(7)), (2, false));
        assert_eq!(asked(|n| larger(9 - n)), (2, false));
    }
}
