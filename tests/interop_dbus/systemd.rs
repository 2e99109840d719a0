//! A real systemd in namespaces of its own.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

fn skip(why: &str) -> Option<Systemd> {
    assert!(std::env::var_os("CI").is_none(), "not possible here, but CI is set: {why}");
    // Past the capture of a test's output: a skipped test must be seen.
    io::stderr().write_all(format!("skipped: a systemd in namespaces: {why}\n").as_bytes()).unwrap();
    None
}

/// The stock daemon takes seconds for each start and stop.
const LIFE_SECONDS: &str = "900";

/// A systemd that `tests/systemd/boot.py` keeps until its standard input is closed.
pub struct Systemd {
    harness: Child,
    pub pid: u32,
}

impl Systemd {
    /// `None` where this is not possible, which fails the test when `CI` is set.
    pub fn boot() -> Option<Self> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/systemd");
        let mut units: Vec<_> = std::fs::read_dir(format!("{directory}/units"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        units.sort();
        let harness = Command::new("python3")
            .arg(format!("{directory}/boot.py"))
            .args(["--life", LIFE_SECONDS])
            .args(units)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut harness = match harness {
            Ok(harness) => harness,
            Err(error) => return skip(&format!("running python3: {error}")),
        };
        let mut line = String::new();
        BufReader::new(harness.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if let Some(pid) = line.trim().strip_prefix("ready ") {
            return Some(Self { pid: pid.parse().unwrap(), harness });
        }
        let status = harness.wait().unwrap();
        assert!(status.code() == Some(77), "tests/systemd/boot.py failed: {status}");
        skip(line.trim())
    }

    /// Starts a script inside, as root.
    pub fn spawn(&self, script: &str) -> Child {
        Command::new("nsenter")
            .args(["--all", "--target", &self.pid.to_string(), "/bin/sh", "-c", script])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("running nsenter")
    }

    pub fn run(&self, script: &str) {
        let output = self.spawn(script).wait_with_output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
    }

    /// Lets one start of pacelet-held.service or pacelet-held-bad.service end.
    pub fn release(&self) {
        self.run("timeout 20 sh -c 'echo >/run/pacelet-release'");
    }

    /// Sends a signal to systemd from outside its namespaces, where it cannot ignore it.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().expect("running kill");
        assert!(status.success(), "kill -s {name} {}: {status}", self.pid);
    }

    pub fn shut_down(&mut self) {
        drop(self.harness.stdin.take());
        let status = self.harness.wait().unwrap();
        assert!(status.success(), "tests/systemd/boot.py could not clean up: {status}");
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // A test that failed: the harness ends by itself once its standard input is closed.
        drop(self.harness.stdin.take());
        let _ = self.harness.wait();
    }
}
