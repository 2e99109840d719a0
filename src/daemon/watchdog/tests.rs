use super::*;
use crate::agent::{Ending, Parameters, Place};
use crate::daemon::core::{Event, Settings};
use crate::executor::Alert;
use crate::proxy::ToolId;
use crate::remote::ConnId;
use crate::sys::entropy::Entropy;
use crate::time::{Instant, Now};

const PROVIDER: ConnId = ConnId(1);

fn core(watchdog: Option<u64>) -> Core {
    let place = Place { agent_path: Vec::new(), ocf_root: c"/".to_owned() };
    let mut core = Core::new(Settings { place, node_start_state: None, tools: None, watchdog });
    core.providers.push_front(PROVIDER);
    core
}

fn effects(core: &mut Core) -> Vec<Effect> {
    std::iter::from_fn(|| core.poll()).filter(|effect| !matches!(effect, Effect::Log(_))).collect()
}

fn at(millis: u64) -> Now {
    Now { mono: Instant::from_millis(millis), epoch: 0 }
}

fn tell(core: &mut Core, event: Event<'_>, millis: u64) -> Vec<Effect> {
    core.handle(event, at(millis), &mut Entropy::new());
    effects(core)
}

#[test]
fn times_as_the_cluster_writes_them() {
    let all =
        ["10", "10s", "500ms", "1min", "2h", "0", "", "no", "-1", "-1s", "-0", "-no", "99999999999999999999"];
    let millis = all.map(|text| limit(text, 5000));
    assert_eq!(millis, [10_000, 10_000, 500, 60_000, 7_200_000, 0, 0, 0, 10_000, 10_000, 0, 0, 0]);
}

#[test]
fn a_node_that_would_not_end_itself_ends_now() {
    for (timeout, runs, ends) in [
        ("10s", true, false),
        ("5s", true, false),
        ("4999ms", true, true),
        ("10s", false, true),
        ("-1", false, true),
        ("-1", true, false),
    ] {
        let mut core = core(Some(5000));
        core.check_watchdog(Requester::Remote(PROVIDER), Some(timeout));
        assert_eq!(effects(&mut core), [Effect::FindSbd], "{timeout}");
        let expected = if ends { vec![Effect::Exit(ExitCode::Fatal)] } else { vec![] };
        assert_eq!(tell(&mut core, Event::SbdFound(runs), 0), expected, "{timeout} {runs}");
    }
}

#[test]
fn nobody_else_can_cause_that() {
    let provider = Requester::Remote(PROVIDER);
    for (from, timeout, watchdog) in [
        (Requester::Remote(ConnId(2)), Some("10s"), Some(0)),
        (Requester::Local { tool: ToolId(1), request: 1 }, Some("10s"), Some(0)),
        // In a container.
        (provider, Some("10s"), None),
        // Without such fencing.
        (provider, None, Some(0)),
        (provider, Some("0"), Some(0)),
        (provider, Some("-1"), Some(0)),
    ] {
        let mut core = core(watchdog);
        core.check_watchdog(from, timeout);
        assert_eq!(effects(&mut core), [], "{from:?} {timeout:?}");
        assert_eq!(tell(&mut core, Event::SbdFound(false), 0), [], "an answer that nobody asked for");
    }
}

/// A daemon whose alert, with a time-out of 2 s, is in flight at 0 when its end begins.
fn leaving() -> (Core, crate::agent::ChildId) {
    let mut core = core(None);
    let parameters = Parameters::default();
    let alert = Alert { name: "a".into(), path: "/a".into(), timeout: 2000, parameters };
    core.executor.alert(alert, at(0)).unwrap();
    core.providers.clear();
    let told = tell(&mut core, Event::Terminate, 0);
    let [Effect::Unlisten, Effect::Spawn(child, _)] = *told else { panic!("{told:?}") };
    (core, child)
}

#[test]
fn the_end_waits_for_an_alert() {
    let (mut core, child) = leaving();
    assert_eq!(core.deadline(), Some(Instant::from_millis(2000)));
    assert_eq!(tell(&mut core, Event::Terminate, 10), []);
    let ended = Event::Ended { child, ending: Ending::Exited(0) };
    assert_eq!(tell(&mut core, ended, 20), [Effect::Exit(ExitCode::Ok)]);
    assert_eq!(tell(&mut core, Event::Wake, 30), []);
}

#[test]
fn but_not_for_ever() {
    let (mut core, child) = leaving();
    assert_eq!(tell(&mut core, Event::Wake, 2000), [Effect::Kill { child, group: true }]);
    assert_eq!(core.deadline(), Some(Instant::from_millis(7000)));
    assert_eq!(tell(&mut core, Event::Wake, 7000), [Effect::Exit(ExitCode::Ok)]);
}

#[test]
fn what_must_end_at_once_does() {
    let mut core = core(Some(0));
    let alert =
        Alert { name: "a".into(), path: "/a".into(), timeout: 2000, parameters: Parameters::default() };
    core.executor.alert(alert, at(0)).unwrap();
    core.check_watchdog(Requester::Remote(PROVIDER), Some("10s"));
    let told = tell(&mut core, Event::SbdFound(false), 0);
    assert_eq!(told.last(), Some(&Effect::Exit(ExitCode::Fatal)));
}
