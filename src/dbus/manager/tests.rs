use super::*;
use crate::dbus::marshal::{Endian, Malformed};
use crate::dbus::peer::{Called, Peer};
use crate::dbus::samples::{ACTIVE, HELLO_RETURN, JOB, JOB_REMOVED, NO_SUCH_UNIT, SUBSCRIBED, UNIT};
use crate::dbus::systemd::{ActiveState, LoadState, MATCH_RULE, PATH_MAX, UNIT_NAME_MAX, UnitPath, WORD_MAX};

const JOB_1: &str = "/org/freedesktop/systemd1/job/1";
const JOB_2: &str = "/org/freedesktop/systemd1/job/2";

/// A manager and the other end of its connection.
struct Pair {
    manager: Manager,
    peer: Peer,
}

impl Pair {
    /// A connection on which the match rule is there.
    fn ready(endian: Endian) -> Self {
        let mut pair = Self::named(endian);
        let [add_match] = &pair.calls()[..] else { panic!("not one call") };
        assert_eq!((&*add_match.member, &*add_match.arguments), ("AddMatch", &[MATCH_RULE.to_owned()][..]));
        pair.receive(&pair.peer.empty(add_match.serial));
        pair
    }

    fn named(endian: Endian) -> Self {
        let mut manager = Manager::new(0, at(1000));
        manager.receive(b"OK 2fa8bcd8d3b7bbf2ffa48f3f68fdf1fb\r\n").unwrap();
        manager.sent(usize::MAX);
        manager.receive(HELLO_RETURN).unwrap();
        Self { manager, peer: Peer::new(endian) }
    }

    fn calls(&mut self) -> Vec<Called> {
        let calls = self.peer.calls(self.manager.outgoing());
        self.manager.sent(usize::MAX);
        calls
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.manager.receive(bytes).unwrap();
    }

    /// Makes a request; returns the number of the call it became.
    fn ask(&mut self, id: u64, request: Request<'_>) -> Serial {
        self.manager.ask(RequestId(id), request, at(100 * id));
        self.calls().last().unwrap().serial
    }

    /// A request whose job runs.
    fn run(&mut self, id: u64, job: &str) {
        let serial = self.ask(id, Request::Start("a.service"));
        self.receive(&self.peer.path(serial, job));
        assert_eq!(self.told(), []);
    }

    fn ended(&mut self, job: &str, result: &str) {
        self.receive(&self.peer.job_removed(job, result, None));
    }

    fn told(&mut self) -> Vec<(u64, Result<Reply, Failure>)> {
        core::iter::from_fn(|| self.manager.poll()).map(|Done { id, result }| (id.0, result)).collect()
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn job(result: JobResult) -> Result<Reply, Failure> {
    Ok(Reply::Job(result))
}

const DONE: Result<Reply, Failure> = Ok(Reply::Job(JobResult::Done));

fn good() -> UnitPath {
    UnitPath("/org/freedesktop/systemd1/unit/good_2eservice".into())
}

#[test]
fn requests_are_calls() {
    let mut pair = Pair::ready(Endian::NATIVE);
    let mut calls = |request| {
        pair.manager.ask(RequestId(1), request, at(0));
        let text = |call: &Called| format!("{} {} {}", call.path, call.member, call.arguments.join(" "));
        pair.calls().iter().map(text).collect::<Vec<_>>()
    };
    let unit = good();
    let properties = "/org/freedesktop/systemd1/unit/good_2eservice Get org.freedesktop.systemd1.Unit";
    assert_eq!(calls(Request::Load("a.service")), ["/org/freedesktop/systemd1 LoadUnit a.service"]);
    assert_eq!(calls(Request::ActiveState(&unit)), [format!("{properties} ActiveState")]);
    assert_eq!(calls(Request::LoadState(&unit)), [format!("{properties} LoadState")]);
    assert_eq!(calls(Request::Reload), ["/org/freedesktop/systemd1 Reload "]);
    // Before the first job, and only then.
    let subscribe = "/org/freedesktop/systemd1 Subscribe ";
    let start = "/org/freedesktop/systemd1 StartUnit a.service replace";
    assert_eq!(calls(Request::Start("a.service")), [subscribe, start]);
    assert_eq!(calls(Request::Stop("a.service")), ["/org/freedesktop/systemd1 StopUnit a.service replace"]);
    assert_eq!(
        calls(Request::Restart("a.service")),
        ["/org/freedesktop/systemd1 RestartUnit a.service replace"]
    );
}

/// The reply of systemd's, as one to call `serial`; a signal as it is.
fn renumbered(bytes: &[u8], serial: Serial) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(field) = bytes.windows(8).position(|window| window == b"\x05\x01u\0\x02\0\0\0") {
        bytes[field + 4..field + 8].copy_from_slice(&serial.0.get().to_le_bytes());
    }
    bytes
}

#[test]
fn real_replies_in_one_byte_pieces() {
    let unit = good();
    let error = ErrorReply {
        name: "org.freedesktop.systemd1.NoSuchUnit".into(),
        text: "Unit missing.service not found.".into(),
    };
    for (request, replies, result) in [
        (Request::Load("good.service"), &[UNIT][..], Ok(Reply::Unit(good()))),
        (Request::ActiveState(&unit), &[ACTIVE], Ok(Reply::ActiveState(ActiveState::Active))),
        (Request::Reload, &[SUBSCRIBED], Ok(Reply::Reloaded)),
        (Request::Start("good.service"), &[JOB, JOB_REMOVED], DONE),
        (Request::Start("good.service"), &[JOB_REMOVED, JOB], DONE),
        (Request::Stop("missing.service"), &[NO_SUCH_UNIT], Err(Failure::Error(error))),
    ] {
        let mut pair = Pair::ready(Endian::NATIVE);
        let serial = pair.ask(1, request);
        for reply in replies {
            assert_eq!(pair.told(), []);
            renumbered(reply, serial).chunks(1).for_each(|byte| pair.receive(byte));
        }
        assert_eq!(pair.told(), [(1, result)]);
    }
}

#[test]
fn states_in_both_byte_orders() {
    for endian in [Endian::Little, Endian::Big] {
        let mut pair = Pair::ready(endian);
        let mut read = |request, word: &str| {
            let serial = pair.ask(1, request);
            pair.receive(&pair.peer.property(serial, word));
            pair.told().pop().unwrap().1.unwrap()
        };
        let unit = good();
        for word in
            ["active", "reloading", "activating", "deactivating", "inactive", "failed", "", "something-new"]
        {
            let Reply::ActiveState(state) = read(Request::ActiveState(&unit), word) else { panic!("{word}") };
            assert_eq!(state.as_str(), word);
            let known = matches!(word, "active" | "reloading" | "activating" | "deactivating");
            assert_eq!(matches!(state, ActiveState::Other(_)), !known);
        }
        let long = "x".repeat(WORD_MAX + 1);
        let cut = Reply::ActiveState(ActiveState::Other(long[1..].into()));
        assert_eq!(read(Request::ActiveState(&unit), &long), cut);
        for (word, state) in [
            ("loaded", LoadState::Loaded),
            ("masked", LoadState::Masked),
            ("not-found", LoadState::Other("not-found".into())),
        ] {
            assert_eq!(read(Request::LoadState(&unit), word), Reply::LoadState(state));
        }
    }
}

#[test]
fn jobs_end_in_both_byte_orders() {
    for endian in [Endian::Little, Endian::Big] {
        let mut pair = Pair::ready(endian);
        for (word, result) in [
            ("done", JobResult::Done),
            ("timeout", JobResult::Timeout),
            ("failed", JobResult::Other("failed".into())),
        ] {
            pair.run(1, JOB_1);
            pair.ended(JOB_2, "done");
            assert_eq!(pair.told(), []);
            pair.ended(JOB_1, word);
            assert_eq!(pair.told(), [(1, job(result))]);
            pair.ended(JOB_1, word);
            assert_eq!(pair.told(), []);
        }
    }
}

#[test]
fn an_end_may_overtake_the_reply() {
    let mut pair = Pair::ready(Endian::NATIVE);
    let first = pair.ask(1, Request::Start("a.service"));
    let second = pair.ask(2, Request::Stop("b.service"));
    pair.ended(JOB_2, "failed");
    pair.ended(JOB_1, "done");
    assert_eq!(pair.told(), []);
    pair.receive(&pair.peer.path(first, JOB_1));
    assert_eq!(pair.told(), [(1, DONE)]);
    pair.receive(&pair.peer.path(second, JOB_2));
    assert_eq!(pair.told(), [(2, job(JobResult::Other("failed".into())))]);
    assert_eq!(pair.manager.requests.ends, []);
}

#[test]
fn merged_jobs_end_together() {
    let mut pair = Pair::ready(Endian::NATIVE);
    pair.run(1, JOB_1);
    pair.run(2, JOB_1);
    let late = pair.ask(3, Request::Start("a.service"));
    pair.ended(JOB_1, "done");
    assert_eq!(pair.told(), [(1, DONE), (2, DONE)]);
    pair.receive(&pair.peer.path(late, JOB_1));
    assert_eq!(pair.told(), [(3, DONE)]);
}

#[test]
fn ends_are_remembered_up_to_a_bound_and_only_while_needed() {
    let mut pair = Pair::ready(Endian::NATIVE);
    pair.ask(1, Request::Load("a.service"));
    pair.ended(JOB_1, "done");
    assert_eq!(pair.manager.requests.ends, []);

    let serial = pair.ask(2, Request::Start("a.service"));
    pair.ended(JOB_1, "done");
    for number in 0..ENDS_MAX - 1 {
        pair.ended(&format!("/other/{number}"), "done");
    }
    assert_eq!(pair.manager.requests.ends.len(), ENDS_MAX);
    assert_eq!(&*pair.manager.requests.ends[0].0, JOB_1);
    pair.ended("/other/one", "done");
    assert_eq!(pair.manager.requests.ends.len(), ENDS_MAX);

    // The oldest was dropped: only the deadline is left.
    pair.receive(&pair.peer.path(serial, JOB_1));
    assert_eq!(pair.manager.requests.ends, []);
    pair.manager.wake(at(200)).unwrap();
    assert_eq!(pair.told(), [(1, Err(Failure::Deadline)), (2, Err(Failure::Deadline))]);
}

#[test]
fn a_signal_to_us_alone_is_not_believed() {
    let mut pair = Pair::ready(Endian::NATIVE);
    pair.run(1, JOB_1);
    let serial = pair.ask(2, Request::Start("a.service"));
    for job in [JOB_1, JOB_2] {
        pair.receive(&pair.peer.job_removed(job, "done", Some(":1.9")));
    }
    pair.receive(&pair.peer.path(serial, JOB_2));
    assert_eq!(pair.told(), []);
}

#[test]
fn other_signals_and_broken_ones_are_passed_over() {
    let mut pair = Pair::ready(Endian::NATIVE);
    pair.run(1, JOB_1);
    let signal = pair.peer.job_removed(JOB_1, "done", None);
    let replaced = |from: &[u8], to: &[u8]| {
        let place = signal.windows(from.len()).position(|window| window == from).unwrap();
        let mut signal = signal.clone();
        signal[place..place + to.len()].copy_from_slice(to);
        signal
    };
    for other in [
        replaced(b"JobRemoved", b"JobRenamed"),
        replaced(b"/systemd1\0", b"/systemd2\0"),
        replaced(b"systemd1.Manager", b"systemd1.Tanager"),
        replaced(b"uoss", b"uogs"),
        replaced(b"/job/1\0", b"/job//\0"),
        replaced(b"done\0", b"don\0\0"),
    ] {
        pair.receive(&other);
        assert_eq!(pair.told(), []);
    }
    pair.receive(&signal);
    assert_eq!(pair.told(), [(1, DONE)]);
}

#[test]
fn an_answer_to_another_question() {
    let mut pair = Pair::ready(Endian::NATIVE);
    let unit = good();
    let signature = Err(Failure::Answer(Malformed::Signature));
    for request in [
        Request::Load("a.service"),
        Request::Start("a.service"),
        Request::Reload,
        Request::ActiveState(&unit),
        Request::LoadState(&unit),
    ] {
        let serial = pair.ask(1, request);
        pair.receive(&pair.peer.string(serial, "hello"));
        assert_eq!(pair.told(), [(1, signature.clone())], "{request:?}");
    }
    let serial = pair.ask(1, Request::Load("a.service"));
    pair.receive(&pair.peer.path(serial, &"/a".repeat(PATH_MAX)));
    assert_eq!(pair.told(), [(1, Err(Failure::Answer(Malformed::Path)))]);
}

#[test]
fn errors_are_told() {
    let mut pair = Pair::ready(Endian::NATIVE);
    let mut error = |name: &str, text: &str| {
        let serial = pair.ask(1, Request::Start("a.service"));
        pair.receive(&pair.peer.error(serial, name, text));
        let Some((1, Err(Failure::Error(error)))) = pair.told().pop() else { panic!("no error") };
        error
    };
    for name in ["NoSuchUnit", "LoadFailed", "InvalidName"] {
        assert!(error(&format!("org.freedesktop.systemd1.{name}"), "").is_missing_unit());
    }
    assert!(!error("org.freedesktop.systemd1.UnitMasked", "").is_missing_unit());
    let no_reply = "org.freedesktop.DBus.Error.NoReply";
    assert!(
        error(no_reply, "Message recipient disconnected from message bus without replying").is_disconnect()
    );
    assert!(!error(no_reply, "Did not receive a reply").is_disconnect());
    assert!(!error("org.freedesktop.DBus.Error.Failed", "disconnected").is_disconnect());
}

#[test]
fn each_request_has_its_deadline() {
    let mut pair = Pair::ready(Endian::NATIVE);
    assert_eq!(pair.manager.deadline(), None);
    pair.ask(3, Request::Load("a.service"));
    pair.run(2, JOB_1);
    let asked = pair.ask(1, Request::Start("a.service"));
    assert_eq!(pair.manager.deadline(), Some(at(100)));
    pair.manager.wake(at(99)).unwrap();
    assert_eq!(pair.told(), []);
    pair.manager.wake(at(200)).unwrap();
    assert_eq!(pair.told(), [(2, Err(Failure::Deadline)), (1, Err(Failure::Deadline))]);
    assert_eq!(pair.manager.deadline(), Some(at(300)));
    // Too late.
    pair.receive(&pair.peer.path(asked, JOB_1));
    pair.ended(JOB_1, "done");
    assert_eq!(pair.told(), []);
}

#[test]
fn what_is_forgotten_is_not_told() {
    let mut pair = Pair::ready(Endian::NATIVE);
    pair.run(1, JOB_1);
    let asked = pair.ask(2, Request::Start("a.service"));
    pair.ended("/other", "done");
    for id in [1, 2, 9] {
        pair.manager.forget(RequestId(id));
    }
    assert_eq!(pair.manager.requests.ends, []);
    pair.receive(&pair.peer.path(asked, JOB_2));
    pair.ended(JOB_1, "done");
    pair.ended(JOB_2, "done");
    assert_eq!(pair.manager.deadline(), None);
    assert_eq!(pair.told(), []);
}

#[test]
fn when_the_connection_ends_all_requests_do() {
    let mut pair = Pair::ready(Endian::NATIVE);
    pair.run(1, JOB_1);
    pair.ask(2, Request::Reload);
    pair.manager.lost();
    assert_eq!(pair.told(), [(1, Err(Failure::Lost)), (2, Err(Failure::Lost))]);

    let mut pair = Pair::ready(Endian::NATIVE);
    pair.run(1, JOB_1);
    assert_eq!(pair.manager.receive(&[0; 16]), Err(Error::Malformed(Malformed::Endian)));
    assert_eq!(pair.told(), [(1, Err(Failure::Lost))]);
}

#[test]
fn without_a_match_rule_there_is_no_going_on() {
    let mut pair = Pair::named(Endian::NATIVE);
    let add_match = pair.calls().pop().unwrap();
    pair.ask(1, Request::Start("a.service"));
    let refusal = pair.peer.error(add_match.serial, "a.b", "no");
    let error = pair.manager.receive(&refusal).unwrap_err();
    assert_eq!(error.to_string(), "the bus refused the connection: a.b: no");
    assert_eq!(pair.told(), [(1, Err(Failure::Lost))]);
}

#[test]
fn a_bus_has_a_time_to_let_us_in() {
    let mut manager = Manager::new(0, at(1000));
    manager.ask(RequestId(1), Request::Reload, at(5000));
    assert_eq!(manager.deadline(), Some(at(1000)));
    assert_eq!(manager.wake(at(999)), Ok(()));
    assert_eq!(manager.wake(at(1000)), Err(Error::Late));
    assert_eq!(manager.poll(), Some(Done { id: RequestId(1), result: Err(Failure::Lost) }));

    let mut pair = Pair::ready(Endian::NATIVE);
    assert_eq!(pair.manager.wake(at(1000)), Ok(()));
}

#[test]
fn a_subscription_that_failed_is_tried_again() {
    let mut pair = Pair::ready(Endian::NATIVE);
    let mut start = |answer: &dyn Fn(&Peer, Serial) -> Vec<u8>| {
        pair.manager.ask(RequestId(1), Request::Start("a.service"), at(100));
        let calls = pair.calls();
        pair.receive(&answer(&pair.peer, calls[0].serial));
        calls.into_iter().map(|call| call.member).collect::<Vec<_>>()
    };
    let unknown = |peer: &Peer, serial| peer.error(serial, "org.freedesktop.DBus.Error.ServiceUnknown", "");
    assert_eq!(start(&unknown), ["Subscribe", "StartUnit"]);
    assert_eq!(start(&Peer::empty), ["Subscribe", "StartUnit"]);
    assert_eq!(start(&unknown), ["StartUnit"]);
}

#[test]
fn what_cannot_be_asked() {
    let mut pair = Pair::ready(Endian::NATIVE);
    let long = "a".repeat(UNIT_NAME_MAX + 1);
    for name in ["", "a\0.service", &long] {
        pair.manager.ask(RequestId(1), Request::Start(name), at(100));
        assert_eq!(pair.told(), [(1, Err(Failure::UnitName))]);
    }
    assert_eq!(pair.calls(), []);
    pair.ask(1, Request::Load(&long[1..]));

    for id in 2..=REQUESTS_MAX as u64 {
        pair.manager.ask(RequestId(id), Request::Reload, at(100));
    }
    assert_eq!(pair.told(), []);
    pair.manager.ask(RequestId(0), Request::Reload, at(100));
    assert_eq!(pair.told(), [(0, Err(Failure::TooMany))]);
}
