//! Clients that break the rules harm themselves only: the daemon lives, serves others, and has back what it gave.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use pacelet::wire::qb::{Machine, RingHeader};

use super::client::{Session, connect, is_closed};
use super::daemon::Daemon;
use super::lab::{self, LIMIT, Lab};
use super::sessions;

/// A name that is served without a cluster, too.
const NAME: &str = "lrmd";
const REQUEST: &str = r#"<lrmd_command lrmd_op="lrmd_rsc_info" lrmd_rsc_id="x"/>"#;
const READY: u32 = 0xA1A1_A1A1;

/// Runs `deed` with a daemon, and holds against the time before what it has after.
fn harmless(test: &str, deed: impl Fn(&Daemon)) {
    lab::enter(&format!("hostile::{test}"), "trixie", |lab: &Lab| {
        let daemon = Daemon::start(&[]);
        // Whatever is made once is made by now.
        serves(&daemon);
        settled(lab, &daemon, usize::MAX);
        let (descriptors, before) = (daemon.descriptors(), daemon.resident());
        deed(&daemon);
        serves(&daemon);
        settled(lab, &daemon, descriptors);
        let grown = daemon.resident().saturating_sub(before);
        assert!(grown <= 1024, "{grown} KiB more than before");
        assert!(!daemon.log().contains("crit:"), "{}", daemon.log());
        assert!(daemon.terminate().success());
        assert_eq!(sessions(lab), [] as [String; 0]);
    });
}

/// Waits until no session is left, and no more descriptors than before.
fn settled(lab: &Lab, daemon: &Daemon, descriptors: usize) {
    daemon
        .wait_until("sessions are left", || sessions(lab).is_empty() && daemon.descriptors() <= descriptors);
}

/// A client that keeps the rules is served.
fn serves(daemon: &Daemon) {
    let mut session = Session::open(NAME, 131_072).expect("a session");
    assert_eq!(session.longest, 131_072);
    session.send(1, REQUEST);
    daemon.wait_until("the request is not taken", || session.is_taken());
    assert_eq!(Session::open("cib_rw", 131_072).err(), Some(121));
}

fn closed(daemon: &Daemon, session: &Session) {
    daemon.wait_until("the session lives on", || is_closed(&session.stream));
}

#[test]
fn who_says_nothing_gives_way() {
    harmless("who_says_nothing_gives_way", |daemon| {
        let start = Instant::now();
        let silent: Vec<_> = (0..300).map(|_| connect(NAME)).collect();
        serves(daemon);
        daemon
            .wait_until("too many are silent", || silent.iter().filter(|one| is_closed(one)).count() >= 236);
        assert!(is_closed(&silent[0]));
        if start.elapsed().as_secs() < 4 {
            assert!(!is_closed(&silent[299]), "the newest gave way");
        }
        daemon.wait_until("silence has no end", || silent.iter().all(is_closed));
    });
}

#[test]
fn who_says_something_else_is_closed() {
    harmless("who_says_something_else_is_closed", |daemon| {
        for said in [&[0_u8; 24][..], &[0xFF; 25], &[7; 4096]] {
            let mut stream = connect(NAME);
            stream.write_all(said).expect("a socket takes this");
            let mut answer = Vec::new();
            // The end, or a reset where bytes were left.
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(answer, b"");
        }
        // Half a request, and gone.
        connect(NAME).write_all(&[0xFF; 12]).expect("a socket takes this");
        assert!(daemon.log().contains("Closed a connection to lrmd (process"), "{}", daemon.log());
    });
}

#[test]
fn who_cuts_files_short_loses_them() {
    harmless("who_cuts_files_short_loses_them", |daemon| {
        for (ring, header) in [(0, true), (0, false), (1, true), (2, true)] {
            let mut session = Session::open(NAME, 131_072).expect("a session");
            let files = &session.rings[ring];
            let file = if header { &files.0 } else { &files.1 };
            file.set_len(0).expect("its own file");
            if ring == 0 && header {
                session.stream.write_all(&[0]).expect("a socket");
                closed(daemon, &session);
            } else if ring == 0 {
                // Writing would make it longer again.
                let semaphore = RingHeader::of(Machine::NATIVE).semaphore();
                session.set_word(0, semaphore.word(), semaphore.unit());
                session.stream.write_all(&[0]).expect("a socket");
                closed(daemon, &session);
            }
            drop(session);
            serves(daemon);
        }
    });
}

#[test]
fn who_forges_chunks_is_dismissed() {
    harmless("who_forges_chunks_is_dismissed", |daemon| {
        for (size, magic) in
            [(u32::MAX, READY), (131_073, READY), (100, 0xA110_CED0), (100, 0), (0, READY), (7, READY)]
        {
            let mut session = Session::open(NAME, 131_072).expect("a session");
            session.put(size, magic, &[b'x'; 100]);
            session.post();
            if magic != READY || size > 131_072 {
                closed(daemon, &session);
            } else {
                daemon.wait_until("the chunk is not taken", || session.word(0, RingHeader::READ_POINT) > 0);
            }
            serves(daemon);
        }
        // More chunks than there can be.
        let mut session = Session::open(NAME, 131_072).expect("a session");
        let semaphore = RingHeader::of(Machine::NATIVE).semaphore();
        session.set_word(0, semaphore.word(), 0x7FFF_FFF0);
        session.stream.write_all(&[0]).expect("a socket");
        closed(daemon, &session);
        // Points outside of the rings, a header of noise.
        for ring in 0..3 {
            let mut session = Session::open(NAME, 131_072).expect("a session");
            for at in (0..12).step_by(4) {
                session.set_word(ring, at, 0xFFFF_FFF0);
            }
            session.send(1, REQUEST);
            session.send(2, REQUEST);
        }
        assert!(daemon.log().contains("more than agreed on"), "{}", daemon.log());
    });
}

/// Requests whose answers nobody reads: the ring gets full, and then whatever waits has a limit.
#[test]
fn who_never_reads_fills_its_own_ring() {
    harmless("who_never_reads_fills_its_own_ring", |daemon| {
        let mut session = Session::open(NAME, 131_072).expect("a session");
        let end = Instant::now() + LIMIT;
        for id in 1..800 {
            session.send(id, REQUEST);
            while !session.is_taken() && !is_closed(&session.stream) {
                assert!(Instant::now() < end, "request {id} is not taken:\n{}", daemon.log());
                std::thread::yield_now();
            }
        }
        serves(daemon);
    });
}

/// Its socket takes no byte for an event, and does not say that it has ended.
#[test]
fn who_shuts_its_ears_is_not_waited_for() {
    harmless("who_shuts_its_ears_is_not_waited_for", |daemon| {
        let mut session = Session::open(NAME, 131_072).expect("a session");
        session.stream.shutdown(Shutdown::Read).expect("a socket");
        for id in 1..10 {
            // An event for everybody.
            session.send(id, r#"<lrmd_command lrmd_op="lrmd_rsc_poke"/>"#);
            daemon.wait_until("the request is not taken", || session.is_taken());
            serves(daemon);
        }
    });
}

#[test]
fn who_dies_in_the_middle_leaves_nothing() {
    harmless("who_dies_in_the_middle_leaves_nothing", |daemon| {
        for number in 0..50 {
            let mut session = Session::open(NAME, 131_072).expect("a session");
            match number % 3 {
                // In the middle of a chunk, before it is counted, and after it.
                0 => session.put(100, 0xA110_CED0, &[0; 50]),
                1 => session.put(100, READY, &[b'x'; 100]),
                _ => session.send(1, REQUEST),
            }
        }
        serves(daemon);
    });
}

/// One user cannot have all, and gets back what it gave back.
#[test]
fn memory_has_a_limit() {
    let memory = [("PACELET_tools_memory", "5000000")];
    lab::enter("hostile::memory_has_a_limit", "trixie", |lab| {
        let daemon = Daemon::start(&memory);
        let mut held = Vec::new();
        let errno = loop {
            match Session::open(NAME, 131_072) {
                Ok(session) => held.push(session),
                Err(errno) => break errno,
            }
            assert!(held.len() < 100, "no limit");
        };
        assert_eq!((held.len(), errno), (5_000_000 / (3 * 135_168), 12));
        assert_eq!(Session::open(NAME, 32 << 20).err(), Some(12));
        daemon.wait_for("PACELET_tools_memory");
        held.truncate(3);
        settled_to(lab, &daemon, 3);
        drop((0..5).map(|_| Session::open(NAME, 131_072).expect("room again")).collect::<Vec<_>>());
        // What is full is not the limit but the file system.
        held.clear();
        settled_to(lab, &daemon, 0);
        lab.resize_shared_memory("300k");
        assert_eq!(Session::open(NAME, 131_072).err(), Some(28));
        daemon.wait_for("cannot get memory for qb-");
        settled_to(lab, &daemon, 0);
        lab.resize_shared_memory("50%");
        serves(&daemon);
        assert!(daemon.terminate().success());
    });
}

fn settled_to(lab: &Lab, daemon: &Daemon, count: usize) {
    daemon.wait_until("sessions are left", || sessions(lab).len() == count);
}
