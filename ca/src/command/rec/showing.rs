//! `play` and `export`: one recording, on this terminal or as asciicast v3.

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use clap::Args;
use fireaxe_protocol::log::Evidence;
use fireaxe_protocol::recording::{Body, Cast, Stream};

use super::plain::{escaped, rows};
use super::shelf::one;
use super::source::{Key, Source, Unlogged, Where};
use crate::command::{Failed, print, tell};
use crate::recordings::catalog::Name;
use crate::recordings::opening::{self, Identities, Opening};
use crate::recordings::search::Text;

#[derive(Debug, Args)]
pub(in crate::command) struct Export {
    /// EM-42, or a recording's name
    which: String,
    #[command(flatten)]
    of: Where,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    unlogged: Unlogged,
}

#[derive(Debug, Args)]
pub(in crate::command) struct Play {
    /// EM-42, or a recording's name
    which: String,
    #[command(flatten)]
    of: Where,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    unlogged: Unlogged,
    /// How many times as fast, 0.1 to 1000
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Seconds that a pause lasts at most
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    idle: u64,
    /// Print all lines that it showed, with their times, instead
    #[arg(long)]
    to_text: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|n: &f64| (0.1..=1000.0).contains(n))
        .ok_or("a number from 0.1 to 1000".to_owned())
}

/// Finds one, and has the log say that it is read.
fn reading(source: &Source, which: &str, verb: &str, unlogged: &Unlogged) -> Result<Name, Failed> {
    let name = one(source, which, verb)?;
    source.is_read(Evidence::Recording { host: name.0.clone(), recording: name.1 }, unlogged)?;
    Ok(name)
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failed> {
        let source = self.of.source();
        let identities = self.key.read()?;
        let name = reading(&source, &self.which, "export", &self.unlogged)?;
        let (mut cast, mut out, mut failed) = (Cast::default(), String::new(), Ok(()));
        each(&source, &name, identities.as_ref(), |chunk| {
            if failed.is_ok() {
                cast.chunk(chunk, &mut out);
                failed = print(&out);
                out.clear();
            }
        })?;
        failed
    }
}

impl Play {
    pub(super) fn run(self) -> Result<(), Failed> {
        let source = self.of.source();
        let identities = self.key.read()?;
        if !self.to_text && !std::io::stdout().is_terminal() {
            return Err(Failed {
                code: 2,
                lines: vec!["a recording is played on a terminal".into()],
                hint: None,
            }
            .hint(format!(
                "fireaxe-ca rec play {} --to-text {}",
                escaped(&self.which),
                source.words()
            )));
        }
        let name = reading(&source, &self.which, "play", &self.unlogged)?;
        match self.to_text {
            true => as_text(&source, &name, identities.as_ref()),
            false => self.on_terminal(&source, &name, identities.as_ref()),
        }
    }

    fn on_terminal(&self, source: &Source, name: &Name, key: Option<&Identities>) -> Result<(), Failed> {
        let (mut player, mut failed) = (Player { parser: screen(80, 24), at_us: 0 }, Ok(()));
        let mut first = true;
        let done = each(source, name, key, |chunk| {
            if failed.is_err() {
                return;
            }
            match &chunk.body {
                Body::Header(header) => {
                    let size = header.terminal.as_ref().map_or((80, 24), |size| (size.columns, size.rows));
                    player.parser = screen(size.0, size.1);
                }
                Body::Data(events) => {
                    for event in events {
                        let shows = match event.stream {
                            Stream::Output | Stream::Error => player.output(&event.bytes),
                            Stream::Resize => player.resize(event.size()),
                            _ => false,
                        };
                        if shows && failed.is_ok() {
                            self.pause(&mut player, event.offset_us);
                            let clear = if std::mem::take(&mut first) { "\x1b[2J" } else { "" };
                            failed = print(format_args!("{clear}\x1b[H{}", rows(player.parser.screen())));
                        }
                    }
                }
                _ => {}
            }
        });
        failed.and(done)
    }

    fn pause(&self, player: &mut Player, until_us: u64) {
        let gap = Duration::from_micros(until_us.saturating_sub(player.at_us));
        player.at_us = until_us;
        std::thread::sleep(gap.min(Duration::from_secs(self.idle)).div_f64(self.speed));
    }
}

struct Player {
    parser: vt100::Parser,
    at_us: u64,
}

impl Player {
    fn output(&mut self, bytes: &[u8]) -> bool {
        let parser = &mut self.parser;
        // An emulator that fails shows no more than it did.
        catch_unwind(AssertUnwindSafe(|| parser.process(bytes))).is_ok()
    }

    fn resize(&mut self, size: Option<(u16, u16)>) -> bool {
        let Some((columns, rows)) = size else { return false };
        let (rows, columns) = sized(columns, rows);
        let parser = &mut self.parser;
        catch_unwind(AssertUnwindSafe(|| parser.screen_mut().set_size(rows, columns))).is_ok()
    }
}

fn sized(columns: u16, rows: u16) -> (std::num::NonZeroU16, std::num::NonZeroU16) {
    use crate::recordings::search::{COLUMNS, ROWS};
    let of =
        |n: u16, most: u16| std::num::NonZeroU16::new(n.clamp(1, most)).unwrap_or(std::num::NonZeroU16::MIN);
    (of(rows, ROWS), of(columns, COLUMNS))
}

fn screen(columns: u16, rows: u16) -> vt100::Parser {
    let (rows, columns) = sized(columns, rows);
    vt100::Parser::new(rows, columns, 0)
}

/// All lines, in the order in which they went.
fn as_text(source: &Source, name: &Name, key: Option<&Identities>) -> Result<(), Failed> {
    let (mut text, mut lines, mut failed) = (Text::default(), Vec::new(), Ok(()));
    let mut put = |lines: &mut Vec<crate::recordings::search::Line>| {
        for line in lines.drain(..) {
            if failed.is_ok() {
                let (seconds, tenths) = (line.at_us / 1_000_000, line.at_us / 100_000 % 10);
                failed = print(format_args!("{seconds:>6}.{tenths}  {}\n", escaped(&line.text)));
            }
        }
    };
    each(source, name, key, |chunk| {
        text.chunk(chunk, &mut lines);
        put(&mut lines);
    })?;
    text.finish(&mut lines);
    put(&mut lines);
    if text.is_cut() {
        tell("not all of it is here: it is longer, or costs more to show, than is rendered");
    }
    failed
}

/// Reads one to its end; what is wrong with it is said last, after all that is good.
fn each(
    source: &Source,
    (host, name): &Name,
    key: Option<&Identities>,
    each: impl FnMut(&fireaxe_protocol::recording::Chunk),
) -> Result<(), Failed> {
    let path = source.recordings().join(host.as_str()).join(name.to_string());
    let failed = |why: &dyn std::fmt::Display| Failed::error(format!("{}: {why}", path.display()));
    let Opening { wrong, unopened, .. } = opening::open(&path, key, each).map_err(|error| failed(&error))?;
    match (wrong, unopened) {
        (Some(error), _) => Err(failed(&error)),
        (None, Some(why)) => {
            let hint = match key {
                None => "it is sealed: --identity FILE, an auditor's age identity, opens it",
                Some(_) => "fireaxe-ca rec ls --json says to which keys it is sealed",
            };
            Err(failed(&why).hint(hint))
        }
        (None, None) => Ok(()),
    }
}
