//! Namespaces with a private `/dev/shm`, and tools that run in the root of a Debian release.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a tool may take. The slowest takes a second or two, and twenty times that on an emulated CPU.
pub const LIMIT: Duration =
    Duration::from_secs(if cfg!(any(target_arch = "arm", target_arch = "s390x")) { 300 } else { 30 });

/// Set in the namespaces: the root's path.
const INSIDE: &str = "PACELET_INTEROP_IPC_ROOT";
const SUITE: &str = "PACELET_INTEROP_IPC_SUITE";
/// Set where the tests are built for another CPU than this machine's: the static qemu that runs them and the tools.
pub const EMULATOR: &str = "PACELET_EMULATOR";

/// The releases whose tools are tried, by their names and, for other CPUs, Debian's name of that.
pub const RELEASES: &[&str] = if cfg!(target_arch = "x86") {
    &["trixie i386"]
} else if cfg!(target_arch = "arm") {
    &["trixie armhf"]
} else if cfg!(target_arch = "s390x") {
    &["trixie s390x"]
} else {
    &["bullseye", "bookworm", "trixie"]
};

/// Runs `body` in new namespaces, where the calling test `test` is started again, alone.
pub fn enter(test: &str, suite: &'static str, body: impl Fn(&Lab)) {
    if let Some(root) = std::env::var_os(INSIDE) {
        if std::env::var(SUITE).as_deref() == Ok(suite) {
            body(&Lab::prepare(PathBuf::from(root)));
        }
        return;
    }
    let root = match root(suite) {
        Ok(root) => root,
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "on CI this must not be skipped: {reason}");
            println!("skipped: {test} with the tools of {suite}: {reason}");
            return;
        }
    };
    let program = std::env::current_exe().expect("the test program's own path");
    let output = Command::new("unshare")
        .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--"])
        .args(std::env::var_os(EMULATOR))
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, root)
        .env(SUITE, suite)
        .stdin(Stdio::null())
        .output()
        .expect("unshare of util-linux");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{suite}: {}\n{text}", output.status);
    assert!(text.contains("test result: ok. 1 passed"), "{suite}: the test did not run:\n{text}");
    println!("{suite}: done");
}

/// The root of a release, made if there is none; or why there cannot be one. Asked once for all tests.
fn root(suite: &'static str) -> Result<String, String> {
    static ROOTS: Mutex<BTreeMap<&str, Result<String, String>>> = Mutex::new(BTreeMap::new());
    let mut roots = ROOTS.lock().expect("no panic holds it");
    roots.entry(suite).or_insert_with(|| make_root(suite)).clone()
}

fn make_root(suite: &str) -> Result<String, String> {
    if !std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Err("run it as root: it makes namespaces and mounts".to_owned());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/root");
    let output = Command::new(&script).args(suite.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(errors.trim_end().lines().last().unwrap_or("no reason was given").to_owned())
}

/// The inside of the namespaces.
pub struct Lab {
    root: PathBuf,
    /// The emulator's path in the root, if there has to be one.
    emulator: Option<&'static str>,
}

/// Whom a tool runs as.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// One supplementary group.
    group: Option<u32>,
}

impl User {
    pub const ROOT: Self = Self { uid: 0, gid: 0, group: None };
    pub const NOBODY: Self = Self { uid: 65534, gid: 65534, group: None };
}

/// A tool that was started.
pub struct Running {
    child: Child,
    output: JoinHandle<String>,
    errors: JoinHandle<String>,
}

impl Running {
    /// Whether it has not ended by itself.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child of this process").is_none()
    }

    /// Ends it if it has not ended yet.
    pub fn end(mut self) -> Tool {
        if self.is_alive() {
            self.child.kill().expect("a child of this process");
        }
        Tool {
            status: self.child.wait().expect("a child of this process"),
            output: self.output.join().expect("the pipe's reader does not fail"),
            errors: self.errors.join().expect("the pipe's reader does not fail"),
        }
    }
}

/// What became of a tool.
#[derive(Debug, PartialEq, Eq)]
pub struct Tool {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

impl Lab {
    /// Mounts a memory file system that the daemon and the tools share, gives the daemon the root's users and groups,
    /// and leaves no way to write to the root's own files.
    fn prepare(root: PathBuf) -> Self {
        let at = |path: &str| root.join(path).into_os_string().into_string().expect("a path in UTF-8");
        let (whole, shm) = (at(""), at("dev/shm"));
        mount(&["-t", "tmpfs", "-o", "mode=1777", "shm", "/dev/shm"]);
        mount(&["--bind", &whole, &whole]);
        mount(&["-o", "remount,bind,ro", &whole]);
        mount(&["--bind", "/dev/shm", &shm]);
        for names in ["etc/passwd", "etc/group"] {
            mount(&["--bind", &at(names), &format!("/{names}")]);
        }
        for place in ["tmp", "run", "var/log", "var/lib/pacemaker"] {
            mount(&["-t", "tmpfs", "-o", "mode=1777", "private", &at(place)]);
        }
        mount(&["-t", "proc", "proc", "/proc"]);
        mount(&["-t", "proc", "proc", &at("proc")]);
        let emulator = std::env::var_os(EMULATOR).map(|emulator| {
            std::fs::copy(&emulator, root.join("run/emulator")).expect("a static qemu");
            "/run/emulator"
        });
        Self { root, emulator }
    }

    /// A path of the root, seen from outside.
    #[allow(dead_code, reason = "for tests/probe, which has this module, too")]
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Puts an empty directory in the place of one of the root's, for this test to fill.
    #[allow(dead_code, reason = "for tests/beside_stock, which has this module, too")]
    pub fn mount_private(&self, place: &str) {
        mount(&["-t", "tmpfs", "-o", "mode=755", "private", &self.at(place).to_string_lossy()]);
    }

    /// Shows a file or directory of the root at another place, too.
    #[allow(dead_code, reason = "for tests/beside_stock, which has this module, too")]
    pub fn bind(&self, from: &str, to: &Path) {
        mount(&["--bind", &self.at(from).to_string_lossy(), &to.to_string_lossy()]);
    }

    /// Puts an empty directory in the place of one that is not the root's.
    #[allow(dead_code, reason = "for tests/beside_stock, which has this module, too")]
    pub fn mount_memory(&self, place: &str) {
        mount(&["-t", "tmpfs", "-o", "mode=755", "private", place]);
    }

    /// The files of the stock daemon's package, which are not in the root.
    #[allow(dead_code, reason = "for tests/probe, which has this module, too")]
    pub fn stock(&self) -> PathBuf {
        self.root.with_file_name("stock")
    }

    /// The user that may use Pacemaker's tools by its own group.
    pub fn hacluster(&self) -> User {
        let gid = self.haclient();
        User { uid: self.entry("etc/passwd", "hacluster"), gid, group: None }
    }

    /// A user that may use them by a supplementary group.
    pub fn member(&self) -> User {
        User { group: Some(self.haclient()), ..User::NOBODY }
    }

    /// The group whose members may use Pacemaker's tools.
    pub fn haclient(&self) -> u32 {
        self.entry("etc/group", "haclient")
    }

    /// The number in the third column of the file's line on `name`.
    fn entry(&self, file: &str, name: &str) -> u32 {
        let text = std::fs::read_to_string(self.root.join(file)).expect("the root's users and groups");
        let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let line = lines.find(|line| line.first() == Some(&name)).expect("Pacemaker's user and group");
        line[2].parse().expect("a number")
    }

    /// Runs a tool to its end.
    pub fn run(&self, user: User, command: &[&str]) -> Tool {
        let mut running = self.start(user, command);
        let end = Instant::now() + LIMIT;
        while running.is_alive() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        running.end()
    }

    /// Starts a tool.
    pub fn start(&self, user: User, command: &[&str]) -> Running {
        let mut child = self.spawn(user, command);
        let output = read_all(child.stdout.take());
        let errors = read_all(child.stderr.take());
        Running { child, output, errors }
    }

    /// Starts a tool, and leaves to the caller what it says. Before its name variables may be set, as in a shell.
    pub fn spawn(&self, user: User, command: &[&str]) -> Child {
        let groups = user.group.map_or(String::new(), |group| group.to_string());
        let settings = command.iter().map_while(|word| word.split_once('='));
        let command = &command[settings.clone().count()..];
        // An emulator does not look for what it is to run.
        let (name, arguments) = command.split_first().expect("a command");
        let places = ["/usr/sbin/", "/usr/bin/", "/bin/", ""].map(|place| format!("{place}{name}"));
        let program = places.iter().find(|program| self.at(program).exists()).expect("a tool of the root");
        Command::new("chroot")
            .arg(format!("--userspec={}:{}", user.uid, user.gid))
            .arg(format!("--groups={groups}"))
            .arg(&self.root)
            .args(self.emulator)
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chroot of coreutils")
    }

    /// Gives `/dev/shm` another size.
    #[allow(dead_code, reason = "for tests/interop_ipc, which other tests share this module with")]
    pub fn resize_shared_memory(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}"), "/dev/shm"]);
    }

    /// Tells libqb, here and in the root, to use sockets that are files: in the root's `/tmp`, which is `place` here.
    #[allow(dead_code, reason = "for tests/interop_ipc, which other tests share this module with")]
    pub fn use_file_sockets(&self, place: &str) {
        let own = self.at("/run/etc");
        let copied = Command::new("cp").arg("-a").arg(self.at("/etc")).arg(&own).status().expect("cp");
        assert!(copied.success());
        std::fs::create_dir_all(own.join("libqb")).expect("a private directory");
        std::fs::write(own.join("libqb/force-filesystem-sockets"), "").expect("a private directory");
        for etc in ["/etc", &self.at("/etc").to_string_lossy()] {
            mount(&["--bind", &own.to_string_lossy(), etc]);
        }
        mount(&["--bind", &self.at("/tmp").to_string_lossy(), place]);
    }

    /// What lies in `/dev/shm`.
    pub fn files_in_shared_memory(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm");
        entries.map(|entry| entry.expect("/dev/shm").file_name().to_string_lossy().into_owned()).collect()
    }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        pipe.expect("the pipe asked for").read_to_end(&mut text).expect("a pipe can be read");
        String::from_utf8_lossy(&text).into_owned()
    })
}

fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().expect("mount");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mount {}: {errors}", arguments.join(" "));
}
