use super::*;
use crate::agent::Outcome;

fn register(lab: &mut Lab, class: &str) {
    let agent = Agent { class: class.into(), provider: None, kind: "a".into() };
    lab.executor.register("r", agent, true, lab.now).unwrap();
    lab.settle();
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    register(&mut lab, "systemd");
    lab
}

fn outcome(rc: u8, status: Status) -> Outcome {
    Outcome { rc, status, reason: None, ran: true }
}

impl Lab {
    /// systemd answers what it was asked last.
    fn answer(&mut self, rc: u8, status: Status) {
        let (child, _) = *self.asked.last().unwrap();
        self.executor.answered(child, outcome(rc, status), b"", self.now);
        self.settle();
    }
}

const PENDING: (u8, Status) = (193, Status::Pending);

#[test]
fn systemd_is_asked_and_its_answer_told() {
    let mut lab = lab();
    let call = lab.execute("start", 0);
    assert_eq!((lab.asked.len(), lab.asked[0].1, lab.spawned.len()), (1, 20_000, 0));
    lab.pass(300);
    // In its lane, as a child would be.
    let next = lab.execute("monitor", 10_000);
    assert_eq!(lab.asked.len(), 1);
    lab.executor.answered(lab.asked[0].0, outcome(1, Status::Timeout), b"text", lab.now);
    lab.settle();
    let told = lab.told.pop().unwrap();
    assert_eq!((told.call_id, told.rc, told.status, told.exec_time), (call, 1, Status::Timeout, 300));
    assert_eq!(told.output.as_deref(), Some(&b"text"[..]));
    assert_eq!(lab.asked.len(), 2);
    lab.answer(0, Status::Done);
    assert_eq!(lab.results(), [(next, 0, 0)]);
    // And again, one interval after the answer.
    lab.pass(9_999);
    assert_eq!(lab.asked.len(), 2);
    lab.pass(1);
    assert_eq!(lab.asked.len(), 3);
    lab.answer(7, Status::Done);
    assert_eq!(lab.results(), [(next, 7, 0)]);
}

#[test]
fn what_is_known_is_not_asked() {
    let mut lab = lab();
    let call = lab.execute("promote", 0);
    assert_eq!((lab.asked.len(), lab.results()), (0, vec![(call, 3, 4)]));
    lab.assert_idle();
}

#[test]
fn a_probe_waits_for_a_state_that_lasts() {
    let mut lab = lab();
    let call = lab.execute("monitor", 0);
    let mut waited = 0;
    for _ in 0..5 {
        lab.answer(PENDING.0, PENDING.1);
        assert_eq!(lab.results(), []);
        let asked = lab.asked.len();
        // It keeps its lane.
        lab.pass(1_999);
        assert_eq!(lab.asked.len(), asked);
        lab.pass(1);
        waited += 2_000;
        assert_eq!(lab.asked.len(), asked + 1);
        assert_eq!(u64::from(lab.asked[asked].1), 20_000 - waited, "what is left");
    }
    lab.answer(0, Status::Done);
    let told = lab.told.pop().unwrap();
    assert_eq!((told.call_id, told.rc, told.exec_time, told.timeout), (call, 0, waited, 20_000));
    lab.assert_idle();
}

#[test]
fn a_probe_does_not_wait_for_ever() {
    let mut lab = lab();
    let call = lab.execute("monitor", 0);
    for _ in 0..100 {
        if !lab.told.is_empty() {
            break;
        }
        lab.answer(PENDING.0, PENDING.1);
        lab.pass(2_000);
    }
    let told = lab.told.pop().unwrap();
    assert_eq!((told.call_id, told.rc, told.status), (call, 1, Status::Timeout));
    assert!((19_900..=22_000).contains(&told.exec_time), "{}", told.exec_time);
    lab.assert_idle();

    // Unless it may: then until somebody settles it.
    let mut request = lab.request("monitor", 0);
    request.timeout = 0;
    let call = lab.submit(request);
    for _ in 0..100 {
        assert_eq!(lab.asked.last().unwrap().1, 0);
        lab.answer(PENDING.0, PENDING.1);
        lab.pass(2_000);
    }
    lab.answer(7, Status::Done);
    assert_eq!(lab.results(), [(call, 7, 0)]);
}

#[test]
fn a_recurring_monitor_tells_that_a_unit_is_between_two_states() {
    let mut lab = lab();
    let call = lab.execute("monitor", 8_000);
    lab.answer(PENDING.0, PENDING.1);
    assert_eq!(lab.results(), [(call, 193, -1)]);
    for _ in 0..2 {
        lab.pass(8_000);
        lab.answer(PENDING.0, PENDING.1);
        assert_eq!(lab.results(), [], "told already");
    }
    // 24 s are longer than it may take.
    for told in [vec![(call, 1, 2)], vec![]] {
        lab.pass(8_000);
        lab.answer(PENDING.0, PENDING.1);
        assert_eq!(lab.results(), told);
    }
    lab.pass(8_000);
    lab.answer(0, Status::Done);
    assert_eq!(lab.results(), [(call, 0, 0)]);
    // The time counts from anew.
    lab.pass(8_000);
    lab.answer(PENDING.0, PENDING.1);
    assert_eq!(lab.results(), [(call, 193, -1)]);
}

#[test]
fn a_recurring_monitor_is_cancelled_while_systemd_is_asked() {
    for stops in [false, true] {
        let mut lab = lab();
        let call = lab.execute("monitor", 10_000);
        let (child, _) = lab.asked[0];
        if stops {
            let stop = lab.execute("stop", 0);
            assert_eq!(lab.results(), [(call, 0, 1)]);
            lab.answer(0, Status::Done);
            assert_eq!(lab.results(), [(stop, 0, 0)]);
        } else {
            lab.cancel("monitor", 10_000).unwrap();
            assert_eq!(lab.results(), [(call, 0, 1)]);
        }
        assert_eq!(lab.forgotten, [child]);
        lab.executor.answered(child, outcome(0, Status::Done), b"", lab.now);
        lab.settle();
        assert_eq!(lab.results(), []);
        lab.assert_idle();
    }
}

#[test]
fn a_one_shot_goes_on_when_its_resource_goes() {
    let mut lab = lab();
    let call = lab.execute("start", 0);
    assert!(lab.unregister());
    assert_eq!(lab.forgotten, []);
    lab.answer(0, Status::Done);
    let told = lab.told.pop().unwrap();
    assert_eq!((told.call_id, told.deleted), (call, true));
    lab.assert_idle();
}

#[test]
fn a_service_is_a_script_if_there_is_one_and_else_may_be_a_unit() {
    let mut lab = Lab::new();
    register(&mut lab, "service");
    let call = lab.execute("start", 0);
    assert_eq!(lab.started(), ["start"]);
    lab.end(Ending::NotRun(Step::Lookup, 2));
    assert_eq!((lab.results(), lab.asked.len()), (vec![], 1));
    // The limit of the child is none of systemd's.
    lab.pass(20_000);
    assert_eq!(lab.killed, []);
    lab.answer(0, Status::Done);
    assert_eq!(lab.results(), [(call, 0, 0)]);

    let call = lab.execute("monitor", 10_000);
    assert_eq!(lab.spawned.last().unwrap().1.arguments[0].as_c_str(), c"status");
    lab.end(Ending::Exited(3));
    assert_eq!((lab.results(), lab.asked.len()), (vec![(call, 7, 0)], 1));
    // Each run looks anew.
    lab.pass(10_000);
    lab.end(Ending::NotRun(Step::Lookup, 20));
    assert_eq!(lab.asked.len(), 2);
    lab.cancel("monitor", 10_000).unwrap();
    assert_eq!(lab.results(), [(call, 0, 1)]);
    lab.assert_idle();

    // What only a unit could not do is known at once.
    let call = lab.execute("promote", 0);
    lab.end(Ending::NotRun(Step::Lookup, 2));
    assert_eq!(lab.results(), [(call, 3, 4)]);
    // What was killed while it looked is what it was killed for.
    let call = lab.execute("start", 0);
    lab.pass(20_000);
    lab.end(Ending::NotRun(Step::Lookup, 2));
    assert_eq!((lab.results(), lab.asked.len()), (vec![(call, 5, 7)], 2));
    lab.assert_idle();
}

#[test]
fn each_cell_is_reached() {
    for test in [
        systemd_is_asked_and_its_answer_told,
        a_probe_waits_for_a_state_that_lasts,
        a_recurring_monitor_tells_that_a_unit_is_between_two_states,
        a_recurring_monitor_is_cancelled_while_systemd_is_asked,
    ] {
        test();
    }
    println!("{}", trial::compare("unit", include_str!("../unit.rs"), &trial::reached()).unwrap());
}
