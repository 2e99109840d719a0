//! The daemon's own life, one thing at a time (daemon-lifecycle.md sections 4 and 6): what happens, and what the log
//! says of it.

use pacelet::daemon::{Event, ExitCode, Obstacle};
use pacelet::remote::ConnId;

use super::bench::Bench;
use super::children::Script;
use super::network::Path;
use super::request::Ask;
use super::world::{Cut, IDENTITY, KEY, World};

const STARTED: [&str; 2] = [
    "notice: Pacemaker remote executor successfully started and accepting connections",
    "notice: OCF resource agent search path is /usr/lib/ocf/resource.d:/usr/local/lib/ocf/resource.d",
];
const REQUEST: &str = "notice: Sending shutdown request to cluster";

fn lines(world: &mut World) -> Vec<String> {
    world.lines.drain(..).map(|line| format!("{}: {}", line.level.name(), line.text)).collect()
}

fn forward(bench: &mut Bench, conn: ConnId, operation: &'static str) {
    bench.request(conn, None, Ask::forward(operation, None));
}

/// All tests of this file that make the tables in the modules' headers complete.
#[cfg(feature = "trial")]
pub const ALL: [fn(); 7] = [
    the_port_stays_closed_until_there_is_a_key,
    a_port_that_cannot_be_opened_is_fatal,
    a_port_that_a_predecessor_still_holds_is_waited_for,
    an_interface_is_waited_for_whatever_the_key_does,
    the_port_is_closed_while_the_key_is_gone,
    somebody_without_a_name_goes,
    a_cluster_that_stops_nothing_is_not_waited_for,
];

#[test]
fn the_port_stays_closed_until_there_is_a_key() {
    let mut world = World::new(0, |_, _| Script::quiet(0, 0), false);
    world.tell(Event::Start).unwrap();
    world.key(None).unwrap();
    assert!(!world.listens);
    let missing = "A cluster connection will not be possible until the key is available: the port stays closed: it is not there";
    assert_eq!(
        lines(&mut world),
        ["notice: Starting Pacemaker remote executor".into(), format!("warning: {missing}")]
    );
    // Nothing, and more than TLS can take, are no keys.
    world.key(Some(b"")).unwrap();
    world.key(Some(&[1; 65_536])).unwrap();
    assert!(!world.listens);
    world.lines.clear();
    world.key(Some(KEY)).unwrap();
    assert!(world.listens);
    assert_eq!(lines(&mut world), STARTED);
}

#[test]
fn a_port_that_cannot_be_opened_is_fatal() {
    let mut world = World::new(0, |_, _| Script::quiet(0, 0), false);
    world.start().unwrap();
    world.lines.clear();
    world.oracle.cannot_listen();
    world.tell(failure(Obstacle::Lasting)).unwrap();
    assert_eq!(world.exited, Some(ExitCode::Fatal));
    assert_eq!(
        lines(&mut world),
        [
            "crit: Failed to create TLS listener: shutting down and staying down: [::]:3121: bind: why",
            "info: Terminating with 0 clients"
        ]
    );
}

fn failure(obstacle: Obstacle) -> Event<'static> {
    Event::ListenFailed { reason: "[::]:3121: bind: why".into(), obstacle }
}

#[test]
fn a_port_that_a_predecessor_still_holds_is_waited_for() {
    let mut bench = Bench::new();
    bench.world.tell(failure(Obstacle::Taken)).unwrap();
    assert_eq!(bench.world.exited, None);
    bench.world.lines.clear();
    bench.pass(100);
    // It was free, which the world says to every question.
    assert_eq!(lines(&mut bench.world), STARTED);
    bench.pass(10_000);
    bench.world.oracle.cannot_listen();
    bench.world.tell(failure(Obstacle::Taken)).unwrap();
    assert_eq!(bench.world.exited, Some(ExitCode::Fatal));
}

#[test]
fn an_interface_is_waited_for_whatever_the_key_does() {
    let mut bench = Bench::new();
    bench.world.tell(failure(Obstacle::Missing)).unwrap();
    let waits = "[::]:3121: bind: why: trying again until it is there";
    assert_eq!(bench.line(), format!("warning: {waits}"));
    bench.world.key(Some(KEY)).unwrap();
    assert_eq!(lines(&mut bench.world), [""; 0]);
    bench.world.key(None).unwrap();
    assert!(!bench.world.listens);
    bench.world.lines.clear();
    bench.pass(10_000);
    assert!(!bench.world.listens);
    bench.world.key(Some(KEY)).unwrap();
    assert!(bench.world.listens);
    assert_eq!(lines(&mut bench.world), ["notice: There is a key again: accepting connections"]);
}

#[test]
fn a_key_that_is_replaced_counts_for_newcomers() {
    let mut bench = Bench::new();
    bench.world.change_key(b"another key").unwrap();
    bench.pass(2_000);
    assert_eq!(lines(&mut bench.world), [""; 0]);
    let old = bench.world.connect(Path::IDEAL, KEY, IDENTITY).unwrap().unwrap();
    let new = bench.world.connect(Path::IDEAL, b"another key", IDENTITY).unwrap().unwrap();
    bench.pass(0);
    assert!(bench.is_gone(old) && !bench.is_gone(new));
    bench.world.lines.clear();
}

#[test]
fn the_port_is_closed_while_the_key_is_gone() {
    let mut bench = Bench::new();
    // Before its hello has come.
    let under_way = bench.world.connect(Path::IDEAL, KEY, IDENTITY).unwrap().unwrap();
    for _ in 0..2 {
        for reason in [None, Some(&b""[..])] {
            bench.world.key(reason).unwrap();
            assert!(!bench.world.listens);
        }
        let closed = "The port is closed for new connections until there is a key again";
        assert_eq!(lines(&mut bench.world)[..], [format!("warning: {closed}: it is not there")]);
        // The healthy client is served all the while.
        bench.pass(5_000);
        assert!(!bench.is_gone(under_way));
        bench.world.lines.clear();
        bench.world.change_key(b"another key").unwrap();
        assert!(bench.world.listens);
        assert_eq!(lines(&mut bench.world), ["notice: There is a key again: accepting connections"]);
        let new = bench.world.connect(Path::IDEAL, b"another key", IDENTITY).unwrap().unwrap();
        bench.pass(0);
        assert!(!bench.is_gone(new));
        bench.world.lines.clear();
    }
    // Not while the daemon ends.
    bench.world.key(None).unwrap();
    bench.world.terminate().unwrap();
    bench.world.key(Some(KEY)).unwrap();
    assert!(!bench.world.listens);
}

#[test]
fn somebody_without_a_name_goes() {
    let mut bench = Bench::new();
    let conn = bench.client();
    bench.world.cut(conn, Cut::Fin);
    bench.pass(0);
    let gone = "notice: Cleaning up after remote client 192.0.2.7:40002 disconnected: end of stream";
    assert_eq!(bench.line(), gone);
}

#[test]
fn without_a_cluster_the_end_comes_at_once() {
    let mut world = World::new(0, |_, _| Script::quiet(0, 0), false);
    world.start().unwrap();
    // Somebody who has not registered is no cluster.
    world.connect(Path::IDEAL, KEY, IDENTITY).unwrap();
    world.pass(0).unwrap();
    world.lines.clear();
    world.terminate().unwrap();
    assert_eq!(world.exited, Some(ExitCode::Ok));
    assert!(!world.listens);
    assert_eq!(lines(&mut world), ["info: Terminating with 1 clients"]);
}

#[test]
fn the_cluster_takes_its_time_and_everything_works_meanwhile() {
    let mut bench = Bench::new();
    let cluster = bench.registered_client();
    bench.world.lines.clear();
    bench.world.terminate().unwrap();
    assert_eq!(lines(&mut bench.world), [REQUEST]);
    // Nobody new gets in.
    assert!(!bench.world.listens);
    assert_eq!(bench.world.connect_raw().unwrap(), None);
    bench.pass(0);
    assert!(bench.told(cluster)[0].contains("lrmd_ipc_op=\"shutdown_req\""));
    forward(&mut bench, cluster, "shutdown_ack");
    bench.pass(0);
    assert_eq!(lines(&mut bench.world), ["info: IPC proxy provider acknowledged shutdown request"]);
    bench.world.terminate().unwrap();
    assert_eq!(lines(&mut bench.world), ["notice: Waiting for cluster to stop resources before exiting"]);
    bench.pass(30 * 60_000);
    assert_eq!(bench.world.exited, None);
    // The healthy one is a cluster node, too: with the first gone it is asked.
    bench.world.close(cluster);
    bench.pass(0);
    let gone =
        "notice: Cleaning up after remote client node2 (192.0.2.7:40002) disconnected: it said goodbye";
    assert_eq!(lines(&mut bench.world), [gone, REQUEST]);
    let healthy = bench.healthy;
    bench.world.cut(healthy, Cut::Fin);
    bench.world.pass(0).unwrap();
    assert_eq!(bench.world.exited, Some(ExitCode::Ok));
    let gone = "notice: Cleaning up after remote client node1 (192.0.2.7:40001) disconnected: end of stream";
    assert_eq!(lines(&mut bench.world), [gone, "info: Terminating with 0 clients"]);
}

#[test]
fn a_cluster_that_stops_nothing_is_not_waited_for() {
    let mut bench = Bench::new();
    let cluster = bench.registered_client();
    bench.world.lines.clear();
    // Before it is asked it may say what it likes.
    forward(&mut bench, cluster, "shutdown_nack");
    bench.pass(0);
    bench.world.terminate().unwrap();
    bench.pass(0);
    // And nobody has to be the one that was asked.
    let healthy = bench.healthy;
    forward(&mut bench, healthy, "shutdown_nack");
    bench.world.pass(0).unwrap();
    assert_eq!(bench.world.exited, Some(ExitCode::Ok));
    assert_eq!(
        lines(&mut bench.world),
        [
            REQUEST,
            "info: Exiting immediately after IPC proxy provider indicated no resources will be stopped",
            "info: Terminating with 2 clients"
        ]
    );
}

#[test]
fn a_cluster_older_than_the_question_is_waited_for_20_seconds() {
    let mut bench = Bench::new();
    let cluster = bench.client();
    bench.register(cluster, "1.0");
    bench.pass(0);
    bench.world.lines.clear();
    bench.world.terminate().unwrap();
    bench.pass(19_999);
    assert_eq!(bench.world.exited, None);
    bench.world.pass(1).unwrap();
    assert_eq!(bench.world.exited, Some(ExitCode::Ok));
    let why = "it has not answered the shutdown request for 20 s";
    assert_eq!(
        lines(&mut bench.world),
        [
            REQUEST.into(),
            format!("error: Exiting without the cluster's acknowledgement: {why}"),
            "info: Terminating with 2 clients".into()
        ]
    );
}
