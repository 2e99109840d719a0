//! The stock command-line tools over libqb: unmodified Pacemaker packages of Debian's releases, against the daemon.
//!
//! A test calls itself again in namespaces of its own ([`lab`]), where abstract socket names and `/dev/shm` are private.
//! There it starts the daemon, built for the same target as the test program, and connects to it as a cluster
//! ([`cluster`]). The tools run in a root of their release. The answers they get ([`replies`]) are what a
//! cluster of one node would say.
//!
//! Root is needed, and the roots that `tests/cluster/root` makes. Built for another CPU, the tests are for the tools of
//! that CPU's Debian: what is in the shared memory has another layout there.

mod client;
mod cluster;
mod daemon;
mod events;
mod hostile;
mod lab;
mod long;
mod refusals;
mod replies;

use cluster::{Answer, Cluster, Files, Seen};
use lab::{Lab, User};
use pacelet::ipc::{Geometry, granule};
use pacelet::sys::shm::page_size;

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

/// The channels of requests, whose they were, and the files of their sessions.
fn requests(seen: &[Seen]) -> impl Iterator<Item = (&str, &str, &Files)> {
    seen.iter().filter_map(|seen| match seen {
        Seen::Request { channel, user, files: Some(files), .. } => {
            Some((channel.as_str(), user.as_str(), files))
        }
        _ => None,
    })
}

/// Bytes of a ring for messages of so many.
fn ring_len(longest: u32) -> u64 {
    Geometry::new(longest, granule(page_size())).len() as u64
}

#[test]
fn whoever_may_gets_an_answer() {
    in_each_release("whoever_may_gets_an_answer", |lab| {
        for (name, user) in [("root", User::ROOT), ("hacluster", lab.hacluster()), ("nobody", lab.member())] {
            let cluster = Cluster::start(replies::answer);
            let tool = lab.run(user, &["crm_node", "-n"]);
            assert!(tool.status.success() && tool.output == "rem1\n" && tool.errors.is_empty(), "{tool:?}");
            let seen = cluster.finish(lab);
            let (gid, mode) = if user.uid == 0 { (0, 0o600) } else { (lab.haclient(), 0o660) };
            let mut count = 0;
            for (channel, asker, files) in requests(&seen) {
                assert_eq!((channel, asker), ("crmd", name));
                assert_eq!((files.uid, files.gid, files.mode, files.len), (0, gid, mode, ring_len(LONGEST)));
                count += 1;
            }
            assert!(count > 0, "{seen:?}");
            let count = |is: fn(&Seen) -> bool| seen.iter().filter(|seen| is(seen)).count();
            let (begun, ended) = (
                count(|seen| matches!(seen, Seen::New { .. })),
                count(|seen| matches!(seen, Seen::Destroyed { .. })),
            );
            assert_eq!(begun, ended, "{seen:?}");
        }
    });
}

#[test]
fn whoever_may_not_gets_nothing() {
    in_each_release("whoever_may_not_gets_nothing", |lab| {
        let cluster = Cluster::start(replies::answer);
        let tool = lab.run(User::NOBODY, &["cibadmin", "-Q"]);
        assert!(!tool.status.success() && tool.output.is_empty(), "{tool:?}");
        assert!(
            ["Permission denied", "Transport endpoint"].iter().any(|text| tool.errors.contains(text)),
            "{tool:?}"
        );
        // The cluster does not hear of it.
        assert_eq!(cluster.finish(lab), []);
    });
}

#[test]
fn responses_and_events_of_each_daemon() {
    in_each_release("responses_and_events_of_each_daemon", |lab| {
        let cluster = Cluster::start(replies::answer);
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
        let seen = cluster.finish(lab);
        let asked: Vec<_> = requests(&seen).map(|(channel, _, files)| (channel, files.len)).collect();
        assert!(asked.contains(&("cib_rw", ring_len(CIB_LONGEST))), "{asked:?}");
        assert!(asked.contains(&("attrd", ring_len(LONGEST))), "{asked:?}");
        assert!(asked.iter().any(|(channel, _)| *channel == "stonith-ng"), "{asked:?}");
    });
}

#[test]
fn the_cluster_can_end_a_session() {
    in_each_release("the_cluster_can_end_a_session", |lab| {
        let cluster = Cluster::start(|request| match request.channel {
            "attrd" => vec![Answer::Destroy],
            _ => replies::answer(request),
        });
        let tool = lab.run(User::ROOT, &["attrd_updater", "-n", "foo", "-Q"]);
        assert!(!tool.status.success() && tool.output.is_empty(), "{tool:?}");
        cluster.daemon.wait_for("the cluster says so");
        // Others are not concerned.
        let tool = lab.run(User::ROOT, &["crm_node", "-n"]);
        assert!(tool.status.success() && tool.output == "rem1\n", "{tool:?}");
        cluster.finish(lab);
    });
}
