//! What takes operations and resources away: cancel, stop, unregister, another agent, nobody there.

use super::*;

#[test]
fn cancel_reaches_every_phase() {
    let mut lab = Lab::new();
    // Delayed.
    let mut delayed = lab.request("monitor", 5000);
    delayed.start_delay = 1000;
    let call = lab.submit(delayed);
    assert_eq!(lab.cancel("MONITOR", 5000), Ok(()));
    assert_eq!((lab.told[0].run_time, lab.told[0].exec_time, lab.told[0].queue_time), (0, 0, 0));
    assert_eq!(lab.results(), [(call, 0, 1)]);
    lab.assert_idle();
    // Queued, one-shots too.
    let running = lab.execute("start", 0);
    let queued = lab.execute("promote", 0);
    assert_eq!(lab.cancel("promote", 0), Ok(()));
    assert_eq!(lab.results(), [(queued, 0, 1)]);
    // A running one-shot cannot be cancelled.
    assert_eq!(lab.cancel("start", 0), Err(Refusal::NotSupported));
    lab.end(DONE);
    assert_eq!(lab.results(), [(running, 0, 0)]);
    // Running, recurring.
    let call = lab.execute("monitor", 5000);
    assert_eq!(lab.cancel("monitor", 5000), Ok(()));
    assert_eq!((lab.killed.len(), lab.results()), (1, vec![]));
    assert_eq!(lab.cancel("monitor", 5000), Err(Refusal::NotSupported));
    lab.end(KILLED);
    assert_eq!(lab.results(), [(call, 0, 1)]);
    lab.assert_idle();
    // Idle, with the result of its last run.
    let call = lab.execute("monitor", 5000);
    lab.end(Ending::Exited(7));
    assert_eq!(lab.results(), [(call, 7, 0)]);
    assert_eq!(lab.cancel("monitor", 5000), Ok(()));
    assert_eq!(lab.results(), [(call, 7, 1)]);
    lab.assert_idle();
    // Blocked: due while a start runs.
    let call = lab.execute("monitor", 5000);
    lab.end(DONE);
    lab.results();
    lab.execute("start", 0);
    lab.pass(5000);
    assert_eq!(lab.cancel("monitor", 5000), Ok(()));
    assert_eq!(lab.results(), [(call, 0, 1)]);
    lab.end(DONE);
    lab.results();
    lab.assert_idle();
    // Killed for its time-out.
    let call = lab.execute("monitor", 5000);
    lab.pass(20_000);
    assert_eq!(lab.cancel("monitor", 5000), Ok(()));
    lab.end(KILLED);
    assert_eq!(lab.results(), [(call, 0, 1)]);
    lab.assert_idle();
    // Nothing there.
    assert_eq!(lab.cancel("monitor", 5000), Err(Refusal::NotSupported));
    assert_eq!(lab.executor.cancel("nobody", "monitor", 5000, lab.now), Err(Refusal::NoSuchResource));
}

#[test]
fn a_cancelled_run_that_ended_by_itself_keeps_its_code() {
    let mut lab = Lab::new();
    let call = lab.execute("monitor", 5000);
    lab.cancel("monitor", 5000).unwrap();
    lab.end(Ending::Exited(7));
    assert_eq!(lab.results(), [(call, 7, 1)]);
}

#[test]
fn a_new_monitor_may_follow_one_that_is_being_killed() {
    let mut lab = Lab::new();
    let old = lab.execute("monitor", 5000);
    lab.cancel("monitor", 5000).unwrap();
    let new = lab.execute("monitor", 5000);
    assert_eq!(lab.spawned.len(), 1);
    lab.end(KILLED);
    lab.end(DONE);
    assert_eq!(lab.results(), [(old, 0, 1), (new, 0, 0)]);
}

#[test]
fn stop_cancels_what_recurs_first() {
    let mut lab = Lab::new();
    let idle = lab.execute("monitor", 10_000);
    lab.end(DONE);
    let running = lab.execute("monitor", 20_000);
    let monitor = lab.spawned.last().unwrap().0;
    let pending = lab.execute("monitor", 30_000);
    let start = lab.execute("start", 0);
    lab.results();
    let stop = lab.execute("STOP", 0);
    assert_eq!(lab.results(), [(idle, 0, 1), (pending, 0, 1)]);
    lab.end_child(monitor, KILLED);
    lab.end(DONE);
    lab.end(DONE);
    assert_eq!(lab.results(), [(running, 0, 1), (start, 0, 0), (stop, 0, 0)]);
    lab.assert_idle();
}

#[test]
fn unregister_reports_all_but_what_is_active() {
    let mut lab = Lab::new();
    let idle = lab.execute("monitor", 60_000);
    lab.end(DONE);
    let active = lab.execute("start", 0);
    let pending = lab.execute("promote", 0);
    lab.results();
    assert!(lab.unregister());
    assert!(lab.told.iter().all(|completion| completion.deleted));
    assert_eq!(lab.results(), [(pending, 0, 1), (idle, 0, 1)]);
    assert_eq!(lab.executor.agent("r"), None);
    let request = lab.request("start", 0);
    assert_eq!(lab.executor.execute(request, lab.now), Err(Refusal::NoSuchResource));
    lab.end(DONE);
    assert!(lab.told[0].deleted);
    assert_eq!(lab.results(), [(active, 0, 0)]);
    lab.assert_idle();
    assert!(lab.executor.resources.is_empty());
    assert!(!lab.unregister());
}

#[test]
fn unregister_kills_a_first_run_of_a_monitor() {
    let mut lab = Lab::new();
    let call = lab.execute("monitor", 10_000);
    assert!(lab.unregister());
    assert_eq!(lab.killed.len(), 1);
    lab.end(KILLED);
    assert!(lab.told[0].deleted);
    assert_eq!(lab.results(), [(call, 0, 1)]);
    lab.assert_idle();
}

#[test]
fn a_name_that_is_registered_again_waits_for_its_old_process() {
    let mut lab = Lab::new();
    let old = lab.execute("start", 0);
    lab.unregister();
    lab.register("r");
    let new = lab.execute("monitor", 0);
    assert_eq!(lab.spawned.len(), 1);
    lab.end(DONE);
    assert!(!lab.told[0].deleted);
    lab.end(DONE);
    assert_eq!(lab.results(), [(old, 0, 0), (new, 0, 0)]);
}

#[test]
fn the_same_agent_again_changes_nothing_and_another_replaces() {
    let mut lab = Lab::new();
    let idle = lab.execute("monitor", 60_000);
    lab.end(DONE);
    lab.results();
    let same = Agent { class: "OCF".into(), provider: Some("P".into()), kind: "t".into() };
    lab.executor.register("r", same, false, lab.now).unwrap();
    lab.settle();
    assert_eq!(lab.executor.recurring().next().unwrap().1.count(), 1);
    lab.execute("start", 0);
    let pending = lab.execute("promote", 0);
    lab.executor.register("r", Lab::agent("Other"), true, lab.now).unwrap();
    lab.settle();
    let deleted: Vec<_> = lab.told.iter().map(|c| (c.call_id, c.deleted)).collect();
    assert_eq!(deleted, [(pending, true), (idle, false)]);
    assert_eq!(lab.executor.agent("r").unwrap().kind, "Other");
}

#[test]
fn without_clients_only_marked_resources_stop_recurring() {
    let mut lab = Lab::new();
    lab.executor.register("keep", Lab::agent("T"), false, lab.now).unwrap();
    let dropped = lab.execute("monitor", 10_000);
    lab.end(DONE);
    let mut kept = lab.request("monitor", 10_000);
    kept.resource = "keep".into();
    lab.submit(kept);
    lab.end(DONE);
    let one_shot = lab.execute("start", 0);
    lab.results();
    lab.executor.clients_gone(None, lab.now);
    lab.settle();
    assert_eq!(lab.results(), [(dropped, 0, 1)]);
    lab.end(DONE);
    assert_eq!(lab.results(), [(one_shot, 0, 0)]);
    let counts: Vec<_> = lab.executor.recurring().map(|(name, all)| (name.to_owned(), all.count())).collect();
    assert_eq!(counts, [("keep".to_owned(), 1), ("r".to_owned(), 0)]);
}
