use super::super::{Agent, Ending, Parameters, Place, Step};
use super::*;
use crate::dbus::connection::ErrorReply;

fn planned(class: &str, kind: &str, action: &str) -> Plan {
    let agent = Agent { class: class.into(), provider: None, kind: kind.into() };
    let place = Place { agent_path: vec![], ocf_root: c"/".into() };
    Call { resource: "r", agent: &agent, action, interval: 0, parameters: &Parameters::default() }
        .plan(&place)
}

fn unit(kind: &str, action: &str) -> Unit {
    let Plan::Ask(unit) = planned("systemd", kind, action) else { panic!("{kind} {action}") };
    *unit
}

/// As `service` asks whose script is not there.
fn maybe(action: &str) -> Unit {
    let agent = Agent { class: "service".into(), provider: None, kind: "a".into() };
    let call = Call { resource: "r", agent: &agent, action, interval: 0, parameters: &Parameters::default() };
    let Some(Plan::Ask(unit)) = call.second(Ending::NotRun(Step::Lookup, 2)) else { panic!("{action}") };
    assert_eq!(call.second(Ending::NotRun(Step::Exec, 2)), None);
    *unit
}

fn path() -> UnitPath {
    UnitPath::new("/org/freedesktop/systemd1/unit/a_2eservice")
}

fn loaded() -> Result<Reply, Failure> {
    Ok(Reply::Unit(path()))
}

fn error(name: &str, text: &str) -> Result<Reply, Failure> {
    Err(Failure::Error(ErrorReply { name: name.into(), text: text.into() }))
}

/// What comes next, in short.
#[derive(Debug, PartialEq)]
enum Next {
    Ask(String),
    Mark(bool),
    Again,
    End(u8, i32, Option<String>),
}

fn ask(text: &str) -> Next {
    Next::Ask(text.into())
}

fn over(rc: u8, status: Status, reason: &str) -> Next {
    Next::End(rc, status as i32, (!reason.is_empty()).then(|| reason.into()))
}

fn next(todo: Todo<'_>) -> Next {
    match todo {
        Todo::Ask { request, reload } => {
            Next::Ask(format!("{}{request:?}", if reload { "Reload, " } else { "" }))
        }
        Todo::Mark(DropIn { directory, path, text }) => {
            assert_eq!(directory.as_c_str(), c"/run/systemd/system/a.service.d");
            assert_eq!(path.as_c_str(), c"/run/systemd/system/a.service.d/50-pacemaker.conf");
            Next::Mark(text.is_some())
        }
        Todo::Again => Next::Again,
        Todo::End(outcome, output) => {
            assert_eq!(output, "");
            Next::End(outcome.rc, outcome.status as i32, outcome.reason)
        }
    }
}

const LOAD: &str = "Load(\"a.service\")";
const ACTIVE_STATE: &str = "ActiveState(UnitPath(\"/org/freedesktop/systemd1/unit/a_2eservice\"))";
const LOAD_STATE: &str = "LoadState(UnitPath(\"/org/freedesktop/systemd1/unit/a_2eservice\"))";

#[test]
fn names_of_units() {
    for (kind, exact, completed) in [
        ("a", "a.service", "a.service"),
        ("a.service", "a.service", "a.service"),
        ("a.b", "a.b.service", "a.b.service"),
        ("a.socket", "a.socket", "a.socket"),
        ("a.target", "a.target.service", "a.target.service"),
        ("a@b", "a@b.service", "a@b.service"),
        ("a@", "a@.service", "a@pacemaker.service"),
        ("a@.timer", "a@pacemaker.timer", "a@pacemaker.timer"),
        ("a@b.mount", "a@b.mount", "a@b.mount"),
    ] {
        assert_eq!((&*unit_name(kind, false), &*unit_name(kind, true)), (exact, completed), "{kind}");
    }
}

#[test]
fn what_a_state_means() {
    use ActiveState::{Activating, Active, Deactivating, Other, Reloading};
    for (state, expected) in [
        (Active, over(0, Status::Done, "")),
        (Reloading, over(0, Status::Done, "")),
        (Activating, over(193, Status::Pending, "")),
        (Deactivating, over(193, Status::Pending, "")),
        (Other("failed".into()), over(7, Status::Done, "failed")),
        (Other("inactive".into()), over(7, Status::Done, "inactive")),
    ] {
        for action in ["monitor", "status", "Monitor"] {
            let mut unit = unit("a", action);
            assert_eq!(next(unit.begin()), ask(LOAD));
            assert_eq!(next(unit.answer(loaded())), ask(ACTIVE_STATE));
            assert_eq!(next(unit.answer(Ok(Reply::ActiveState(state.clone())))), expected);
        }
    }
}

#[test]
fn how_jobs_end() {
    let working = |action: &str| {
        let mut unit = unit("a", action);
        assert_eq!(next(unit.begin()), ask(LOAD));
        if action == "restart" {
            assert_eq!(next(unit.answer(loaded())), ask("Restart(\"a.service\")"));
            return unit;
        }
        assert_eq!(next(unit.answer(loaded())), Next::Mark(action == "start"));
        let job = if action == "start" { "Start" } else { "Stop" };
        assert_eq!(next(unit.clone().marked(Ok(false))), ask(&format!("{job}(\"a.service\")")));
        assert_eq!(next(unit.marked(Ok(true))), ask(&format!("Reload, {job}(\"a.service\")")));
        unit
    };
    for action in ["start", "stop", "restart"] {
        let after = |result| next(working(action).answer(result));
        let job = |result| after(Ok(Reply::Job(result)));
        assert_eq!(job(JobResult::Done), over(0, Status::Done, ""));
        let reason = format!("systemd {action} job for a.service timed out");
        assert_eq!(job(JobResult::Timeout), over(1, Status::Timeout, &reason));
        let reason = format!("systemd {action} job for a.service failed with result 'dependency'");
        assert_eq!(job(JobResult::Other("dependency".into())), over(1, Status::Error, &reason));
        let reason = format!("{action} action for systemd unit a did not complete in time");
        assert_eq!(after(Err(Failure::Deadline)), over(1, Status::Timeout, &reason));
        for name in ["NoSuchUnit", "LoadFailed", "InvalidName"] {
            let missing = after(error(&format!("org.freedesktop.systemd1.{name}"), "no"));
            match action {
                "stop" => assert_eq!(missing, over(0, Status::Done, "")),
                _ => assert_eq!(missing, over(5, Status::NotInstalled, "systemd unit a not found")),
            }
        }
        let masked = after(error("org.freedesktop.systemd1.UnitMasked", "Unit a.service is masked."));
        let reason = "Unable to invoke systemd DBus method (org.freedesktop.systemd1.UnitMasked: Unit a.service is masked.)";
        assert_eq!(masked, over(1, Status::Error, reason));
        let reason = "Unable to invoke systemd DBus method";
        assert_eq!(after(Err(Failure::TooMany)), over(1, Status::Error, reason));
        assert_eq!(after(Ok(Reply::Reloaded)), over(1, Status::Error, reason));
        let gone = error("org.freedesktop.DBus.Error.NoReply", "Message recipient disconnected");
        assert_eq!(after(gone), Next::Again);
        assert_eq!(after(Err(Failure::Lost)), Next::Again);
    }
}

#[test]
fn a_unit_that_cannot_be_marked_is_not_started_but_stopped() {
    for (errno, rc) in [(13, 4), (30, 1)] {
        let mut unit = unit("a", "start");
        unit.answer(loaded());
        let reason = "Failed to create systemd override file for a";
        assert_eq!(next(unit.marked(Err(errno))), over(rc, Status::Error, reason));
    }
    let mut unit = unit("a", "stop");
    unit.answer(loaded());
    assert_eq!(next(unit.marked(Err(13))), ask("Stop(\"a.service\")"));
}

#[test]
fn what_is_not_loaded() {
    let mut unit = unit("a", "monitor");
    let reason = "No DBus object found for systemd unit a (x.y: no)";
    assert_eq!(next(unit.clone().answer(error("x.y", "no"))), over(1, Status::Error, reason));
    unit.answer(loaded());
    let reason = "Could not get state for unit a from DBus (x.y: no)";
    assert_eq!(next(unit.clone().answer(error("x.y", "no"))), over(1, Status::Error, reason));
    let reason = "Could not get state for unit a from DBus";
    assert_eq!(next(unit.answer(Ok(Reply::Reloaded))), over(1, Status::Error, reason));
}

/// `service`: whose script is not there is a unit if that is, and else an init script that is not there.
#[test]
fn what_is_no_script_may_be_a_unit() {
    let reason = "/etc/init.d/a: No such file or directory";
    let missing = || over(5, Status::NotInstalled, reason);
    for state in [LoadState::Loaded, LoadState::Masked] {
        let mut unit = maybe("monitor");
        assert_eq!(next(unit.begin()), ask(LOAD));
        assert_eq!(next(unit.answer(loaded())), ask(LOAD_STATE));
        assert_eq!(next(unit.answer(Ok(Reply::LoadState(state)))), ask(ACTIVE_STATE));
        assert_eq!(next(unit.answer(Ok(Reply::ActiveState(ActiveState::Active)))), over(0, Status::Done, ""));
    }
    let mut unit = maybe("start");
    assert_eq!(next(unit.clone().answer(error("x.y", "no"))), missing());
    unit.answer(loaded());
    assert_eq!(next(unit.clone().answer(error("x.y", "no"))), missing());
    let not_found = Ok(Reply::LoadState(LoadState::Other("not-found".into())));
    assert_eq!(next(unit.answer(not_found)), missing());
}

#[test]
fn without_a_bus() {
    let result = |outcome: Outcome| (outcome.rc, outcome.status, outcome.reason.unwrap());
    let none = "No DBus connection (why)";
    for is_absent in [false, true] {
        let outcome = unit("a", "start").unreachable("why", is_absent);
        assert_eq!(result(outcome), (1, Status::Error, none.into()));
    }
    assert_eq!(result(maybe("start").unreachable("why", false)), (1, Status::Error, none.into()));
    assert_eq!(result(maybe("start").unreachable("why", true)).0, 5);
}

#[test]
fn what_is_known_without_asking() {
    let known = |kind: &str, action: &str| {
        let Plan::Known(outcome) = planned("systemd", kind, action) else { panic!("{kind} {action}") };
        (outcome.rc, outcome.status, outcome.reason.unwrap())
    };
    let reason = "Action promote not implemented for systemd resources";
    assert_eq!(known("a", "promote"), (3, Status::Error, reason.into()));
    assert_eq!(known("a", "START").0, 3, "as in stock");
    assert_eq!(known("../a", "start").2, "No DBus object found for systemd unit ../a");
    for kind in ["a\n[Service]\nExecStart=b", "a b", "a%n", "a$", "ä", "a\u{7f}", "a\"", &"x".repeat(248)] {
        assert_eq!(known(kind, "start").2, format!("No DBus object found for systemd unit {kind}"));
        let Plan::Known(outcome) = planned("service", kind, "start") else { continue };
        panic!("{outcome:?}: there may be a script of that name");
    }
    assert!(matches!(planned("systemd", r"a-b_c:d.e\x2df@g", "start"), Plan::Ask(_)));
    assert_eq!(known("", "start").1, Status::ErrorFatal);
}

#[test]
fn a_unit_is_marked_as_the_clusters() {
    let text = "[Unit]\nDescription=Cluster Controlled a.service\nBefore=pacemaker.service pacemaker_remote.service\n\n[Service]\nRestart=no\n";
    assert_eq!(drop_in("a.service"), text);
    let text = "[Unit]\nDescription=Cluster Controlled a.socket\nBefore=pacemaker.service pacemaker_remote.service\n";
    assert_eq!(drop_in("a.socket"), text);
}

#[test]
fn a_unit_describes_itself() {
    let mut unit = unit("a@", "meta-data");
    assert_eq!(next(unit.begin()), ask("Load(\"a@pacemaker.service\")"));
    let Todo::Ask { request: Request::Description(_), .. } = unit.answer(loaded()) else { panic!() };
    let Todo::End(outcome, text) = unit.answer(Ok(Reply::Description("This & <that>".into()))) else {
        panic!()
    };
    assert_eq!((outcome.rc, outcome.status), (0, Status::Done));
    for part in [
        "<resource-agent name=\"a@\" version=\"0.1\">",
        "<longdesc lang=\"en\">This &amp; &lt;that&gt;</longdesc>",
        "<action name=\"start\" timeout=\"100s\"/>",
        "<action name=\"monitor\" interval=\"60s\" timeout=\"100s\"/>",
        "<action name=\"meta-data\" timeout=\"5s\"/>",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
