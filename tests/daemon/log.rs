//! The log file: what is in it, and that nothing about it stops the daemon.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, Resource, Rlimit, Signal};

use super::*;

/// The process that writes the file, once it has its name.
fn scribe(daemon: &Daemon) -> u32 {
    let parent = daemon.process.id();
    let find = || {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let mut pids = children.split(' ').filter_map(|pid| pid.parse::<u32>().ok());
        pids.find(|pid| comm(*pid).as_deref() == Some("pacelet-scribe"))
    };
    wait_until("the scribe", || find().is_some());
    find().unwrap()
}

fn comm(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|comm| comm.trim_end().to_owned())
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

/// A daemon with a key and a log file.
fn daemon(place: &Place, change: impl FnOnce(&mut Command)) -> Daemon {
    let file = place.path("file.log");
    Daemon::with_key(place, |command| {
        command.env("PCMK_logfile", file);
        change(command);
    })
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it does not come: {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Makes the daemon write some lines.
fn chatter(daemon: &Daemon, rounds: usize) {
    for _ in 0..rounds {
        drop(TcpStream::connect(daemon.address).unwrap());
    }
}

#[test]
fn the_file_holds_what_administrators_look_for() {
    let place = Place::new("golden");
    place.write_agent("dummy", "#!/bin/sh\nexit 7\n");
    let mut daemon = daemon(&place, |_| {});
    let mut buffers = Buffers::new();
    let mut client = daemon.connect(KEY, &mut buffers).unwrap();
    run(&mut client, "dummy", "monitor");
    daemon.signal(Signal::TERM);
    daemon.wait_for("Sending shutdown request to cluster");
    daemon.signal(Signal::TERM);
    daemon.wait_for("Waiting for cluster to stop resources before exiting");
    client.close();
    assert_eq!(daemon.status().code(), Some(0));

    let path = place.path("file.log");
    wait_until("the last line", || {
        fs::read_to_string(&path).unwrap().contains("Terminating with 0 clients\n")
    });
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
    let text = fs::read_to_string(&path).unwrap();
    let node = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let start = format!(" {node} pacemaker-remoted   [{}] (pacemaker-remoted) \t", daemon.process.id());
    let messages: Vec<_> = text
        .lines()
        .map(|line| {
            // As in "Nov 20 21:26:34.123".
            let (time, rest) = line.split_at(19);
            let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(&shape[3..], " 00 00:00:00.000", "{line}");
            rest.strip_prefix(&start).unwrap_or_else(|| panic!("{line}"))
        })
        .collect();
    // In this order, among others.
    let golden = [
        "notice: Starting Pacemaker remote executor",
        "notice: Pacemaker remote executor successfully started and accepting connections",
        "notice: OCF resource agent search path is ",
        "notice: Remote client connection accepted",
        "notice: Sending shutdown request to cluster",
        "notice: Waiting for cluster to stop resources before exiting",
        "notice: Cleaning up after remote client ",
        "info: Terminating with 0 clients",
    ];
    let mut rest = messages.iter();
    for wanted in golden {
        assert!(
            rest.any(|message| message.starts_with(wanted)),
            "{wanted:?} is not there, or too early, in\n{text}"
        );
    }
}

#[test]
fn a_stalled_disk_stops_nothing() {
    let place = Place::new("stalled-disk");
    // Many lines, to fill the pipe soon.
    let mut daemon = daemon(&place, |command| {
        command.env("PCMK_debug", "yes");
    });
    let scribe = scribe(&daemon);
    rustix::process::kill_process(pid(scribe), Signal::STOP).unwrap();
    chatter(&daemon, 3_000);
    let mut buffers = Buffers::new();
    let mut client = daemon.connect(KEY, &mut buffers).unwrap();
    client.register("test").unwrap();
    assert_eq!(client.poke().unwrap().number("lrmd_rc"), Some(0));
    rustix::process::kill_process(pid(scribe), Signal::CONT).unwrap();
    let path = place.path("file.log");
    wait_until("what was lost", || {
        chatter(&daemon, 1);
        fs::read_to_string(&path).unwrap().contains("lines lost: the log file was not written in time\n")
    });
    // Every line is there or counted: of each stranger two.
    client.close();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.status().code(), Some(0));
    wait_until("its end", || comm(scribe).is_none());
    let text = fs::read_to_string(&path).unwrap();
    let count = |text: &str| {
        let lost = text.lines().filter_map(|line| line.split_once("warning: ")?.1.split_once(" lines lost"));
        let lost: Vec<usize> = lost.map(|(number, _)| number.parse().unwrap()).collect();
        text.lines().count() - lost.len() + lost.iter().sum::<usize>()
    };
    assert_eq!(count(&text), daemon.log().lines().count());
}

#[test]
fn a_full_disk_stops_nothing() {
    // The limit holds for standard error, too: so the log file is ahead.
    const BEFORE: u64 = 1_000_000;
    let place = Place::new("full-disk");
    File::create(place.path("file.log")).unwrap().set_len(BEFORE).unwrap();
    let daemon = daemon(&place, |command| {
        command.env("PCMK_debug", "yes");
    });
    let scribe = pid(scribe(&daemon));
    let path = place.path("file.log");
    let limit = |bytes| {
        let limit = Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(Some(scribe), Resource::Fsize, limit).unwrap();
    };
    limit(Some(BEFORE + 2_000));
    chatter(&daemon, 50);
    daemon.wait_for("file.log is of no use: cannot write it: File too large");
    assert_eq!(fs::metadata(&path).unwrap().len(), BEFORE + 2_000);
    limit(None);
    chatter(&daemon, 1);
    wait_until("what was lost", || {
        fs::read_to_string(&path).unwrap().contains("lines lost: the log file could not be written\n")
    });
    // The notice is a line of its own.
    let text = fs::read_to_string(&path).unwrap();
    let notice = text.lines().find(|line| line.contains("lines lost")).unwrap();
    assert_eq!(notice.matches('\t').count(), 1, "{notice}");
    assert_eq!(daemon.log().matches("is of no use").count(), 1);
}

#[test]
fn the_scribe_goes_by_another_name_and_ends_by_itself() {
    let place = Place::new("scribe");
    let mut daemon = daemon(&place, |_| {});
    let scribe = scribe(&daemon);
    let cmdline = fs::read_to_string(format!("/proc/{scribe}/cmdline")).unwrap();
    assert!(!cmdline.contains("pacemaker") && !cmdline.contains("daemon"), "{cmdline:?}");
    // Standard streams, pipe and file.
    wait_until("its file", || fs::read_dir(format!("/proc/{scribe}/fd")).unwrap().count() == 5);
    // What a starter sends to the whole group leaves it alone.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        rustix::process::kill_process(pid(scribe), signal).unwrap();
    }
    chatter(&daemon, 1);
    daemon.wait_for("ended before anything came");
    // Nor does the daemon's sudden death.
    daemon.signal(Signal::KILL);
    daemon.status();
    wait_until("its end", || comm(scribe).is_none());
    assert!(fs::read_to_string(place.path("file.log")).unwrap().contains("ended before anything came"));
}

#[test]
fn a_scribe_that_was_ended_is_told_once_and_has_a_successor() {
    let place = Place::new("no-scribe");
    let daemon = daemon(&place, |_| {});
    let path = place.path("file.log");
    let first = scribe(&daemon);
    wait_until("the first lines", || fs::read_to_string(&path).is_ok_and(|text| text.contains("started")));
    rustix::process::kill_process(pid(first), Signal::KILL).unwrap();
    wait_until("the complaint", || {
        chatter(&daemon, 1);
        daemon.log().contains("The log file is not written: somebody ended pacelet-scribe")
    });
    let mut buffers = Buffers::new();
    daemon.connect(KEY, &mut buffers).unwrap().register("test").unwrap();
    wait_until("what was lost", || {
        chatter(&daemon, 1);
        fs::read_to_string(&path).unwrap().contains("lines lost: the log file was not written in time\n")
    });
    // It is what the first was, but that it has no copy of the daemon's memory.
    let second = scribe(&daemon);
    assert_ne!(first, second);
    let cmdline = fs::read_to_string(format!("/proc/{second}/cmdline")).unwrap();
    assert!(!cmdline.contains("pacemaker") && !cmdline.contains("daemon"), "{cmdline:?}");
    assert_eq!(fs::read_dir(format!("/proc/{second}/fd")).unwrap().count(), 5);
    assert!(!memory_holds(second, KEY));
    assert_eq!(daemon.log().matches("The log file is not written").count(), 1);
}

/// Whether a process has these bytes anywhere that it could write to.
fn memory_holds(pid: u32, bytes: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut looked = 0;
    let found = maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (address(start), address(end));
        let mut text = vec![0; usize::try_from(end - start).unwrap()];
        // The kernel's own pages cannot be read.
        let Ok(()) = memory.read_exact_at(&mut text, start) else { return false };
        looked += text.len();
        text.windows(bytes.len()).any(|window| window == bytes)
    });
    assert!(looked > 0);
    found
}

#[test]
fn a_link_is_not_followed_and_a_rotated_file_is_opened_anew() {
    let place = Place::new("links");
    let (path, target) = (place.path("file.log"), place.path("target"));
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let daemon = daemon(&place, |command| {
        command.arg("-l").arg(place.path("second.log"));
    });
    daemon.wait_for("file.log is of no use: it is a symbolic link, which is not followed");
    assert_eq!(fs::read(&target).unwrap(), b"");
    let second = place.path("second.log");
    wait_until("the second file", || fs::read_to_string(&second).is_ok_and(|text| text.contains("started")));
    fs::rename(&second, place.path("second.log.1")).unwrap();
    chatter(&daemon, 1);
    wait_until("a new file", || fs::read_to_string(&second).is_ok_and(|text| text.contains("scan")));
}
