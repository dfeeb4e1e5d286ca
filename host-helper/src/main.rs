//! `fireaxe-host`: the command line is [`fireaxe_host::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    fireaxe_host::command::main()
}
