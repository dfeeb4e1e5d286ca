//! `log fetch`: an auditor's copy of the whole log. What is brought is checked in `copy`; who reads is the person, by
//! a session, and the CA logs it once an hour.

use std::io::IsTerminal;
use std::path::Path;

use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::log::tiles::{TILE_BYTES, TILE_WIDTH, TileKind, TilePath};
use serde::Serialize;

use super::Context;
use crate::authority::Authority;
use crate::cli::Log;
use crate::control::client::Control;
use crate::copy::{self, Folder, Source};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::Progress;

pub(super) fn run(cx: &Context, what: &Log) -> Result<Exit, Failure> {
    let Log::Fetch { dir } = what;
    fetch(cx, dir)
}

fn fetch(cx: &Context, dir: &Path) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let folder = Folder::open(dir)?;
    let (key, note) = authority.head()?;
    let origin = authority.known()?.origin.clone();
    let progress = std::io::stderr().is_terminal().then(|| cx.screen.progress());
    let mut source = Served { authority: &authority, control: &mut control, progress, said: None };
    let fetched = copy::fetch(&folder, (&key, &origin), &note, &mut source)?;
    drop(source);
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        dir: &'a Path,
        origin: String,
        before: u64,
        entries: u64,
        root: Hash,
        tiles: u64,
    }
    cx.screen.json(&Answer {
        schema: "fireaxe.log-fetched/v1",
        dir,
        origin: origin.to_string(),
        before: fetched.before,
        entries: fetched.head.size,
        root: fetched.head.root,
        tiles: fetched.tiles,
    });
    if !cx.screen.is_json() {
        let new = fetched.head.size.saturating_sub(fetched.before);
        cx.screen.say(&format!(
            "{} entries, {new} of them new; each is under the log's signed head, and that continues the one before",
            fetched.head.size
        ));
        cx.screen.say(&format!("  next: fireaxe-ca log verify --tiles {}", dir.display()));
    }
    authority.look_back_aloud();
    Ok(Exit::Ok)
}

/// The CA.
struct Served<'a, 'c> {
    authority: &'a Authority<'c>,
    control: &'a mut Control,
    progress: Option<Progress>,
    said: Option<u64>,
}

impl Source for Served<'_, '_> {
    fn tile(&mut self, path: &TilePath) -> Result<Vec<u8>, Failure> {
        let at = format!("/log/{path}");
        match path.kind {
            TileKind::Hashes(_) => self.authority.open_bytes(&at, TILE_BYTES as u64),
            TileKind::Entries => self.authority.bytes(self.control, &at, BUNDLE),
        }
    }

    fn progress(&mut self, have: u64, of: u64) {
        let percent = have.saturating_mul(100) / of.max(1);
        if let Some(progress) = &mut self.progress
            && self.said != Some(percent)
        {
            progress.show(&format!("{percent} % of {of} bundles"));
            self.said = Some(percent);
        }
    }
}

/// A bundle of entries at their limit: 15 MiB.
const BUNDLE: u64 = TILE_WIDTH as u64 * (2 + limits::ENTRY as u64);
