//! The oracle must be able to say no: each kind of fault, fed to it as a trace.

mod units;

use pacelet::agent::{ChildId, Command, Ending, Stream};
use pacelet::daemon::ExitCode;
use pacelet::remote::ConnId;
use pacelet::time::{Instant, Now};

use super::super::request::{Agent, Ask, Execute, Request};
use super::super::xml::Element;
use super::*;

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

/// A daemon that does what it is told to do, right or wrong.
struct Stage {
    oracle: Oracle,
    now: Now,
    last_id: i64,
    calls: i64,
}

impl Stage {
    /// Two controllers have registered, and a resource.
    fn new() -> Self {
        let now = Now { mono: Instant::from_millis(1_000_000), epoch: 1_700_000_000 };
        let mut stage = Self { oracle: Oracle::new(now.mono), now, last_id: 0, calls: 0 };
        for conn in [A, B] {
            stage.oracle.accepted(conn, now);
            stage.oracle.authenticated(conn, now);
            stage.register(conn);
        }
        stage.tell(A, note("lrmd_rsc_new_client")).unwrap();
        let agent = Agent::new("ocf", Some("p"), "T");
        stage.ask(A, Ask::RegisterResource { resource: "r".into(), agent, drop_recurring: true });
        stage.reply(A, 0).unwrap();
        for conn in [A, B] {
            stage.generic(conn, "lrmd_rsc_register", Some("r")).unwrap();
        }
        stage.settle().unwrap();
        stage
    }

    fn register(&mut self, conn: ConnId) {
        self.last_id += 1;
        self.calls += 1;
        let ask = Ask::Register { version: "1.2", provider: true };
        self.oracle.arrived(conn, &Request { id: self.last_id, name: Some("n".into()), ask }, self.now);
        let reply = Element::new("lrmd_reply")
            .with("lrmd_rc", 0)
            .with("lrmd_callid", self.calls)
            .with("lrmd_op", "register")
            .with("lrmd_clientid", "token")
            .with("lrmd_protocol_version", "1.2")
            .with("uptime", 0)
            .with("node_start_state", "online")
            .with("lrmd_remote_msg_id", self.last_id)
            .with("lrmd_remote_msg_type", "reply");
        self.tell(conn, reply).unwrap();
    }

    fn ask(&mut self, conn: ConnId, ask: Ask) {
        self.last_id += 1;
        self.calls += 1;
        self.oracle.arrived(conn, &Request { id: self.last_id, name: None, ask }, self.now);
    }

    /// A request for an operation, whose reply is not told yet. Its serial is its call id.
    fn execute(&mut self, action: &str, interval: u32) -> i64 {
        let mut execute = operation(action, interval);
        execute.parameters.insert(SERIAL.into(), (self.calls + 1).to_string());
        self.ask(A, Ask::Execute(execute));
        self.calls
    }

    /// The same, told and started.
    fn start(&mut self, action: &str, interval: u32) -> i64 {
        let call = self.execute(action, interval);
        self.reply(A, call).unwrap();
        self.spawn(call, action).unwrap();
        self.settle().unwrap();
        call
    }

    fn spawn(&mut self, call: i64, action: &str) -> Checked {
        self.oracle.spawned(ChildId(call as u64), &command(call, action), self.now)
    }

    fn end(&mut self, call: i64, code: u8) {
        self.oracle.ended(ChildId(call as u64), Ending::Exited(code), self.now);
    }

    fn pass(&mut self, millis: u64) {
        self.now.mono = self.now.mono.after(millis);
    }

    fn settle(&mut self) -> Checked {
        self.oracle.settled(self.now, true)
    }

    fn tell(&mut self, conn: ConnId, message: Element) -> Checked {
        self.oracle.received(conn, &message, self.now)
    }

    /// The reply to the last request.
    fn reply(&mut self, conn: ConnId, rc: i64) -> Checked {
        let message = Element::new("lrmd_reply")
            .with("lrmd_rc", rc)
            .with("lrmd_callid", self.calls)
            .with("lrmd_remote_msg_id", self.last_id)
            .with("lrmd_remote_msg_type", "reply");
        self.tell(conn, message)
    }

    /// What follows the last request.
    fn generic(&mut self, conn: ConnId, operation: &str, resource: Option<&str>) -> Checked {
        let message =
            note(operation).with("lrmd_rc", 0).with("lrmd_callid", self.calls).maybe("lrmd_rsc_id", resource);
        self.tell(conn, message)
    }

    /// A result, right in all that is not given.
    fn result(&self, call: i64, action: &str, rc: u8, status: i64) -> Element {
        let echo = Element::new("attributes").with("x", "a\tb").with(SERIAL, call);
        note("lrmd_rsc_exec")
            .with("lrmd_timeout", 20_000)
            .with("lrmd_rsc_interval", if action == "monitor" { 10_000 } else { 0 })
            .with("lrmd_rsc_start_delay", 0)
            .with("lrmd_exec_rc", rc)
            .with("lrmd_exec_op_status", status)
            .with("lrmd_callid", call)
            .with("lrmd_rsc_deleted", 0)
            .with("lrmd_run_time", self.now.epoch)
            .with("lrmd_rcchange_time", if rc == 0 { 0 } else { self.now.epoch })
            .with("lrmd_exec_time", 0)
            .with("lrmd_queue_time", 0)
            .with("lrmd_rsc_id", "r")
            .with("lrmd_rsc_action", action)
            .child(echo)
    }
}

fn note(operation: &str) -> Element {
    Element::new("lrmd_notify")
        .with("lrmd_op", operation)
        .with("lrmd_remote_msg_id", 0)
        .with("lrmd_remote_msg_type", "notify")
}

fn operation(action: &str, interval: u32) -> Execute {
    Execute {
        resource: "r".into(),
        action: action.into(),
        interval,
        timeout: 20_000,
        start_delay: 0,
        user_data: None,
        options: 4,
        parameters: [("x".to_owned(), "a\tb".to_owned())].into(),
    }
}

fn command(call: i64, action: &str) -> Command {
    let text = |text: String| std::ffi::CString::new(text).unwrap();
    let environment = [
        "OCF_RESKEY_x=a\tb",
        &format!("OCF_RESKEY_{SERIAL}={call}"),
        "OCF_RA_VERSION_MAJOR=1",
        "OCF_RA_VERSION_MINOR=1",
        "OCF_ROOT=/usr/lib/ocf",
        "OCF_EXIT_REASON_PREFIX=ocf-exit-reason:",
        "OCF_RESOURCE_INSTANCE=r",
        "OCF_RESOURCE_TYPE=T",
        "OCF_RESOURCE_PROVIDER=p",
    ];
    Command {
        candidates: AGENTS.map(|place| text(format!("{}/p/T", place.to_str().unwrap()))).into(),
        arguments: vec![text(action.into())],
        environment: environment.iter().map(|entry| text((*entry).into())).collect(),
        ..Command::default()
    }
}

fn set(mut message: Element, name: &str, value: &str) -> Element {
    let there = message.attributes.iter_mut().find(|(present, _)| present == name);
    there.expect("it has the attribute").1 = value.into();
    message
}

#[track_caller]
fn breaks(rule: Rule, result: Checked) {
    match result {
        Ok(()) => panic!("{rule:?} was broken, and not found"),
        Err(violation) => assert_eq!(violation.rule, rule, "{violation}"),
    }
}

#[test]
fn a_right_trace_is_right() {
    let mut stage = Stage::new();
    let start = stage.start("start", 0);
    stage.end(start, 0);
    let told = stage.result(start, "start", 0, 0);
    for conn in [A, B] {
        stage.tell(conn, told.clone()).unwrap();
    }
    stage.settle().unwrap();
    let monitor = stage.start("monitor", 10_000);
    stage.end(monitor, 7);
    let told = stage.result(monitor, "monitor", 7, 0);
    for conn in [A, B] {
        stage.tell(conn, told.clone()).unwrap();
    }
    assert!(stage.oracle.is_idle());
    stage.pass(60_000);
    stage.oracle.overdue(stage.now).unwrap();
}

#[test]
fn a_dropped_reply() {
    let mut stage = Stage::new();
    stage.ask(A, Ask::Poke);
    stage.pass(PATIENCE + 1);
    breaks(Rule::OneReply, stage.oracle.overdue(stage.now));
    let mut stage = Stage::new();
    stage.ask(A, Ask::Poke);
    breaks(Rule::Order, stage.generic(A, "lrmd_rsc_poke", None));
}

#[test]
fn a_second_reply() {
    let mut stage = Stage::new();
    stage.ask(A, Ask::Info("nobody".into()));
    stage.reply(A, -19).unwrap();
    breaks(Rule::OneReply, stage.reply(A, -19));
    stage.ask(A, Ask::Check);
    breaks(Rule::OneReply, stage.reply(A, 0));
}

#[test]
fn replies_out_of_order() {
    let mut stage = Stage::new();
    stage.ask(A, Ask::Info("nobody".into()));
    stage.ask(A, Ask::Info("nobody".into()));
    breaks(Rule::Order, stage.reply(A, -19));
}

#[test]
fn a_result_before_its_reply() {
    let mut stage = Stage::new();
    let call = stage.execute("start", 0);
    stage.spawn(call, "start").unwrap();
    stage.end(call, 0);
    let told = stage.result(call, "start", 0, 0);
    // The other client does not wait for that reply.
    stage.tell(B, told.clone()).unwrap();
    breaks(Rule::Order, stage.tell(A, told));
}

#[test]
fn two_processes_of_one_resource() {
    let mut stage = Stage::new();
    stage.start("start", 0);
    let second = stage.execute("stop", 0);
    breaks(Rule::OneAtATime, stage.spawn(second, "stop"));
}

#[test]
fn a_process_out_of_turn() {
    let mut stage = Stage::new();
    let first = stage.start("start", 0);
    stage.execute("promote", 0);
    let third = stage.execute("demote", 0);
    stage.end(first, 0);
    breaks(Rule::Start, stage.spawn(third, "demote"));
    // And one that is not due.
    let mut stage = Stage::new();
    let monitor = stage.start("monitor", 10_000);
    stage.end(monitor, 0);
    stage.pass(9_999);
    breaks(Rule::Start, stage.spawn(monitor, "monitor"));
}

#[test]
fn a_process_that_is_not_started() {
    let mut stage = Stage::new();
    stage.execute("start", 0);
    breaks(Rule::Lost, stage.settle());
    let mut stage = Stage::new();
    let monitor = stage.start("monitor", 10_000);
    stage.end(monitor, 0);
    stage.settle().unwrap();
    stage.pass(10_000);
    breaks(Rule::Lost, stage.settle());
}

#[test]
fn a_wrong_command() {
    let mut stage = Stage::new();
    let call = stage.execute("start", 0);
    breaks(Rule::Start, stage.spawn(call, "stop"));
    let mut stage = Stage::new();
    let call = stage.execute("start", 0);
    let mut inherited = command(call, "start");
    inherited.environment.push(c"LD_PRELOAD=/tmp/x".into());
    breaks(Rule::Start, stage.oracle.spawned(ChildId(9), &inherited, stage.now));
}

#[test]
fn a_kill_too_much_and_one_too_few() {
    let mut stage = Stage::new();
    let call = stage.start("start", 0);
    breaks(Rule::Kill, stage.oracle.killed(ChildId(call as u64), true, stage.now));
    stage.pass(20_000);
    breaks(Rule::Lost, stage.settle());
    breaks(Rule::Kill, stage.oracle.killed(ChildId(call as u64), false, stage.now));
    stage.oracle.killed(ChildId(call as u64), true, stage.now).unwrap();
    stage.settle().unwrap();
    breaks(Rule::Kill, stage.oracle.killed(ChildId(call as u64), true, stage.now));
}

#[test]
fn a_process_that_cannot_be_killed_and_nobody_is_told_of() {
    let mut stage = Stage::new();
    let call = stage.start("start", 0);
    let child = ChildId(call as u64);
    stage.pass(20_000);
    stage.oracle.woken(stage.now);
    breaks(Rule::Kill, stage.oracle.examine(child, stage.now));
    stage.oracle.killed(child, true, stage.now).unwrap();
    stage.settle().unwrap();
    stage.pass(4_999);
    breaks(Rule::Kill, stage.oracle.examine(child, stage.now));
    stage.settle().unwrap();
    stage.pass(1);
    breaks(Rule::Lost, stage.settle());
    stage.oracle.examine(child, stage.now).unwrap();
    breaks(Rule::Kill, stage.oracle.examine(child, stage.now));
    stage.oracle.examined(child, stage.now);
    let told = set(stage.result(call, "start", 1, 2), "lrmd_exec_time", "25000");
    let reason = "Resource agent did not complete within 20s: SIGKILL does not end it";
    stage.tell(A, told.with("lrmd_rsc_exit_reason", reason)).unwrap();
    // Its name stays taken.
    let stop = stage.execute("stop", 0);
    stage.reply(A, stop).unwrap();
    breaks(Rule::OneAtATime, stage.spawn(stop, "stop"));
}

#[test]
fn a_lost_result() {
    let mut stage = Stage::new();
    let call = stage.start("start", 0);
    stage.end(call, 0);
    let told = stage.result(call, "start", 0, 0);
    stage.tell(A, told).unwrap();
    stage.pass(PATIENCE + 1);
    breaks(Rule::Lost, stage.oracle.overdue(stage.now));
}

#[test]
fn a_result_told_twice() {
    let mut stage = Stage::new();
    let call = stage.start("monitor", 10_000);
    stage.end(call, 0);
    let told = stage.result(call, "monitor", 0, 0);
    stage.tell(A, told.clone()).unwrap();
    breaks(Rule::Unasked, stage.tell(A, told));
}

#[test]
fn a_result_that_did_not_change() {
    let mut stage = Stage::new();
    let call = stage.start("monitor", 10_000);
    stage.end(call, 0);
    let told = stage.result(call, "monitor", 0, 0);
    stage.tell(A, told.clone()).unwrap();
    stage.pass(10_000);
    stage.oracle.woken(stage.now);
    stage.spawn(call, "monitor").unwrap();
    stage.end(call, 0);
    breaks(Rule::Unasked, stage.tell(A, told));
}

#[test]
fn each_wrong_part_of_a_result() {
    for (name, value) in [
        ("lrmd_exec_rc", "1"),
        ("lrmd_exec_op_status", "4"),
        ("lrmd_rsc_deleted", "1"),
        ("lrmd_rsc_action", "monitor"),
        ("lrmd_timeout", "0"),
        ("lrmd_run_time", "0"),
        ("lrmd_rcchange_time", "0"),
        ("lrmd_exec_time", "7"),
        ("lrmd_remote_msg_type", "reply"),
        ("lrmd_rsc_output", "line\n"),
        ("lrmd_rsc_exit_reason", "none"),
    ] {
        let mut stage = Stage::new();
        let call = stage.start("start", 0);
        let child = ChildId(call as u64);
        stage.oracle.output(child, Stream::Stderr, b"ocf-exit-reason:full\n");
        stage.end(call, 7);
        let told = stage.result(call, "start", 7, 0);
        let right =
            told.with("lrmd_rsc_output", "ocf-exit-reason:full\n").with("lrmd_rsc_exit_reason", "full");
        stage.tell(B, right.clone()).unwrap();
        breaks(Rule::Content, stage.tell(A, set(right, name, value)));
    }
}

#[test]
fn a_wrong_echo() {
    let echoes = [
        Element::new("attributes").with(SERIAL, 4),
        Element::new("attributes").with(SERIAL, 4).with("x", "a b"),
        Element::new("attributes").with(SERIAL, 4).with("x", "a\tb").with("y", ""),
        Element::new("other"),
    ];
    for echo in echoes {
        let mut stage = Stage::new();
        let call = stage.start("start", 0);
        assert_eq!(call, 4);
        stage.end(call, 0);
        let mut told = stage.result(call, "start", 0, 0);
        stage.tell(B, told.clone()).unwrap();
        told.children = vec![echo];
        breaks(Rule::Content, stage.tell(A, told));
    }
}

#[test]
fn a_cancellation_that_cancels_nothing() {
    let mut stage = Stage::new();
    let call = stage.start("monitor", 10_000);
    let cancel = || Ask::Cancel { resource: "r".into(), action: "monitor".into(), interval: 10_000 };
    stage.ask(A, cancel());
    stage.reply(A, 0).unwrap();
    breaks(Rule::Lost, stage.settle());
    stage.oracle.killed(ChildId(call as u64), true, stage.now).unwrap();
    stage.end(call, 0);
    let told = stage.result(call, "monitor", 0, 0);
    breaks(Rule::Content, stage.tell(A, told.clone()));
    stage.tell(B, set(told, "lrmd_exec_op_status", "1")).unwrap();
    // It does not run again, and cannot be cancelled again.
    stage.pass(10_000);
    stage.oracle.woken(stage.now);
    breaks(Rule::Start, stage.spawn(call, "monitor"));
    stage.ask(A, cancel());
    breaks(Rule::Content, stage.reply(A, 0));
}

#[test]
fn what_nobody_asked_for() {
    let mut stage = Stage::new();
    breaks(Rule::Unasked, stage.tell(A, note("lrmd_rsc_new_client")));
    breaks(Rule::Unasked, stage.tell(ConnId(9), note("lrmd_rsc_new_client")));
    stage.ask(A, Ask::Poke);
    stage.reply(A, 0).unwrap();
    stage.generic(A, "lrmd_rsc_poke", None).unwrap();
    stage.generic(B, "lrmd_rsc_poke", None).unwrap();
    breaks(Rule::Unasked, stage.generic(B, "lrmd_rsc_poke", None));
}

#[test]
fn connections_closed_without_need_and_kept_against_it() {
    let mut stage = Stage::new();
    breaks(Rule::Connection, stage.oracle.closed(A, stage.now));
    stage.oracle.doomed(A, "it sends nonsense");
    breaks(Rule::Connection, stage.settle());
    stage.oracle.closed(A, stage.now).unwrap();
    stage.settle().unwrap();
    stage.oracle.accepted(ConnId(3), stage.now);
    stage.pass(9_999);
    stage.settle().unwrap();
    stage.pass(1);
    breaks(Rule::Connection, stage.settle());
    stage.oracle.closed(ConnId(3), stage.now).unwrap();
    stage.oracle.waiting(B, true, false, stage.now);
    stage.pass(60_000);
    breaks(Rule::Connection, stage.settle());
}

#[test]
fn an_end_too_early_and_none_at_all() {
    let mut stage = Stage::new();
    stage.oracle.terminated(stage.now);
    let asked = Element::new("lrmd_ipc_proxy")
        .with("lrmd_ipc_op", "shutdown_req")
        .with("lrmd_ipc_session", "0")
        .with("lrmd_remote_msg_id", 0)
        .with("lrmd_remote_msg_type", "notify");
    breaks(Rule::Unasked, stage.tell(A, asked.clone()));
    stage.tell(B, asked.clone()).unwrap();
    stage.ask(B, Ask::forward("shutdown_ack", None));
    stage.reply(B, 0).unwrap();
    stage.pass(1_000_000);
    stage.settle().unwrap();
    // The one that was asked leaves: the other is asked.
    stage.oracle.lost(B, stage.now);
    stage.settle().unwrap();
    stage.tell(A, asked).unwrap();
    stage.oracle.lost(A, stage.now);
    breaks(Rule::Shutdown, stage.settle());
    stage.oracle.exited(ExitCode::Ok).unwrap();
    stage.settle().unwrap();
    breaks(Rule::Shutdown, Stage::new().oracle.exited(ExitCode::Ok));
}
