//! Agents that do what agents should not, and machines on which they cannot run: the real daemon, real
//! processes. Whatever they do, each operation has its one result, at each client, and whoever asks whether the
//! node is alive is answered at once.
//!
//! | file   | what it is                                                            |
//! |--------|-----------------------------------------------------------------------|
//! | `lab`  | a daemon, its agents, a client, and a second one that pokes all the while |
//! | `fuse` | a file system whose server takes requests and never answers           |
//! | `disk` | disks that stall or are full, and `mounts`: where only a test sees them |
//! | `pids` | a cgroup in which forks fail                                          |
//!
//! The limit for pokes is on the 99th percentile of hundreds of them. The daemon and the client that pokes run
//! at a raised priority where that is allowed: it is the daemon's waiting that is measured here, not how long a
//! crowded machine keeps it from running. Agents run at the usual priority, as always.

mod disk;
mod fuse;
mod lab;
mod mounts;
mod pids;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use lab::{Result, hostile, is_alive, skip};

/// How much of an agent's output is told at most, in bytes (executor-api.md section 4.2).
const OUTPUT: usize = 512 * 1024;

#[test]
fn fifty_megabytes_without_a_newline() {
    hostile("50 MB of output", |lab| {
        lab.agent("stdout", "head -c 50000000 /dev/zero | tr '\\0' x");
        lab.agent(
            "stderr",
            "head -c 50000000 /dev/zero | tr '\\0' y >&2; echo ocf-exit-reason:enough >&2; exit 1",
        );
        let calls = ["stdout", "stderr"].map(|name| lab.execute(name, "start", 60_000));
        let [stdout, stderr] = calls.map(|call| lab.result(call));
        assert_eq!((stdout.rc, stdout.status, stdout.reason), (0, 0, None));
        assert_eq!(stdout.output, Some("x".repeat(OUTPUT)));
        assert_eq!((stderr.rc, stderr.status, stderr.reason.as_deref()), (1, 0, Some("enough")));
        assert_eq!(stderr.output, Some("y".repeat(OUTPUT)));
    });
}

#[test]
fn bytes_that_no_text_has() {
    hostile("binary output", |lab| {
        lab.agent("random", "head -c 300000 /dev/urandom >&2; exit 7");
        lab.agent("escapes", r"printf 'a\033[2Jb\000c\377d\r\n\007\177\303\251'");
        lab.agent("reason", r"printf 'ocf-exit-reason:a\033[31mb\377c\000d\n' >&2; exit 6");
        for _ in 0..5 {
            // The client refuses what a strict cluster would not read.
            let call = lab.execute("random", "monitor", 60_000);
            let result = lab.result(call);
            assert_eq!((result.rc, result.status), (7, 0));
            assert!(result.output.unwrap().len() > 10_000);
        }
        let call = lab.execute("escapes", "monitor", 60_000);
        let output = lab.result(call).output.unwrap();
        assert_eq!(output, "a?[2Jb?c?d\r\n?\u{7f}\u{e9}");
        let call = lab.execute("reason", "monitor", 60_000);
        let result = lab.result(call);
        assert_eq!((result.rc, result.reason.as_deref()), (6, Some("a?[31mb?c?d")));
    });
}

#[test]
fn who_ignores_all_signals_is_killed() {
    hostile("ignored signals", |lab| {
        lab.agent("deaf", "trap '' TERM INT HUP QUIT PIPE ALRM; echo begun; while :; do sleep 1000; done");
        let begun = Instant::now();
        let call = lab.execute("deaf", "start", 1_000);
        let result = lab.result(call);
        assert!(begun.elapsed() >= Duration::from_millis(990));
        assert_eq!((result.rc, result.status), (1, 2));
        assert_eq!(result.reason.as_deref(), Some("Resource agent did not complete within 1s"));
        assert_eq!(result.output.as_deref(), Some("begun\n"));
    });
}

#[test]
fn who_leaves_a_daemon_that_holds_the_pipes_is_over_when_it_ends() {
    hostile("a daemon that holds the pipes", |lab| {
        lab.agent("leaver", "setsid sleep 1000 & echo $!; exit 0");
        lab.agent("writer", "setsid yes & exit 3");
        let begun = Instant::now();
        let calls = ["leaver", "writer"].map(|name| lab.execute(name, "start", 30_000));
        let [leaver, writer] = calls.map(|call| lab.result(call));
        assert!(begun.elapsed() < Duration::from_secs(20), "it was waited for");
        assert_eq!((leaver.rc, writer.rc), (0, 3));
        // It lives on, as a daemon shall, and is ours to end. The other ended when nobody read any more.
        let output = leaver.output.unwrap();
        let pid = output.trim().parse().unwrap();
        assert!(is_alive(pid));
        lab::kill(pid);
    });
}

#[test]
fn a_hundred_children_are_killed_with_their_parent() {
    hostile("a hundred children", |lab| {
        lab.agent("parent", "for i in $(seq 100); do sleep 1000 & echo $!; done; wait");
        let call = lab.execute("parent", "start", 5_000);
        let result = lab.result(call);
        assert_eq!((result.rc, result.status), (1, 2));
        let pids: Vec<i32> = result.output.unwrap().lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(pids.len(), 100);
        let begun = Instant::now();
        while pids.iter().any(|&pid| is_alive(pid)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "some children outlive the kill");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn what_cannot_be_executed() {
    hostile("what cannot be executed", |lab| {
        let directory = lab.path("agents/test");
        fs::create_dir_all(directory.join("directory")).unwrap();
        lab.agent("plain", "exit 0");
        fs::set_permissions(directory.join("plain"), PermissionsExt::from_mode(0o644)).unwrap();
        fs::write(directory.join("orphan"), "#!/nonexistent/interpreter\n").unwrap();
        fs::write(directory.join("garbage"), b"\x7fELF\x02\x01\x01 and no more").unwrap();
        for name in ["orphan", "garbage"] {
            fs::set_permissions(directory.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        symlink("loop", directory.join("loop")).unwrap();
        symlink("/nonexistent", directory.join("dangling")).unwrap();
        // Name, rc, status, what the reason holds: as tests/beside_stock sees it of 2.1.5 and 3.0.0.
        for (name, rc, status, reason) in [
            ("missing", 5, 7, "missing: No such file or directory"),
            ("dangling", 5, 7, "dangling: No such file or directory"),
            ("loop", 5, 7, "loop: Too many levels of symbolic links"),
            ("plain", 4, 0, "Child process was unable to execute file"),
            ("directory", 4, 0, "Child process was unable to execute file"),
            ("orphan", 5, 0, "Child process was unable to execute file"),
        ] {
            lab.register(name);
            let call = lab.execute(name, "start", 30_000);
            let result = lab.result(call);
            let told = result.reason.unwrap_or_default();
            assert_eq!((result.rc, result.status), (rc, status), "{name}: {told}");
            assert!(told.contains(reason), "{name}: {told}");
        }
        // What the kernel does not know is a shell's, as for execvp.
        lab.register("garbage");
        let call = lab.execute("garbage", "start", 30_000);
        assert_ne!(lab.result(call).rc, 0);
    });
}

#[test]
fn an_agent_on_a_file_system_that_hangs() {
    hostile("a hung file system", |lab| {
        let mount = match fuse::Hung::mount(&lab.path("hung")) {
            Ok(mount) => mount,
            Err(why) => return skip("an agent on a hung file system", &why),
        };
        // The mount was made for this thread and what it starts.
        lab.restart(None);
        lab.agent("quick", "exit 0");
        lab.register("stuck");
        let begun = Instant::now();
        let start = lab.execute("stuck", "start", 1_000);
        let result = lab.result(start);
        // The daemon's clock has milliseconds.
        assert!(begun.elapsed() >= Duration::from_millis(5_990), "{:?}", begun.elapsed());
        assert_eq!((result.rc, result.status), (1, 2));
        let reason = result.reason.unwrap();
        println!("    told: {reason}");
        let known = "Resource agent did not complete within 1s: SIGKILL does not end it";
        assert!(reason.starts_with(known), "{reason}");
        assert!(reason.ends_with(')') || !fuse::kernel_tells_places(), "{reason}");
        // Nothing runs beside it. What waits can be cancelled, or is reported in its time.
        let stop = lab.execute("stuck", "stop", 2_000);
        let monitor = lab.execute_recurring("stuck", "monitor", 10_000, 2_000);
        assert_eq!(lab.cancel("stuck", "monitor", 10_000), 0);
        let result = lab.result(monitor);
        assert_eq!((result.rc, result.status), (0, 1));
        let result = lab.result(stop);
        assert_eq!((result.rc, result.status), (1, 2));
        assert!(result.reason.unwrap().ends_with("an earlier process of the resource cannot be killed"));
        // Others do not notice.
        let call = lab.execute("quick", "start", 30_000);
        assert_eq!(lab.result(call).rc, 0);
        // And it ends when the file system does.
        let again = lab.execute("stuck", "monitor", 0);
        drop(mount);
        let result = lab.result(again);
        // For a moment the dead file system is still there.
        assert!(matches!((result.rc, result.status), (5, 7) | (1, 4)), "{result:?}");
        assert!(lab.log().contains("the resource is free again"), "{}", lab.log());
    });
}

/// So long that a few hundred operations fill what waits for the log file.
const LONG_NAME: &str =
    "a-resource-with-a-name-that-is-as-long-as-names-get-so-that-a-line-of-the-log-about-it-is-long-as-well";

#[test]
fn a_log_disk_that_stalls() {
    hostile("a stalled disk", |lab| {
        let mut disk = match disk::Disk::in_file(&lab.path("")) {
            Ok(disk) => disk,
            Err(why) => return skip("a stalled disk", &why),
        };
        let log = disk.path("pacelet.log");
        lab.restart(Some(&log));
        lab.agent(LONG_NAME, "exit 0");
        lab.agent("writer", &format!("echo 1 > {}; exit 0", disk.path("file").display()));
        disk.freeze();
        // An agent that writes there hangs, too, as agents do.
        let writer = lab.execute("writer", "start", 1_000);
        let mut last = 0;
        for _ in 0..1_000 {
            last = lab.execute(LONG_NAME, "start", 30_000);
            assert_eq!(lab.result(last).rc, 0);
        }
        let result = lab.result(writer);
        assert_eq!((result.rc, result.status), (1, 2));
        let reason = result.reason.unwrap();
        println!("    told: {reason}");
        assert!(reason.contains("SIGKILL does not end it"), "{reason}");
        disk.thaw();
        let call = lab.execute("writer", "stop", 30_000);
        assert_eq!(lab.result(call).rc, 0);
        // What the log does not have it has counted.
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap();
            if text.contains(&format!("(call {call})")) {
                let is_whole = text.contains(&format!("(call {last})"));
                assert!(is_whole || text.contains("lines lost"), "{text}");
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "the log does not go on:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_log_disk_that_is_full() {
    hostile("a full disk", |lab| {
        let disk = match disk::Disk::of_64_kilobytes(&lab.path("")) {
            Ok(disk) => disk,
            Err(why) => return skip("a full disk", &why),
        };
        let log = disk.path("pacelet.log");
        lab.restart(Some(&log));
        lab.agent(LONG_NAME, "exit 0");
        for _ in 0..500 {
            let call = lab.execute(LONG_NAME, "start", 30_000);
            assert_eq!(lab.result(call).rc, 0);
        }
        assert!(lab.log().contains("No space left on device"), "{}", lab.log());
    });
}

#[test]
fn no_descriptors_left() {
    hostile("no descriptors", |lab| {
        lab.agent("quick", "exit 7");
        let open = lab.descriptors();
        // Two pipes take four.
        for left in [0, 1, 2, 3] {
            lab.leave_descriptors(left);
            let calls: Vec<_> = (0..5).map(|_| lab.execute("quick", "monitor", 30_000)).collect();
            for call in calls {
                let Result { rc, status, reason, .. } = lab.result(call);
                assert_eq!((rc, status), (1, 4), "{reason:?} with {left} descriptors left");
            }
        }
        lab.leave_descriptors(4);
        let call = lab.execute("quick", "monitor", 30_000);
        assert_eq!(lab.result(call).rc, 7);
        // The pipes are closed soon after the result is told.
        let begun = Instant::now();
        while lab.descriptors() != open {
            assert!(begun.elapsed() < Duration::from_secs(10), "lost: {:?}, not {open:?}", lab.descriptors());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn no_processes_left() {
    hostile("no processes", |lab| {
        let group = match pids::Group::new(lab.daemon_id()) {
            Ok(group) => group,
            Err(why) => return skip("forks that fail", &why),
        };
        lab.agent("quick", "exit 7");
        group.limit("1");
        let calls: Vec<_> = (0..10).map(|_| lab.execute("quick", "monitor", 30_000)).collect();
        for call in calls {
            let Result { rc, status, reason, .. } = lab.result(call);
            assert_eq!((rc, status), (1, 4), "{reason:?}");
        }
        // Room for some: each of the others fails by itself.
        group.limit("6");
        let names: Vec<String> = (0..20).map(|number| format!("some{number}")).collect();
        for name in &names {
            lab.agent(name, "exit 7");
        }
        let calls: Vec<_> = names.iter().map(|name| lab.execute(name, "monitor", 30_000)).collect();
        let results: Vec<_> = calls.into_iter().map(|call| lab.result(call).rc).collect();
        assert!(results.iter().all(|rc| matches!(rc, 1 | 7)) && results.contains(&7), "{results:?}");
        group.limit("max");
        let call = lab.execute("quick", "monitor", 30_000);
        assert_eq!(lab.result(call).rc, 7);
    });
}

#[test]
fn all_of_them_at_once() {
    hostile("all at once", |lab| {
        lab.agent("loud", "head -c 50000000 /dev/zero | tr '\\0' x");
        lab.agent("binary", "head -c 3000000 /dev/urandom >&2");
        lab.agent("deaf", "trap '' TERM; while :; do sleep 1000; done");
        lab.agent("parent", "for i in $(seq 100); do sleep 1000 & done; wait");
        lab.agent("lines", "yes 'ocf-exit-reason:no' 2>/dev/null | head -n 200000 >&2; exit 1");
        lab.register("missing");
        let mut expected = Vec::new();
        for _ in 0..3 {
            for (name, timeout, rc, status) in [
                ("loud", 60_000, 0, 0),
                ("binary", 60_000, 0, 0),
                ("deaf", 2_000, 1, 2),
                ("parent", 3_000, 1, 2),
                ("lines", 60_000, 1, 0),
                ("missing", 60_000, 5, 7),
            ] {
                expected.push((lab.execute(name, "start", timeout), rc, status));
            }
        }
        for (call, rc, status) in expected {
            let result = lab.result(call);
            assert_eq!((result.rc, result.status), (rc, status), "call {call}: {:?}", result.reason);
        }
    });
}
