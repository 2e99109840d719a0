//! More events than the ring and the socket hold: chunks wrap around the ring's end, the ring is full now and
//! then, and bytes stay owed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use pacelet::wire::ipc::LEN;
use rustix::process::{Pid, Signal, kill_process};

use super::cluster::{Answer, Cluster, Files, Seen};
use super::lab::{self, Lab, User};
use super::{in_each_release, long, replies};

/// Some 4 MB: the ring's length eight times.
const BURST: usize = 9_000;
/// More than the ring holds, and fewer beyond that than a tool is ended for.
const FEW: usize = 1_400;
/// How long a tool stops that is not to be ended: events are looked at every 1.5 s.
const STOP: Duration = Duration::from_secs(4);

fn event(number: usize) -> String {
    let filler = "x".repeat(number % 800);
    format!(
        "<notify t=\"cib_notify\" subt=\"lab\" cib_op=\"lab\" cib_rc=\"0\" n=\"{number}\" filler=\"{filler}\"/>"
    )
}

/// A stock tool that waits for changes of the CIB.
struct Monitor {
    cluster: Cluster,
    pid: Pid,
    files: Files,
    header: File,
}

impl Monitor {
    /// Starts it, and waits until it waits. Every so many seconds it does something else.
    fn start(lab: &Lab, interval: &str) -> Self {
        let cluster = Cluster::start(|request| {
            let mut answers = replies::answer(request);
            // Who sets an attribute to a number makes so many changes.
            let count = replies::attribute_value(request).map_or(0, |value| value.parse().expect("a number"));
            answers.extend((0..count).map(|number| Answer::Change(event(number))));
            answers
        });
        let interval = format!("--interval={interval}");
        let command =
            ["crm_mon", "--daemonize", &interval, "--output-as=html", "--output-to=/tmp/state.html"];
        let monitor = lab.run(User::ROOT, &command);
        assert!(monitor.status.success(), "{monitor:?}");
        // Until it has all that it asks for it takes no events.
        let state = lab.at("/tmp/state.html");
        let is_told = || std::fs::read_to_string(&state).is_ok_and(|text| text.contains("rem1"));
        cluster.daemon.wait_until("it does not tell of the node", is_told);
        let session = cluster.seen().into_iter().rev().find_map(|seen| match seen {
            Seen::Request { channel, pid, files: Some(files), .. } if channel.starts_with("cib") => {
                Some((pid, files))
            }
            _ => None,
        });
        let (pid, files) = session.expect("a request");
        let header = File::open(&files.paths[0]).expect("the ring of events");
        Self { cluster, pid: Pid::from_raw(pid).expect("a process"), files, header }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("it lives");
    }

    /// Sends it so many changes.
    fn change(&self, lab: &Lab, count: usize) {
        let changes = lab.run(User::ROOT, &["attrd_updater", "-n", "changes", "-U", &count.to_string()]);
        assert!(changes.status.success(), "{changes:?}\n{}", self.cluster.daemon.log());
        let is_whole = |seen: &Seen| matches!(seen, Seen::Answered { count: sent } if *sent == count + 1);
        self.cluster.wait_for("they are not sent", is_whole);
    }

    /// How far events are written, and how far they are read, in words.
    fn points(&self) -> [u64; 2] {
        let mut points = [0; 8];
        self.header.read_exact_at(&mut points, 0).expect("the ring's points");
        [0, 4].map(|at| u64::from(u32::from_ne_bytes([0, 1, 2, 3].map(|byte| points[at + byte]))))
    }

    /// Where both points are when it has taken so many changes more.
    fn points_after(&self, count: usize) -> [u64; 2] {
        let words = |number| 2 + (LEN + event(number).len() + 1).div_ceil(4);
        let sum: usize = (0..count).map(words).sum();
        [(self.points()[0] + sum as u64) % (self.files.len / 4); 2]
    }

    /// What its client has not understood it does not take.
    fn wait_until_at(&self, points: [u64; 2]) {
        self.cluster.daemon.wait_until("it does not take all", || self.points() == points);
    }

    /// How many sessions with the CIB have begun, and how many have ended.
    fn sessions(&self) -> [usize; 2] {
        let seen = self.cluster.seen();
        let begun = |seen: &&Seen| matches!(seen, Seen::New { channel } if channel.starts_with("cib"));
        let ended = |seen: &&Seen| matches!(seen, Seen::Destroyed { channel } if channel.starts_with("cib"));
        [seen.iter().filter(begun).count(), seen.iter().filter(ended).count()]
    }
}

#[test]
fn a_stock_tool_takes_a_burst() {
    in_each_release("events::a_stock_tool_takes_a_burst", |lab| {
        let monitor = Monitor::start(lab, "600");
        let (sessions, end) = (monitor.sessions(), monitor.points_after(BURST));
        monitor.change(lab, BURST);
        monitor.wait_until_at(end);
        assert_eq!(monitor.sessions(), sessions, "{}", monitor.cluster.daemon.log());
        monitor.cluster.stop();
    });
}

/// libqb's own client gets each once, and in order; also when it reads more slowly than they come.
#[test]
fn a_burst_arrives_whole_and_in_order() {
    in_each_release("events::a_burst_arrives_whole_and_in_order", |lab| {
        std::fs::write(lab.at("/tmp/question"), "<question/>").expect("a private directory");
        let expected: String = (0..BURST).map(|number| format!("1\n{}\n", event(number))).collect();
        let count = BURST.to_string();
        for pause in ["0", "20"] {
            let cluster = Cluster::start(|_| (0..BURST).map(|number| Answer::Event(event(number))).collect());
            let tool = lab
                .run(User::ROOT, &["python3", "-c", long::CLIENT, "event", "/tmp/question", &count, pause]);
            assert!(tool.status.success(), "{}\n{}", tool.errors, cluster.daemon.log());
            assert!(tool.output == expected, "{} bytes of {}", tool.output.len(), expected.len());
            cluster.finish(lab);
        }
    });
}

/// As with the stock daemon.
#[test]
fn who_stops_is_ended_when_many_events_wait() {
    let test = "events::who_stops_is_ended_when_many_events_wait";
    lab::enter(test, lab::RELEASES[lab::RELEASES.len() - 1], |lab| {
        let monitor = Monitor::start(lab, "2");
        let [begun, ended] = monitor.sessions();
        let end = monitor.points_after(FEW);
        monitor.signal(Signal::STOP);
        monitor.change(lab, FEW);
        std::thread::sleep(STOP);
        let [written, read] = monitor.points();
        assert!(written != end[0] && read != end[1], "the ring has room for all");
        monitor.signal(Signal::CONT);
        monitor.wait_until_at(end);
        let log = monitor.cluster.daemon.log();
        assert_eq!(
            (monitor.sessions(), log.contains("events wait for it")),
            ([begun, ended], false),
            "{log}"
        );

        monitor.signal(Signal::STOP);
        monitor.change(lab, BURST);
        monitor.cluster.daemon.wait_for("it does not read, ");
        let is_ended = || monitor.sessions() == [begun, ended + 1];
        monitor.cluster.daemon.wait_until("the cluster does not hear of it", is_ended);
        // Others have not suffered.
        let tool = lab.run(User::ROOT, &["crm_node", "-n"]);
        assert!(tool.status.success() && tool.output == "rem1\n", "{tool:?}");
        // It finds out, and comes back.
        monitor.signal(Signal::CONT);
        let is_back = || monitor.sessions() == [begun + 1, ended + 1];
        monitor.cluster.daemon.wait_until("it does not come back", is_back);
        monitor.cluster.stop();
    });
}
