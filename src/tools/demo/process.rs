//! The daemon of a demo, and the private directory that is all it has.

use std::env;
use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rand_core::RngCore;

use crate::agent::{Command, Ending};
use crate::sys::child::Program;
use crate::tools::report::Wrong;

/// How long between two looks whether the daemon is there, or gone.
const PAUSE: Duration = Duration::from_micros(200);

/// Where the agent is in the directory.
const AGENT: &str = "agents/pacelet/demo";

/// A directory that only this user can enter; it goes with the value.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Makes one where temporary files may be.
    pub(super) fn new(random: &mut impl RngCore) -> Result<Self, Wrong> {
        let name = format!("pacelet-demo-{:016x}", random.next_u64());
        let mut last = String::new();
        // A bare root file system has not all of these, or none but its root.
        for parent in [env::temp_dir(), "/tmp".into(), "/dev/shm".into(), "/run".into(), "/".into()] {
            let path = parent.join(&name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) => last = format!("cannot make a directory {}: {error}", path.display()),
            }
        }
        Err(last.into())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a new file into it that only this user can read.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), Wrong> {
        let path = self.0.join(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Not whatever is there, but what the demo and its daemon put there. What cannot be removed
        // stays: there is nothing to do about it.
        for name in ["authkey", "log", "state", AGENT] {
            let _ = fs::remove_file(self.0.join(name));
        }
        for name in ["agents/pacelet", "agents", ""] {
            let _ = fs::remove_dir(self.0.join(name));
        }
    }
}

/// A daemon of our own: killed with the value, if it still runs then.
#[derive(Debug)]
pub(super) struct Daemon {
    program: Program,
    address: SocketAddr,
    log: PathBuf,
}

impl Daemon {
    /// Starts this program as a daemon, with the directory's key and agent, and waits until it takes
    /// connections.
    pub(super) fn start(directory: &Directory, patience: Duration) -> Result<Self, Wrong> {
        let program = program()?;
        let (agents, agent) = (directory.path().join("agents"), directory.path().join(AGENT));
        let made = fs::create_dir(&agents)
            .and_then(|()| fs::create_dir(agents.join("pacelet")))
            .and_then(|()| symlink(&program, &agent));
        made.map_err(|error| format!("cannot make {}: {error}", agent.display()))?;

        let address = free_address().map_err(|error| format!("no free port on 127.0.0.1: {error}"))?;
        let log = directory.path().join("log");
        let output =
            File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let key = directory.path().join("authkey");
        let command = Command {
            candidates: vec![text(&[program.as_os_str().as_bytes()])?],
            arguments: vec![c"daemon".to_owned()],
            environment: vec![
                c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                c"PCMK_logfile=none".to_owned(),
                c"PCMK_logfacility=none".to_owned(),
                c"PCMK_stderr=1".to_owned(),
                // Another daemon of this machine may serve them.
                c"PACELET_tools=no".to_owned(),
                text(&[b"PCMK_authkey_location=", key.as_os_str().as_bytes()])?,
                text(&[b"PCMK_remote_address=", address.ip().to_string().as_bytes()])?,
                text(&[b"PCMK_remote_port=", address.port().to_string().as_bytes()])?,
                text(&[b"OCF_RA_PATH=", agents.as_os_str().as_bytes()])?,
            ],
            ..Command::default()
        };
        let program = Program::start(&command, output.as_fd())
            .map_err(|errno| format!("cannot start {}: {errno}", program.display()))?;
        let mut daemon = Self { program, address, log };
        match daemon.wait_for_port(patience) {
            Ok(()) => Ok(daemon),
            Err(text) => {
                let log = daemon.log();
                let last =
                    log.split(|&byte| byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
                Err(format!("{text}; its last words: {}", crate::log::Escaped(last)).into())
            }
        }
    }

    fn wait_for_port(&mut self, patience: Duration) -> Result<(), String> {
        let start = Instant::now();
        loop {
            if let Ok(stream) = TcpStream::connect(self.address) {
                // Nobody listening, the kernel may have given the port to this end, which then talks to itself.
                if stream.local_addr().is_ok_and(|local| local != self.address) {
                    return Ok(());
                }
            }
            if let Some(ending) = self.program.ending() {
                return Err(words(ending));
            }
            if start.elapsed() > patience {
                return Err(format!("nobody listens at {} after {} s", self.address, patience.as_secs()));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Its process id.
    pub(super) fn process(&self) -> i32 {
        self.program.id()
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    pub(super) fn log(&self) -> Vec<u8> {
        fs::read(&self.log).unwrap_or_default()
    }

    /// Sends SIGTERM.
    pub(super) fn terminate(&self) {
        self.program.terminate();
    }

    /// Waits for an end with status 0.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<(), Wrong> {
        let start = Instant::now();
        loop {
            match self.program.ending() {
                Some(Ending::Exited(0)) => return Ok(()),
                Some(ending) => return Err(words(ending).into()),
                None if start.elapsed() > patience => {
                    return Err(format!("the daemon still runs after {} s", patience.as_secs()).into());
                }
                None => thread::sleep(PAUSE),
            }
        }
    }
}

/// How a daemon ended that should not have.
fn words(ending: Ending) -> String {
    match ending {
        Ending::Exited(status) => format!("the daemon ended with status {status}"),
        Ending::Signalled(signal) => format!("signal {signal} ended the daemon"),
        Ending::NotRun(_, errno) => {
            format!("the daemon could not be executed: {}", io::Error::from_raw_os_error(errno))
        }
    }
}

/// What the system takes as a string.
fn text(parts: &[&[u8]]) -> Result<CString, Wrong> {
    CString::new(parts.concat()).map_err(|_| "a path with a NUL in it".into())
}

/// Where this program is.
fn program() -> Result<PathBuf, Wrong> {
    // Without /proc there is still the way it was called, if that is a path.
    let called = || env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    env::current_exe()
        .ok()
        .or_else(|| fs::canonicalize(called()?).ok())
        .ok_or_else(|| "cannot tell where this program is: mount /proc, or call it by its path".into())
}

/// A port of the loopback interface that nobody uses just now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
