//! The verbs, one file each. What they share: the screen, the places, the configuration read when it is
//! first needed.

mod agent;
mod approve;
mod card;
mod close;
mod completion;
mod doctor;
mod enrol;
mod explain;
mod extend;
mod follow;
mod grant;
mod log;
mod ls;
mod match_host;
mod narrow;
mod open;
mod rec;
mod requests;
mod review;
mod run;
mod second;
mod ssh_config;
mod standing;
mod status;
mod verify;
mod wait;
mod watch;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fireaxe_transport::Timeouts;

use crate::authority::Authority;
use crate::cli::Verb;
use crate::config::Config;
use crate::failure::Failure;
use crate::places::Places;
use crate::screen::Screen;

/// What every verb has at hand.
struct Context {
    screen: Screen,
    places: Places,
}

impl Context {
    fn config(&self) -> Result<Config, Failure> {
        let address = std::env::var("FIREAXE_ADDR").ok();
        Ok(Config::load(&self.places.config, address.as_deref())?)
    }

    fn authority<'a>(&'a self, config: &'a Config) -> Result<Authority<'a>, Failure> {
        Authority::new(&self.places, config, self.screen, Timeouts::default())
    }

    /// For verbs that also have something to say without the CA.
    fn hasty_authority<'a>(&'a self, config: &'a Config) -> Result<Authority<'a>, Failure> {
        let timeouts = Timeouts {
            connect: Duration::from_secs(1),
            whole: Duration::from_secs(2),
            ..Timeouts::default()
        };
        Authority::new(&self.places, config, self.screen, timeouts)
    }
}

/// Runs one verb.
pub(crate) fn run(verb: Verb, screen: Screen) -> Result<ExitCode, Failure> {
    if let Verb::Completion { shell } = verb {
        return Ok(completion::run(shell).into());
    }
    let places = Places::find(|name| std::env::var_os(name).map(PathBuf::from));
    if let Verb::Verify(what) = &verb {
        return verify::run(screen, places.as_ref().ok(), what).map(Into::into);
    }
    let places = places?;
    let cx = Context { screen, places };
    let done = match verb {
        // How its command ends is how it ends.
        Verb::Run(what) => return run::run(&cx, what),
        Verb::Match { host, account, hint } => match_host::run(&cx, &host, account, hint),
        Verb::Open(open) => open::run(&cx, open),
        Verb::Approve(approve) => approve::run(&cx, approve),
        Verb::Refuse(refuse) => approve::refuse(&cx, refuse),
        Verb::Second { emergency } => second::run(&cx, emergency),
        Verb::Extend(extend) => extend::run(&cx, extend),
        Verb::Review(review) => review::run(&cx, review),
        Verb::Close { emergency } => close::run(&cx, emergency),
        Verb::Status => status::run(&cx),
        Verb::Ls => ls::run(&cx),
        Verb::Log(what) => log::run(&cx, &what),
        Verb::Rec(what) => rec::run(&cx, &what),
        Verb::Why { host } => why::run(&cx, &host),
        Verb::Explain(explain) => explain::run(&cx, explain),
        Verb::SshConfig(what) => ssh_config::run(&cx, &what),
        Verb::Agent(agent) => agent::run(&cx, &agent),
        Verb::Enrol(enrol) => enrol::run(&cx, enrol),
        Verb::Follow(follow) => follow::run(&cx, &follow),
        Verb::Narrow { emergency, host } => narrow::run(&cx, emergency, &host),
        Verb::Doctor => doctor::run(&cx),
        // Taken above: these need neither places nor a configuration.
        Verb::Verify(_) => Ok(crate::exit::Exit::Ok),
        Verb::Completion { shell } => Ok(completion::run(shell)),
    };
    done.map(Into::into)
}
