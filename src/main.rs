//! Picks the program: by the name it was started under, or else by the first argument.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use pacelet::daemon;
use pacelet::sys::scribe;
use pacelet::tools::{demo, probe};

/// What `pacelet` alone, or with a word it does not know, says.
const USAGE: &str = "\
Usage: pacelet <program> [<arguments>]

Programs:
  daemon    serve this machine to a Pacemaker cluster as a remote node
  demo      start a daemon and act as its cluster, to show that all works
  probe     tell whether a cluster can reach a daemon, and what is in its way

Under the name pacemaker-remoted (or pacemaker_remoted) it is the daemon at once, as process 1
of a container, too. Under the name init it is process 1 of a machine that has nothing else.
`pacelet <program> --help` says more.
";

/// The exit status for a wrong command line.
const EX_USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let name = arguments.first().and_then(|path| Path::new(path).file_name()).unwrap_or_default();
    let rest = arguments.get(1..).unwrap_or_default();
    let status = match name.to_str() {
        Some("pacemaker-remoted" | "pacemaker_remoted") => run_daemon(rest),
        Some("demo") => demo_agent(rest),
        // In other places the word is a program's that this one is not.
        Some("init") if std::process::id() == 1 => daemon::init(env::vars_os()),
        Some(scribe::NAME) => daemon::write_log_files(rest.iter().map(OsString::as_os_str)),
        _ => by_word(rest),
    };
    status.into()
}

fn by_word(arguments: &[OsString]) -> u8 {
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("daemon") => run_daemon(rest),
        Some("demo") => tool(demo::main, rest),
        Some("probe") => tool(probe::main, rest),
        Some("--help" | "-h" | "-?" | "help") => {
            say(&mut io::stdout(), USAGE);
            0
        }
        Some("--version" | "-$") => {
            say(&mut io::stdout(), &format!("{}\n", daemon::VERSION));
            0
        }
        _ => usage(),
    }
}

/// Runs a tool, whose arguments are all text.
fn tool(main: fn(&[&str]) -> u8, arguments: &[OsString]) -> u8 {
    match arguments.iter().map(|word| word.to_str()).collect::<Option<Vec<_>>>() {
        Some(words) => main(&words),
        None => usage(),
    }
}

fn usage() -> u8 {
    say(&mut io::stderr(), USAGE);
    EX_USAGE
}

/// Nobody may be there to read it.
fn say(to: &mut dyn Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
}

fn run_daemon(arguments: &[OsString]) -> u8 {
    daemon::main(arguments.iter().map(OsString::as_os_str), env::vars_os())
}

/// The agent that the demo's daemon runs, a link to this program.
fn demo_agent(arguments: &[OsString]) -> u8 {
    let action = arguments.first().and_then(|word| word.to_str()).unwrap_or_default();
    demo::agent::main(action, env::var("OCF_RESKEY_state").ok().as_deref())
}
