use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use smol::LocalExecutor;

use super::super::clock;
use super::super::reactor::sleep_until;
use super::super::signal::Signals;
use super::super::testing::{block_on, isolated};
use super::*;
use crate::agent::secret::Secret;

/// One process with a loop that buries its children, and what they wrote.
struct Nursery {
    reactor: Rc<Reactor>,
    executor: LocalExecutor<'static>,
    children: Rc<Children>,
}

#[derive(Debug, Default)]
struct Outcome {
    ending: Option<Ending>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Outcome {
    fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

impl Nursery {
    fn new(environment: &[&str]) -> Self {
        let reactor = Reactor::new().unwrap();
        let executor = LocalExecutor::new();
        let environment = environment.iter().map(|entry| CString::new(*entry).unwrap()).collect();
        let children = Rc::new(Children::new(&reactor, environment, Restore::default()).unwrap());
        let signals = Signals::new(&reactor).unwrap();
        let bury = children.clone();
        executor
            .spawn(async move {
                loop {
                    signals.next().await.unwrap();
                    bury.reap();
                }
            })
            .detach();
        Self { reactor, executor, children }
    }

    fn block_on<T>(&self, future: impl Future<Output = T> + 'static) -> T {
        block_on(&self.reactor, &self.executor, future)
    }

    fn run(&self, command: Command) -> Outcome {
        let child = self.children.spawn(&command).unwrap();
        self.block_on(collect(child))
    }

    fn shell(&self, script: &str) -> Outcome {
        self.run(shell(script))
    }
}

async fn collect(mut child: Child) -> Outcome {
    let mut outcome = Outcome::default();
    let mut buffer = vec![0; 65536];
    loop {
        match child.next(&mut buffer) {
            Some(Happening::Output(Stream::Stdout, count)) => outcome.stdout.extend(&buffer[..count]),
            Some(Happening::Output(Stream::Stderr, count)) => outcome.stderr.extend(&buffer[..count]),
            Some(Happening::Ended(ending)) => {
                outcome.ending = Some(ending);
                return outcome;
            }
            None => child.ready().await,
        }
    }
}

fn command(path: &str, arguments: &[&str]) -> Command {
    Command {
        candidates: vec![CString::new(path).unwrap()],
        arguments: arguments.iter().map(|argument| CString::new(*argument).unwrap()).collect(),
        ..Command::default()
    }
}

fn shell(script: &str) -> Command {
    command("/bin/sh", &["-c", script])
}

fn temporary(name: &str, content: &str, mode: u32) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pacelet-child-{name}-{}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

#[test]
fn exit_codes_come_back() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        for code in [0, 1, 7, 127, 255] {
            let outcome = nursery.shell(&format!("exit {code}"));
            assert_eq!(outcome.ending, Some(Ending::Exited(code)));
        }
        assert_eq!(nursery.children.count(), 0);
    });
}

#[test]
fn signals_come_back() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT] {
            let outcome = nursery.shell(&format!("echo before; kill -{signal} $$"));
            assert_eq!(outcome.ending, Some(Ending::Signalled(signal)));
            assert_eq!(outcome.stdout(), "before\n");
        }
    });
}

#[test]
fn what_cannot_run_says_where_and_why() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let not_run = |step, errno: Errno| Some(Ending::NotRun(step, errno.raw_os_error()));
        let ending = |path: &str| nursery.run(command(path, &[])).ending;
        assert_eq!(ending("/nonexistent/agent"), not_run(Step::Lookup, Errno::NOENT));
        assert_eq!(ending("/proc/self/status/agent"), not_run(Step::Lookup, Errno::NOTDIR));
        assert_eq!(ending("/usr"), not_run(Step::Exec, Errno::ACCESS));
        let plain = temporary("plain", "#!/bin/sh\n", 0o644);
        assert_eq!(ending(plain.to_str().unwrap()), not_run(Step::Exec, Errno::ACCESS));
        let orphan = temporary("orphan", "#!/nonexistent/interpreter\n", 0o755);
        assert_eq!(ending(orphan.to_str().unwrap()), not_run(Step::Exec, Errno::NOENT));
        for path in [plain, orphan] {
            std::fs::remove_file(path).unwrap();
        }
    });
}

#[test]
fn the_first_candidate_that_is_there_runs() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let mut command = shell("echo $0");
        command.candidates.insert(0, c"/nonexistent/agent".into());
        command.candidates.push(c"/bin/false".into());
        assert_eq!(nursery.run(command).stdout(), "/bin/sh\n");
        // Even if it cannot be executed.
        let mut command = shell("true");
        command.candidates.insert(0, c"/usr".into());
        let ending = nursery.run(command).ending;
        assert_eq!(ending, Some(Ending::NotRun(Step::Exec, Errno::ACCESS.raw_os_error())));
    });
}

#[test]
fn a_script_without_an_interpreter_runs_in_the_shell() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let path = temporary("bare", "echo \"$1 from $0\"\n", 0o755);
        let outcome = nursery.run(command(path.to_str().unwrap(), &["monitor"]));
        assert_eq!(outcome.stdout(), format!("monitor from {}\n", path.display()));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_megabyte_on_both_pipes_is_read() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let script = "head -c 1048576 /dev/zero & head -c 1048577 /dev/zero >&2; wait";
        let outcome = nursery.shell(script);
        assert_eq!(outcome.ending, Some(Ending::Exited(0)));
        assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (1 << 20, (1 << 20) + 1));
    });
}

#[test]
fn a_grandchild_that_holds_the_pipes_delays_nothing() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let outcome = nursery.shell("sleep 1000 & echo $!");
        assert_eq!(outcome.ending, Some(Ending::Exited(0)));
        let pid: i32 = outcome.stdout().trim().parse().unwrap();
        // It lives on, and it is ours to end.
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    });
}

#[test]
fn a_grandchild_that_writes_for_ever_delays_nothing() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        // It ends by SIGPIPE when the pipe is closed.
        let outcome = nursery.shell("yes & exit 3");
        assert_eq!(outcome.ending, Some(Ending::Exited(3)));
    });
}

#[test]
fn what_was_written_last_is_not_lost() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        for round in 0..20 {
            let outcome = nursery.shell("sleep 1000 & head -c 60000 /dev/zero; echo last >&2; echo $! >&2");
            assert_eq!(outcome.stdout.len(), 60000, "round {round}");
            let stderr = String::from_utf8(outcome.stderr).unwrap();
            let pid = stderr.strip_prefix("last\n").unwrap().trim().parse().unwrap();
            rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
    });
}

#[test]
fn a_group_is_killed_as_a_whole() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let mut child = nursery.children.spawn(&shell("sleep 1000 & echo $!; wait")).unwrap();
        let pid = nursery.block_on(async move {
            let mut buffer = [0; 64];
            child.ready().await;
            let Some(Happening::Output(Stream::Stdout, count)) = child.next(&mut buffer) else {
                panic!("the shell writes its child's number")
            };
            child.kill(true);
            assert_eq!(collect(child).await.ending, Some(Ending::Signalled(libc::SIGKILL)));
            std::str::from_utf8(&buffer[..count]).unwrap().trim().parse().unwrap()
        });
        assert!(ends(&nursery, pid), "the sleeper outlived its group");
    });
}

#[test]
fn one_process_is_killed_alone() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let mut child = nursery.children.spawn(&shell("sleep 1000 & echo $!; wait")).unwrap();
        let pid = nursery.block_on(async move {
            let mut buffer = [0; 64];
            child.ready().await;
            let Some(Happening::Output(Stream::Stdout, count)) = child.next(&mut buffer) else {
                panic!("the shell writes its child's number")
            };
            child.kill(false);
            assert_eq!(collect(child).await.ending, Some(Ending::Signalled(libc::SIGKILL)));
            std::str::from_utf8(&buffer[..count]).unwrap().trim().parse().unwrap()
        });
        let pid = Pid::from_raw(pid).unwrap();
        assert_eq!(rustix::process::test_kill_process(pid), Ok(()));
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    });
}

/// Whether a process that is not our child ends soon (as a zombie it counts as ended).
fn ends(nursery: &Nursery, pid: i32) -> bool {
    for _ in 0..200 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        if stat.map_or(true, |stat| stat.contains(") Z ")) {
            return true;
        }
        let reactor = nursery.reactor.clone();
        nursery.block_on(async move { sleep_until(&reactor, clock::monotonic().after(10)).await });
    }
    false
}

#[test]
fn a_group_can_be_killed_from_its_first_moment() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        for _ in 0..20 {
            let child = nursery.children.spawn(&shell("sleep 1000")).unwrap();
            child.kill(true);
            let ending = nursery.block_on(collect(child)).ending;
            assert_eq!(ending, Some(Ending::Signalled(libc::SIGKILL)));
        }
    });
}

#[test]
fn where_a_process_waits_in_the_kernel() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let child = nursery.children.spawn(&shell("exec sleep 1000")).unwrap();
        let handle = child.handle();
        let path = format!("/proc/{}/wchan", handle.0.pid.as_raw_pid());
        let told = (0..200).find_map(|_| {
            let reactor = nursery.reactor.clone();
            nursery.block_on(async move { sleep_until(&reactor, clock::monotonic().after(10)).await });
            handle.kernel_function().filter(|name| name.contains("sleep"))
        });
        match std::fs::read_to_string(&path).unwrap().as_str() {
            "0" => {
                let reason = b"skipped: this kernel does not tell where a process waits\n";
                rustix::io::write(rustix::stdio::stderr(), reason).unwrap();
            }
            name => assert_eq!(told.as_deref(), Some(name)),
        }
        handle.kill(true);
        nursery.block_on(collect(child));
        assert!(handle.has_ended());
        assert_eq!(handle.kernel_function(), None);
    });
}

#[test]
fn who_was_buried_is_not_killed() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let child = nursery.children.spawn(&shell("exit 0")).unwrap();
        let handle = child.handle();
        nursery.block_on(collect(child));
        // If it did, it would kill whoever has the number now; here it must at least not try.
        assert!(handle.0.ending.get().is_some());
        handle.kill(true);
    });
}

#[test]
fn strangers_are_buried_as_well() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        // As an orphan is for process 1: a child that nobody here has started.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            unsafe { libc::_exit(3) };
        }
        assert!(pid > 0);
        for _ in 0..200 {
            if !std::fs::exists(format!("/proc/{pid}")).unwrap() {
                return;
            }
            let reactor = nursery.reactor.clone();
            nursery.block_on(async move { sleep_until(&reactor, clock::monotonic().after(10)).await });
        }
        panic!("it stays a zombie");
    });
}

#[test]
fn own_entries_replace_those_of_the_base() {
    isolated(|| {
        let nursery = Nursery::new(&["PATH=/usr/bin:/bin", "A=base", "AB=base", "C=base"]);
        let mut command = command("/usr/bin/env", &[]);
        command.environment = [c"A=own", c"D=own", c"D=last", c"E=a=b"].map(CString::from).to_vec();
        let outcome = nursery.run(command);
        let lines: Vec<&str> = outcome.stdout().lines().collect();
        assert_eq!(lines, ["A=own", "AB=base", "C=base", "D=last", "E=a=b", "PATH=/usr/bin:/bin"]);
    });
}

/// The fields of the child's /proc/self/status.
fn status(nursery: &Nursery) -> HashMap<String, String> {
    let outcome = nursery.run(command("/bin/cat", &["/proc/self/status"]));
    let fields = outcome.stdout().lines().filter_map(|line| line.split_once(":\t"));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Signals 32 to 34 cannot be set through libc, so one that this test's starter ignores stays so.
const KEPT_BY_LIBC: u64 = 0b111 << 31;

#[test]
fn a_child_starts_with_clean_signals() {
    isolated(|| {
        for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGUSR1, libc::SIGRTMAX()] {
            signal::ignore(signal).unwrap();
        }
        let nursery = Nursery::new(&[]);
        let status = status(&nursery);
        for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
            let signals = u64::from_str_radix(&status[field], 16).unwrap();
            assert_eq!(signals & !KEPT_BY_LIBC, 0, "{field}: {signals:016x}");
        }
    });
}

#[test]
fn a_child_has_three_descriptors_and_its_own_group() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        // What a careless starter left open.
        let leaks: Vec<_> = (0..20).map(|_| unsafe { libc::dup(0) }).collect();
        assert!(leaks.iter().all(|&fd| fd > 2));
        let outcome = nursery.shell(
            "ls -l /proc/$$/fd; ps -o pgid= -p $$ 2>/dev/null || true; cut -d' ' -f5 /proc/$$/stat; echo $$",
        );
        let lines: Vec<&str> = outcome.stdout().lines().collect();
        let descriptors: Vec<_> = lines.iter().filter_map(|line| line.split_once(" -> ")).collect();
        assert_eq!(descriptors.len(), 3, "{}", outcome.stdout());
        assert!(descriptors[0].0.ends_with(" 0") && descriptors[0].1 == "/dev/null", "{descriptors:?}");
        assert!(descriptors[1].1.starts_with("pipe:") && descriptors[2].1.starts_with("pipe:"));
        let [.., group, pid] = lines[..] else { panic!("{lines:?}") };
        assert_eq!(group, pid);
    });
}

#[test]
fn no_descriptors_is_an_answer_not_a_panic() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let few = rustix::process::Rlimit { current: Some(3), maximum: limits.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let failure = nursery.children.spawn(&shell("true")).unwrap_err();
        assert_eq!(failure, (Step::Pipe, Errno::MFILE));
        assert_eq!(nursery.children.count(), 0);
    });
}

#[test]
fn what_the_daemon_changed_is_given_back() {
    isolated(|| {
        let reactor = Reactor::new().unwrap();
        let before = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let low = rustix::process::Rlimit { current: Some(256), maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, low).unwrap();
        let mut restore = super::super::process::prepare();
        // Not everybody may lower it, but then nothing was changed; and everybody may raise it.
        assert!(restore.oom_score_adj.is_none_or(|score| score.to_str() == Ok(&before)));
        restore.oom_score_adj = Some(c"700".to_owned());
        assert_ne!(rustix::process::getrlimit(rustix::process::Resource::Nofile).current, Some(256));
        let children = Children::new(&reactor, Vec::new(), restore).unwrap();
        let signals = Signals::new(&reactor).unwrap();
        let executor = LocalExecutor::new();
        let child = children.spawn(&shell("ulimit -n; umask; cat /proc/self/oom_score_adj")).unwrap();
        executor
            .spawn(async {
                loop {
                    signals.next().await.unwrap();
                    children.reap();
                }
            })
            .detach();
        let outcome = block_on(&reactor, &executor, collect(child));
        assert_eq!(outcome.stdout(), "256\n0026\n700\n");
    });
}

#[test]
fn five_hundred_at_once() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        super::super::process::prepare();
        let children = nursery.children.clone();
        let total = nursery.block_on(async move {
            let spawned: Vec<_> = (0..500)
                .map(|number| children.spawn(&shell(&format!("exit {}", number % 200))).unwrap())
                .collect();
            let mut total = 0;
            for child in spawned {
                match collect(child).await.ending {
                    Some(Ending::Exited(code)) => total += usize::from(code),
                    other => panic!("{other:?}"),
                }
            }
            total
        });
        assert_eq!(total, (0..500).map(|number| number % 200).sum());
        assert_eq!(nursery.children.count(), 0);
    });
}

/// A directory with a secret in it: what the file holds, and its signature.
fn secret(name: &str, value: &[u8], signature: &str) -> Secret {
    let path = std::env::temp_dir().join(format!("pacelet-secret-{name}-{}", std::process::id()));
    std::fs::write(&path, value).unwrap();
    let sign = path.with_extension("sign");
    std::fs::write(&sign, signature).unwrap();
    let text = |path: &PathBuf| CString::new(path.to_str().unwrap()).unwrap();
    Secret { entry: c"OCF_RESKEY_p=".to_owned(), file: text(&path), signature: text(&sign) }
}

/// A script that is told a secret in place of `lrm://`.
fn told(secret: &Secret, needs_secrets: bool) -> Command {
    Command {
        environment: vec![c"OCF_RESKEY_p=lrm://".to_owned(), c"OCF_RESKEY_pq=x".to_owned()],
        secrets: vec![secret.clone()],
        needs_secrets,
        ..shell("printf %s \"$OCF_RESKEY_p/$OCF_RESKEY_pq\"")
    }
}

fn forget(secret: &Secret) {
    for path in [&secret.file, &secret.signature] {
        std::fs::remove_file(path.to_str().unwrap()).unwrap();
    }
}

#[test]
fn a_secret_takes_the_place_of_its_stand_in() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let good = secret("good", b"abc \n", "900150983CD24FB0d6963f7d28e17f72\n");
        let outcome = nursery.run(told(&good, true));
        assert_eq!((outcome.ending, outcome.stdout()), (Some(Ending::Exited(0)), "abc/x"));
        forget(&good);
    });
}

#[test]
fn without_its_secret_only_a_program_runs_that_does_not_need_it() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let signature = "900150983cd24fb0d6963f7d28e17f72";
        let gone = secret("gone", b"abc", signature);
        forget(&gone);
        let link = secret("link", b"abc", signature);
        let target = link.file.to_str().unwrap().to_owned() + ".target";
        std::fs::rename(link.file.to_str().unwrap(), &target).unwrap();
        std::os::unix::fs::symlink(&target, link.file.to_str().unwrap()).unwrap();
        let others = [
            secret("wrong", b"abd", signature),
            secret("unsigned", b"abc", ""),
            secret("nul", b"abc\0", "147a664a2ca9410911e61986d3f0d52a"),
            secret("long", &vec![b'x'; Secret::LIMIT + 1], signature),
            link,
        ];
        for secret in others.iter().chain([&gone]) {
            let outcome = nursery.run(told(secret, true));
            let ending = outcome.ending.unwrap();
            assert!(matches!(ending, Ending::NotRun(Step::Secrets, _)), "{:?}: {ending:?}", secret.file);
            assert_eq!(nursery.run(told(secret, false)).stdout(), "lrm:///x", "{:?}", secret.file);
        }
        others.iter().for_each(forget);
        std::fs::remove_file(target).unwrap();
    });
}

#[test]
fn the_longest_secret() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let value = vec![b'x'; Secret::LIMIT];
        let longest = secret("longest", &value, "598bf98d5c865461aef3eaa8d95a0fd9");
        let outcome = nursery.run(told(&longest, true));
        assert_eq!((outcome.ending, outcome.stdout.len()), (Some(Ending::Exited(0)), Secret::LIMIT + 2));
        forget(&longest);
    });
}

#[test]
fn a_program_runs_as_another_user_without_its_groups() {
    isolated(|| {
        if !rustix::process::geteuid().is_root() {
            std::io::Write::write_all(&mut std::io::stderr(), b"skipped: a change of user: needs root\n")
                .unwrap();
            return;
        }
        let nursery = Nursery::new(&[]);
        let ids = Ids::of_user("nobody").unwrap();
        let script = "grep -E '^(Uid|Gid|Groups):' /proc/self/status | tr -d '\\t\\n '";
        let outcome = nursery.run(Command { user: Some("nobody"), ..shell(script) });
        let (user, group) = (ids.user.to_string().repeat(4), ids.group.to_string().repeat(4));
        assert_eq!(outcome.stdout(), format!("Uid:{user}Gid:{group}Groups:"));
        assert_eq!(outcome.ending, Some(Ending::Exited(0)));
    });
}

#[test]
fn nobody_of_that_name() {
    isolated(|| {
        let nursery = Nursery::new(&[]);
        let command = Command { user: Some("nobody-is-called-that"), ..shell("true") };
        assert!(matches!(nursery.children.spawn(&command), Err((Step::User, Errno::NOENT))));
    });
}

/// Who is not root cannot become another: then the program must not run as who it was.
#[test]
fn a_change_of_user_that_fails_is_the_end() {
    isolated(|| {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_res_uid(
                rustix::process::Uid::from_raw(65534),
                rustix::process::Uid::from_raw(65534),
                rustix::process::Uid::from_raw(65534),
            )
            .unwrap();
        }
        let nursery = Nursery::new(&[]);
        let outcome = nursery.run(Command { user: Some("daemon"), ..shell("echo ran") });
        assert!(matches!(outcome.ending, Some(Ending::NotRun(Step::User, _))), "{outcome:?}");
        assert_eq!(outcome.stdout(), "");
    });
}
