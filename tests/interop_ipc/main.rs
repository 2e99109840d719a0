//! The stock command-line tools over libqb: unmodified Pacemaker packages of Debian's oldest and newest release
//! with long-term support, against the server in `pacelet::ipc`.
//!
//! A test calls itself again in namespaces of its own ([`lab`]), where abstract socket names and
//! `/dev/shm` are private. There the test program is the server ([`server`]; built for a musl target it is
//! a static one), and the tools run in a root of their release. The answers they get ([`replies`]) are
//! what a cluster of one node would say.
//!
//! Root is needed, and the roots that `tests/cluster/root` makes. Built for another CPU, the tests are for the tools of
//! that CPU's Debian: what is in the shared memory has another layout there.

mod client;
mod daemon;
mod hostile;
mod lab;
mod refusals;
mod replies;
mod server;

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use lab::{LIMIT, Lab, User};
use pacelet::ipc::Peer;
use pacelet::wire::ipc::Layout;
use server::{Seen, Server};

/// What tools ask for.
const LONGEST: u32 = 128 * 1024;
/// What the CIB's API asks for up to Pacemaker 3.0.0.
const CIB_LONGEST: u32 = 524_288;

/// Runs `body` once per release, each in namespaces of its own.
fn in_each_release(test: &str, body: impl Fn(&Lab)) {
    for release in lab::RELEASES {
        lab::enter(test, release, &body);
    }
}

/// The directories of sessions that are there.
fn sessions(lab: &Lab) -> Vec<String> {
    lab.files_in_shared_memory().into_iter().filter(|name| name.starts_with("qb-")).collect()
}

fn connections(seen: &[Seen]) -> impl Iterator<Item = (&'static str, Peer, u32)> {
    seen.iter().filter_map(|seen| match *seen {
        Seen::Connected { server, peer, longest } => Some((server, peer, longest)),
        _ => None,
    })
}

#[test]
fn whoever_may_gets_an_answer() {
    in_each_release("whoever_may_gets_an_answer", |lab| {
        for user in [User::ROOT, lab.hacluster(), lab.member()] {
            let server = Server::start(lab.haclient(), replies::answer);
            let tool = lab.run(user, &["crm_node", "-n"]);
            assert!(tool.status.success() && tool.output == "rem1\n" && tool.errors.is_empty(), "{tool:?}");
            let seen = server.finish();
            for (name, peer, longest) in connections(&seen) {
                assert_eq!((name, peer.uid, peer.gid, longest), ("crmd", user.uid, user.gid, LONGEST));
                assert!(peer.pid > 1);
            }
            assert!(seen.contains(&Seen::Request { server: "crmd", layout: Layout::Classic }), "{seen:?}");
            let closed = seen.iter().filter(|seen| matches!(seen, Seen::Closed { .. })).count();
            assert_eq!(closed, connections(&seen).count(), "{seen:?}");
            assert_eq!(lab.files_in_shared_memory(), [] as [String; 0]);
        }
    });
}

#[test]
fn whoever_may_not_gets_no_further_than_the_files() {
    in_each_release("whoever_may_not_gets_no_further_than_the_files", |lab| {
        let server = Server::start(lab.haclient(), replies::answer);
        let tool = lab.run(User::NOBODY, &["cibadmin", "-Q"]);
        assert!(!tool.status.success() && tool.output.is_empty(), "{tool:?}");
        assert!(
            ["Permission denied", "Transport endpoint"].iter().any(|text| tool.errors.contains(text)),
            "{tool:?}"
        );
        let seen = server.finish();
        assert_eq!(connections(&seen).next().map(|(_, peer, _)| peer.uid), Some(User::NOBODY.uid));
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Request { .. })), "{seen:?}");
        assert!(seen.contains(&Seen::Closed { server: "cib_rw" }), "{seen:?}");
        assert_eq!(lab.files_in_shared_memory(), [] as [String; 0]);
    });
}

#[test]
fn responses_and_events_of_each_daemon() {
    in_each_release("responses_and_events_of_each_daemon", |lab| {
        let server = Server::start(lab.haclient(), replies::answer);
        let cib = lab.run(lab.hacluster(), &["cibadmin", "-Q"]);
        assert!(cib.status.success(), "{cib:?}");
        assert!(cib.output.contains(r#"<node id="rem1" type="remote" uname="rem1"/>"#), "{cib:?}");
        let value = lab.run(User::ROOT, &["attrd_updater", "-n", "foo", "-Q"]);
        assert!(value.status.success() && value.output.contains(r#"value="1""#), "{value:?}");
        // `pacemakerd` refuses, as it does on every remote node; later releases ask it first.
        let state = lab.run(User::ROOT, &["crm_mon", "-1"]);
        assert!(state.status.success() && state.output.contains("rem1"), "{state:?}");
        let devices = lab.run(User::ROOT, &["stonith_admin", "-L"]);
        assert!(devices.status.success() && devices.errors.is_empty(), "{devices:?}");
        let asked: Vec<_> =
            connections(&server.finish()).map(|(server, _, longest)| (server, longest)).collect();
        assert!(asked.contains(&("cib_rw", CIB_LONGEST)) && asked.contains(&("attrd", LONGEST)), "{asked:?}");
        assert!(asked.iter().any(|(server, _)| *server == "stonith-ng"), "{asked:?}");
        assert_eq!(lab.files_in_shared_memory(), [] as [String; 0]);
    });
}

#[test]
fn a_message_almost_as_long_as_was_agreed_on() {
    in_each_release("a_message_almost_as_long_as_was_agreed_on", |lab| {
        let server = Server::start(lab.haclient(), replies::answer_at_length);
        let cib = lab.run(User::ROOT, &["cibadmin", "-Q"]);
        assert!(cib.status.success(), "{:?} {}", cib.status, cib.errors);
        let resources = cib.output.matches("<primitive ").count();
        assert_eq!(resources, replies::MANY_RESOURCES);
        assert!(cib.output.len() > CIB_LONGEST as usize * 4 / 5, "{} bytes", cib.output.len());
        server.finish();
    });
}

/// More events than the ring and the socket hold: chunks wrap around the ring's end, the ring is full now
/// and then, and bytes stay owed.
#[test]
fn a_burst_of_events() {
    in_each_release("a_burst_of_events", |lab| {
        let server = Server::start(lab.haclient(), replies::answer_with_a_burst);
        let command = ["crm_mon", "--daemonize", "--output-as=html", "--output-to=/tmp/state.html"];
        let monitor = lab.run(User::ROOT, &command);
        assert!(monitor.status.success(), "{monitor:?}");
        let end = Instant::now() + LIMIT;
        let is_burst = |seen: &Seen| matches!(seen, Seen::Answered { count } if *count > replies::BURST);
        while !server.seen().iter().any(is_burst) {
            assert!(Instant::now() < end, "the burst was not sent: {:?}", server.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
        // What its client has not understood it does not take.
        let seen = server.seen();
        let paths = seen.iter().rev().find_map(|seen| match seen {
            Seen::Accepted { paths } => Some(paths.clone()),
            _ => None,
        });
        let header = format!("{}-header", paths.expect("an accepted connection")[2]);
        let header = std::fs::File::open(header).expect("the ring of events");
        loop {
            let mut points = [0; 8];
            header.read_exact_at(&mut points, 0).expect("the ring's points");
            if points[..4] == points[4..] {
                break;
            }
            assert!(Instant::now() < end, "the client has stopped to read: write and read point {points:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(
            !seen.iter().any(|seen| matches!(seen, Seen::Closed { server } if server.starts_with("cib")))
        );
        server.stop();
    });
}
