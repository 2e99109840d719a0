//! The daemon's start (daemon-lifecycle.md section 4).

use std::ffi::{CStr, OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::line;
use crate::sys::child::Children;
use crate::sys::reactor::Reactor;
use crate::sys::signal::Signals;
use crate::sys::socket::Host;
use crate::sys::{entropy, process, shm, stderr};

use super::arguments::{Arguments, Stop, USAGE};
use super::config::{Config, Machine};
use super::core::{Core, ExitCode};
use super::edge::{Edge, Parts, SHARED_MEMORY};
use super::first::{self, IMAGE_SETTINGS, Role};
use super::key::KeyFile;
use super::log::{Log, NAME};
use super::log_file::LogFile;
use super::memory;
use super::settings_file::SettingsFile;

/// What this program calls itself.
pub const VERSION: &str = concat!("pacelet ", env!("CARGO_PKG_VERSION"));
/// The exit status when what was asked for cannot be printed.
const FAILED: u8 = 1;
/// Where agents keep what must not outlive a boot.
const AGENTS_RUN_DIRECTORY: &str = "/run/resource-agents";
/// Stock's working directory, and so its agents'.
const WORKING_DIRECTORY: &CStr = c"/var/lib/pacemaker/cores";
/// If this is there, libqb's clients look for sockets that are files (ipc.md section A.1).
const FILE_SOCKETS: &str = "/etc/libqb/force-filesystem-sockets";
/// How much of a settings file is read.
const LONGEST_SETTINGS: u64 = 256 * 1024;

/// Where stock writes its log if nothing else is said, by who looks after it…
const LOG: &str = "/var/log/pacemaker/pacemaker.log";
const LOG_OF_CONTAINER: &str = "/var/log/pcmk-init.log";

/// Runs the daemon, and a first process if there is to be one; gives the exit status (daemon-lifecycle.md section 7).
pub fn main<'a>(
    arguments: impl IntoIterator<Item = &'a OsStr>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> u8 {
    let environment: Vec<_> = environment.into_iter().collect();
    let role = Role::of(std::process::id(), &environment);
    if role == Role::Container
        && let Some(status) = first::keep_container()
    {
        return status;
    }
    run(arguments.into_iter().collect(), environment, role)
}

/// Runs the daemon as a machine's only program: what this process, its first one, is told by the kernel besides the
/// environment is for nobody.
pub fn init(environment: impl IntoIterator<Item = (OsString, OsString)>) -> u8 {
    let mut environment = environment.into_iter().collect();
    first::keep_machine(&mut environment).unwrap_or_else(|| run(Vec::new(), environment, Role::Machine))
}

fn run(arguments: Vec<&OsStr>, environment: Vec<(OsString, OsString)>, role: Role) -> u8 {
    let version = format!("{VERSION}, a Pacemaker Remote node ({NAME})");
    match Arguments::parse(NAME, &version, arguments) {
        Ok(arguments) => start(Config::new(&arguments, environment, &machine(role))),
        Err(Stop::Answer(text, Some(file))) => match std::fs::write(&file, text) {
            Ok(()) => ExitCode::Ok as u8,
            Err(error) => complain(&format!("Cannot print to {}: {error}\n", file.display()), FAILED),
        },
        // Nobody may be there to read it.
        Err(Stop::Answer(text, None)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::Ok as u8
        }
        Err(Stop::Failed(text)) => complain(&text, FAILED),
        Err(Stop::Usage(text)) => complain(&text, USAGE),
    }
}

fn complain(text: &str, status: u8) -> u8 {
    let _ = io::stderr().write_all(text.as_bytes());
    status
}

/// In a container there is nobody who would have read the host's settings: its first process is told all
/// by its environment. And a machine without anything else has no disk for a log.
fn machine(role: Role) -> Machine {
    let log_file = match role {
        Role::Daemon | Role::DaemonOfImage => Some(LOG),
        Role::Container => Some(LOG_OF_CONTAINER),
        Role::Machine => None,
    };
    let has_directory = |file: &&str| Path::new(file).parent().is_some_and(Path::is_dir);
    let image = if role == Role::Daemon { None } else { read(IMAGE_SETTINGS) };
    Machine {
        settings: if role == Role::Container { Vec::new() } else { SettingsFile::all(read) },
        image: image.map(|text| SettingsFile { path: IMAGE_SETTINGS.to_owned(), text }),
        is_kept: role.is_kept(),
        log_file: log_file.filter(has_directory),
        directory: std::env::current_dir().unwrap_or_default(),
        has_file_sockets: Path::new(FILE_SOCKETS).exists(),
        os_release: read("/etc/os-release").unwrap_or_default(),
        shared_memory: shm::free_space(SHARED_MEMORY),
        memory_limit: memory::limit(read),
        page_size: shm::page_size(),
        is_container: matches!(role, Role::Container | Role::DaemonOfImage),
    }
}

fn read(path: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST_SETTINGS).read_to_end(&mut text).ok()?;
    Some(text)
}

fn start(config: Config) -> u8 {
    process::install_panic_hook(VERSION);
    let restore = process::prepare();
    if config.joins_stdout {
        stderr::join_stdout();
    }
    let mut log = Log::new(config.sinks, std::process::id());
    // As early as can be: the process that writes it keeps a copy of all there is.
    if let Some(files) = config.log_files {
        match LogFile::start(files, config.sinks) {
            Ok(file) => log.add_file(file),
            Err(error) => log.write(&line!(Error, "Cannot write log files: starting a process: {error}")),
        }
    }
    for line in &config.warnings {
        log.write(line);
    }
    if let Err(errno) = process::make_directory(AGENTS_RUN_DIRECTORY) {
        let error = io::Error::from(errno);
        log.write(&line!(Warning, "Cannot make {AGENTS_RUN_DIRECTORY} for agents: {error}"));
    }
    // Often it is not there, and agents run just as well elsewhere.
    let _ = process::change_directory(WORKING_DIRECTORY);

    // The only name that is ever looked up, and before anything is served.
    let host = match &config.host {
        Some(host) => Host::named(host, config.port)
            .map_err(|error| format!("PCMK_remote_address \"{}\": {error}", host.escape_debug())),
        None => Ok(Host::any(config.port)),
    };
    let parts = (|| {
        entropy::is_ready().map_err(|errno| ("getrandom", errno))?;
        let reactor = Reactor::new().map_err(|errno| ("epoll", errno))?;
        let signals = Signals::new(&reactor).map_err(|errno| ("signalfd", errno))?;
        let children = Children::new(&reactor, config.environment, restore);
        Ok((children.map_err(|errno| ("pipe", errno))?, signals, reactor))
    })();
    let (children, signals, reactor) = match parts {
        Ok(parts) => parts,
        Err((call, errno)) => {
            log.write(&line!(Crit, "Cannot start: {call}: {}", io::Error::from(errno)));
            return ExitCode::OsError as u8;
        }
    };
    let edge = Edge::new(Parts {
        reactor,
        core: Core::new(config.settings),
        log,
        children,
        host,
        socket_directory: config.socket_directory,
        bus: config.bus,
        key: KeyFile::new(config.key),
        user_timeout_millis: config.user_timeout_millis,
    });
    match edge.run(signals) {
        Ok(code) => code as u8,
        Err(errno) => {
            edge.log(&line!(Crit, "Cannot go on: epoll_wait: {}", io::Error::from(errno)));
            ExitCode::OsError as u8
        }
    }
}
