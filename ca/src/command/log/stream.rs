//! `log stream`: the log as events for another system. Reads the data folder beside a CA that serves or does not.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, Hash};

use crate::command::{Data, Failed, tell};
use crate::data_dir::DataDir;
use crate::evidence::stream::{
    Batch, Follow, Format, Item, Lines, Pace, PositionError, PositionFile, Pump, PumpError, Source, Target,
    Tls, Undelivered,
};
use crate::log::Reader;

/// Send the log as events to another system, at least once and in order
#[derive(Debug, Args)]
pub(in crate::command) struct Stream {
    #[command(flatten)]
    data: Data,
    /// Where to: stdout, file:PATH, or tls://HOST:PORT (syslog, RFC 5424 and 5425)
    #[arg(long, value_name = "TARGET")]
    to: Target,
    /// What an event looks like
    #[arg(long, value_enum, default_value = "ocsf")]
    format: Form,
    /// Go on at the end of the log, for ever
    #[arg(long)]
    follow: bool,
    /// Where the stream stands: goes on from there, and keeps it
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Whose certificates the server's must be signed by (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take an end of TCP alone for the server's word, when it never closes in TLS
    #[arg(long)]
    plain_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// OCSF 1.3
    Ocsf,
    /// The entry's own bytes
    Jsonl,
}

impl Stream {
    pub(in crate::command) fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let mut deliver = self.deliverer()?;
        let reader = Reader::open(&dir.log()).map_err(|e| Failed::log(&dir, e))?;
        let (log, key, to) = (reader.origin().clone(), reader.key().key(), self.to.to_string());
        let mut position = match &self.state {
            None => PositionFile::in_memory(log, key, to),
            Some(path) => PositionFile::open(path, log, key, to).map_err(|e| refused(&e))?,
        };
        let format = match self.format {
            Form::Ocsf => Format::Ocsf,
            Form::Jsonl => Format::Jsonl,
        };
        let mut source = Log { reader, format };
        let follow = if self.follow { Follow::Forever } else { Follow::ToTheEnd };
        let mut pump =
            Pump { source: &mut source, deliver: &mut *deliver, position: &mut position, pace: &mut Sleeps };
        match pump.run(follow) {
            Ok(arrived) => {
                tell(format_args!(
                    "{arrived} events have arrived, the next is entry {}",
                    position.position().next
                ));
                Ok(())
            }
            Err(PumpError::Position(error)) => Err(refused(&error)),
            Err(error @ PumpError::Tried { .. }) => Err(Failed::unavailable(format!("{}: {error}", self.to))
                .hint("with --state nothing is lost: start it again once the server is there")),
            Err(error @ PumpError::Source(_)) => {
                Err(Failed::error(error)
                    .hint(format!("fireaxe-ca log verify --data {}", dir.path().display())))
            }
            Err(error @ PumpError::Target(_)) => Err(Failed::error(format!("{}: {error}", self.to))),
        }
    }

    #[allow(clippy::type_complexity, reason = "one way to deliver of three, chosen once")]
    fn deliverer(&self) -> Result<Box<dyn FnMut(&[Item]) -> Result<(), Undelivered>>, Failed> {
        let mut lines = match &self.to {
            Target::Stdout => Lines::Stdout,
            Target::File(path) => {
                let failed = |e| Failed::error(format!("{}: {e}", path.display()));
                Lines::to_file(path).map_err(failed)?
            }
            Target::Tls { host, port } => {
                let Some(ca) = &self.ca else {
                    let lines =
                        vec!["a syslog server is known by its certificate, and no --ca says by which".into()];
                    let hint = Some(format!("fireaxe-ca log stream --to {} --ca FILE", self.to));
                    return Err(Failed { code: 2, lines, hint });
                };
                let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
                let tls = Tls::new(host, *port, ca, &here, self.plain_end);
                let mut tls = tls.map_err(|e| {
                    Failed::config(vec![e.to_string()]).hint("--ca takes a file of PEM certificates")
                })?;
                return Ok(Box::new(move |items| tls.deliver(items).map_err(Undelivered::Again)));
            }
        };
        if self.ca.is_some() || self.plain_end {
            let lines = vec!["--ca and --plain-end are for tls:// alone".into()];
            return Err(Failed { code: 2, lines, hint: None });
        }
        Ok(Box::new(move |items| lines.deliver(items).map_err(|e| Undelivered::Never(e.to_string()))))
    }
}

fn refused(error: &PositionError) -> Failed {
    let failed = Failed::error(error);
    match error {
        PositionError::File { .. } => failed,
        PositionError::Busy(_) => failed.hint("end the other stream first, or give this one another --state"),
        PositionError::NotOne(_) | PositionError::OtherLog { .. } | PositionError::OtherTarget { .. } => {
            failed.hint("give another --state FILE: a new one begins at the first entry")
        }
        PositionError::PutBack { .. } => failed.hint(
            "was the CA put back from a copy? fireaxe-ca log verify; a new --state FILE sends everything again",
        ),
    }
}

/// The log of a data folder.
struct Log {
    reader: Reader,
    format: Format,
}

impl Source for Log {
    fn size(&mut self) -> Result<u64, String> {
        self.reader.size().map_err(|e| e.to_string())
    }

    fn leaf(&mut self, index: u64) -> Option<Hash> {
        self.reader.entry_bytes(index).ok().map(|bytes| leaf_hash(&bytes))
    }

    fn read(&mut self, from: u64, until: u64, batch: &mut Batch) -> Result<(), String> {
        let (mut wrong, origin) = (None, self.reader.origin());
        let read =
            self.reader.entries(from, until.saturating_sub(from), |index, bytes| {
                match Entry::decode(bytes) {
                    Ok(entry) if entry.index == index => {
                        let item = Item::of(&entry, bytes, leaf_hash(bytes), origin, self.format);
                        if batch.push(item) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                    }
                    Ok(_) => {
                        wrong = Some(format!("entry {index} is at another's place"));
                        ControlFlow::Break(())
                    }
                    Err(error) => {
                        wrong = Some(format!("entry {index}: {error}"));
                        ControlFlow::Break(())
                    }
                }
            });
        read.map_err(|e| e.to_string())?;
        wrong.map_or(Ok(()), Err)
    }
}

struct Sleeps;

impl Pace for Sleeps {
    fn wait(&mut self, time: Duration) -> bool {
        std::thread::sleep(time);
        true
    }

    fn tell(&mut self, line: &str) {
        tell(line);
    }
}
