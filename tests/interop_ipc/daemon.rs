//! The daemon itself, in the lab.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::lab::{EMULATOR, LIMIT};

/// Whether somebody in these namespaces has the name that daemons ask for last.
pub fn serves_tools() -> bool {
    let sockets = fs::read_to_string("/proc/net/unix").expect("/proc");
    sockets.lines().any(|line| line.contains(" @crmd") || line.ends_with("/crmd"))
}

/// A running daemon. Killed with the value.
pub struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it with more settings. If they do not name a key nobody can connect but tools.
    pub fn launch(environment: &[(&str, &str)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let log = format!("/dev/shm/log-{}", COUNT.fetch_add(1, Ordering::Relaxed)).into();
        let program = env!("CARGO_BIN_EXE_pacelet");
        let mut command = match std::env::var_os(EMULATOR) {
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(["daemon", "-VV"])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("PCMK_logfacility", "none")
            .env("PCMK_logfile", "none")
            .env("PCMK_authkey_location", "/dev/shm/no-key")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create::<&PathBuf>(&log).expect("a file in /dev/shm"));
        Self { process: command.spawn().expect("the program"), log }
    }

    /// Starts it, and waits until tools can connect.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let daemon = Self::launch(environment);
        daemon.wait_until("it serves no tools", serves_tools);
        daemon
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log")
    }

    pub fn wait_for(&self, text: &str) {
        self.wait_until(text, || self.log().contains(text));
    }

    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < end, "{what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it lives").count()
    }

    /// Its memory, in KiB.
    pub fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line of it");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end, and tells how it did.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a child of this process");
        self.process.wait().expect("a child of this process")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.log);
    }
}
