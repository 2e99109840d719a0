//! The same for what systemd works on.

use pacelet::agent::DropIn;

use super::super::super::bus::wire::Call;
use super::super::super::bus::{Answer, Meaning};
use super::*;

const UNIT: &str = "/org/freedesktop/systemd1/unit/u_2eservice";
const JOB: &str = "/org/freedesktop/systemd1/job/7";

impl Stage {
    /// Its resource is a unit.
    fn of_units() -> Self {
        let mut stage = Self::new();
        let agent = Agent::new("systemd", None, "u");
        stage.ask(A, Ask::RegisterResource { resource: "r".into(), agent, drop_recurring: true });
        stage.reply(A, 0).unwrap();
        for conn in [A, B] {
            stage.generic(conn, "lrmd_rsc_register", Some("r")).unwrap();
        }
        stage
    }

    fn call(&mut self, serial: u32, member: &str, path: &str, arguments: &[&str]) -> Checked {
        let systemd = "org.freedesktop.systemd1";
        let bus = "org.freedesktop.DBus";
        let (destination, interface) = match member {
            "Hello" | "AddMatch" => (bus, bus.to_owned()),
            "Get" => (systemd, "org.freedesktop.DBus.Properties".to_owned()),
            _ => (systemd, "org.freedesktop.systemd1.Manager".to_owned()),
        };
        let path = match (destination == bus, path) {
            (true, _) => "/org/freedesktop/DBus",
            (_, "") => "/org/freedesktop/systemd1",
            _ => path,
        };
        let call = Call {
            serial,
            path: path.into(),
            interface,
            member: member.into(),
            destination: destination.into(),
            arguments: arguments.iter().map(|argument| (*argument).into()).collect(),
        };
        self.oracle.bus_called(&call, self.now)
    }

    fn says(&mut self, meaning: Meaning) {
        self.oracle.bus_told(&[meaning], self.now);
    }

    /// The bus is opened, and lets the daemon in, which asks for the unit.
    fn let_in(&mut self) {
        self.oracle.bus_opens(self.now).unwrap();
        self.oracle.bus_opened(false, self.now);
        self.call(1, "Hello", "", &[]).unwrap();
        self.says(Meaning::Named);
        self.call(2, "AddMatch", "", &["member='JobRemoved'"]).unwrap();
        self.call(3, "LoadUnit", "", &["u.service"]).unwrap();
        self.says(Meaning::LetIn);
        self.says(Meaning::Reply(3, Answer::Path(UNIT.into())));
    }

    /// A start, whose unit is loaded.
    fn loaded() -> (Self, i64) {
        let mut stage = Self::of_units();
        let call = stage.execute("start", 0);
        stage.reply(A, call).unwrap();
        stage.let_in();
        (stage, call)
    }

    /// A start, whose job is asked for.
    fn starting() -> (Self, i64) {
        let (mut stage, call) = Self::loaded();
        stage.oracle.marked(&file("u.service"), Ok(true), stage.now).unwrap();
        stage.call(4, "Reload", "", &[]).unwrap();
        stage.call(5, "Subscribe", "", &[]).unwrap();
        stage.call(6, "StartUnit", "", &["u.service", "replace"]).unwrap();
        stage.settle().unwrap();
        (stage, call)
    }
}

fn file(unit: &str) -> DropIn {
    let text = |text: String| std::ffi::CString::new(text).unwrap();
    let content = format!(
        "[Unit]\nDescription=Cluster Controlled {unit}\nBefore=pacemaker.service pacemaker_remote.service\n\n\
         [Service]\nRestart=no\n"
    );
    DropIn {
        directory: text(format!("/run/systemd/system/{unit}.d")),
        path: text(format!("/run/systemd/system/{unit}.d/50-pacemaker.conf")),
        text: Some(content),
    }
}

#[test]
fn a_job_is_over_when_reply_and_signal_have_come() {
    for early in [true, false] {
        let (mut stage, call) = Stage::starting();
        let mut both =
            [Meaning::Reply(6, Answer::Path(JOB.into())), Meaning::JobEnds(JOB.into(), "done".into())];
        if early {
            both.reverse();
        }
        let [first, second] = both;
        stage.says(Meaning::JobEnds("/org/freedesktop/systemd1/job/8".into(), "failed".into()));
        stage.says(first);
        let told = stage.result(call, "start", 0, 0);
        stage.settle().unwrap();
        assert!(!stage.oracle.is_idle());
        stage.says(second);
        for conn in [A, B] {
            stage.tell(conn, told.clone()).unwrap();
        }
        stage.settle().unwrap();
        assert!(stage.oracle.is_idle());
        breaks(Rule::Unasked, stage.tell(A, told));
    }
}

#[test]
fn a_unit_that_is_told_of_too_early_and_too_late() {
    let (mut stage, call) = Stage::starting();
    stage.says(Meaning::Reply(6, Answer::Path(JOB.into())));
    let told = stage.result(call, "start", 0, 0);
    breaks(Rule::Unasked, stage.tell(A, told));
    stage.pass(25_000);
    stage.oracle.woken(stage.now);
    stage.settle().unwrap();
    stage.pass(PATIENCE + 1);
    breaks(Rule::Lost, stage.oracle.overdue(stage.now));
}

#[test]
fn what_systemd_should_be_asked_and_should_not() {
    let mut stage = Stage::of_units();
    breaks(Rule::Bus, stage.oracle.bus_opens(stage.now));
    stage.execute("start", 0);
    breaks(Rule::Lost, stage.settle());
    let (mut stage, _) = Stage::loaded();
    breaks(Rule::Lost, stage.settle());
    breaks(Rule::Bus, stage.call(4, "LoadUnit", "", &["u.service"]));
    breaks(Rule::Bus, stage.call(5, "StartUnit", "", &["u.service", "replace"]));
    breaks(Rule::Bus, stage.oracle.marked(&file("v.service"), Ok(true), stage.now));
    breaks(Rule::Bus, stage.oracle.marked(&DropIn { text: None, ..file("u.service") }, Ok(true), stage.now));
    stage.oracle.marked(&file("u.service"), Ok(true), stage.now).unwrap();
    // Neither without a subscription, nor with the files as they were.
    breaks(Rule::Bus, stage.call(6, "StartUnit", "", &["u.service", "replace"]));
    let (mut stage, _) = Stage::starting();
    breaks(Rule::Bus, stage.call(7, "StartUnit", "", &["u.service", "replace"]));
    breaks(Rule::Bus, stage.oracle.bus_closed(stage.now));
}

#[test]
fn what_a_lost_bus_takes_with_it_is_asked_again() {
    let (mut stage, _) = Stage::starting();
    stage.oracle.bus_lost(stage.now);
    stage.settle().unwrap();
    breaks(Rule::Bus, stage.oracle.bus_opens(stage.now));
    stage.pass(100);
    stage.oracle.woken(stage.now);
    breaks(Rule::Lost, stage.settle());
    stage.let_in();
    breaks(Rule::Lost, stage.settle());
}

#[test]
fn a_bus_that_breaks_the_protocol_is_left() {
    let (mut stage, _) = Stage::starting();
    stage.says(Meaning::Broken);
    breaks(Rule::Lost, stage.settle());
    stage.oracle.bus_closed(stage.now).unwrap();
    stage.settle().unwrap();
}
