//! `witness init` and `witness serve`: a small witness for a second site. It needs nothing of a CA but the public
//! key of its log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use fireaxe_protocol::log::NoteKey;

use super::{Failed, print, tell};
use crate::clock::SystemClock;
use crate::randomness::SystemRandomness;
use crate::witness::{Memory, MemoryError, Site, serve};

/// What a witness is made and run with.
#[derive(Debug, Subcommand)]
pub(super) enum Witness {
    /// Make a new witness: a key, under a name
    Init(Init),
    /// Cosign what continues the heads seen before, and nothing else
    Serve(Serve),
}

/// Make a new witness.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Folder that is made: the witness's key and what it has cosigned
    #[arg(long = "data", value_name = "DIR")]
    dir: PathBuf,
    /// Its name, as a URL without https://, e.g. witness.example/w1
    #[arg(long, value_name = "NAME")]
    name: String,
}

/// Run it.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The folder that witness init made
    #[arg(long = "data", value_name = "DIR")]
    dir: PathBuf,
    /// Address to listen on; plain HTTP, put a proxy in front where TLS is wanted
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8553")]
    listen: SocketAddr,
    /// Key of a log to witness, as fireaxe-ca init printed it: <name>+<8 hex digits>+<base64>; again for more
    #[arg(long = "log", value_name = "VKEY", required = true)]
    logs: Vec<String>,
}

impl Witness {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Witness::Init(init) => init.run(),
            Witness::Serve(serve) => serve.run(),
        }
    }
}

impl Init {
    fn run(self) -> Result<(), Failed> {
        let key = Memory::create(&self.dir, &self.name, &mut SystemRandomness).map_err(failed)?;
        print(format_args!("{key}\n"))?;
        let data = self.dir.display();
        tell(format_args!("a new witness in {data}: its key is above; it goes into the witness policy"));
        tell(format_args!("next:  fireaxe-ca witness serve --data {data} --listen HOST:PORT --log LOG-KEY"));
        Ok(())
    }
}

impl Serve {
    fn run(self) -> Result<(), Failed> {
        super::serve::start_logging();
        let mut keys = Vec::new();
        for text in &self.logs {
            let key: NoteKey = text.parse().map_err(|_| {
                let line = format!("--log {}: not a log's key", fireaxe_protocol::names::shown(text));
                Failed::config(vec![line])
                    .hint("fireaxe-ca init printed it as `log key`; GET /v1/keys has it")
            })?;
            keys.push(key);
        }
        let memory = Memory::open(&self.dir, &keys).map_err(failed)?;
        let (key, sizes) = (memory.key().to_string(), memory.sizes());
        let site = Arc::new(Site { memory, clock: Arc::new(SystemClock) });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("site")
            .build()
            .map_err(Failed::error)?;
        runtime.block_on(async {
            let bound = tokio::net::TcpListener::bind(self.listen).await;
            let listener =
                bound.map_err(|e| Failed::error(format!("cannot listen on {}: {e}", self.listen)))?;
            let address = listener.local_addr().map_err(Failed::error)?;
            tell(format_args!("listening on http://{address}   witness {key}"));
            for (log, size) in sizes {
                tell(format_args!("  {log}: {size} entries cosigned"));
            }
            tokio::select! {
                signal = super::serve::wait_for_signal() => signal.map_err(Failed::error),
                () = serve(site, listener) => Ok(()),
            }
        })
    }
}

fn failed(error: MemoryError) -> Failed {
    let line = error.to_string();
    match error {
        MemoryError::Key(error) => Failed::key(&error),
        MemoryError::Exists(_) => {
            Failed::error(line).hint("a witness is made once: choose another --data folder")
        }
        MemoryError::Locked(_) => Failed::error(line).hint("stop the other one first"),
        MemoryError::Damaged { .. } => Failed::config(vec![line]).hint(
            "give the key that the log had; a head that is damaged is never put back from a copy: make a new \
             witness, and put its key into the policies in this one's place",
        ),
        MemoryError::File { ref path, .. } if path.ends_with("name") => {
            Failed::config(vec![line]).hint("fireaxe-ca witness init --data DIR --name witness.example/w1")
        }
        MemoryError::Name(_) | MemoryError::OtherLog(_) | MemoryError::Twice(_) => Failed::config(vec![line]),
        MemoryError::File { .. } => Failed::error(line),
    }
}
