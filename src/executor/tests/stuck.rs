//! Processes that SIGKILL does not end.

use super::*;

#[test]
fn who_survives_being_killed_is_reported_and_keeps_the_lane() {
    let mut lab = Lab::new();
    let start = lab.execute("start", 0);
    let child = lab.spawned[0].0;
    lab.executor.output(child, Stream::Stdout, b"mounting");
    lab.pass(25_000);
    assert_eq!((lab.killed.len(), &*lab.examined, lab.told.len()), (1, &[child][..], 0));
    lab.hangs(Some("request_wait_answer"));
    let told = &lab.told[0];
    assert_eq!((told.exec_time, told.output.as_deref()), (25_000, Some(&b"mounting"[..])));
    let reason = "Resource agent did not complete within 20s: SIGKILL does not end it, \
                  it waits in the kernel (request_wait_answer)";
    assert_eq!(told.reason.as_deref(), Some(reason));
    assert_eq!(lab.results(), [(start, 1, 2)]);
    // Nothing runs beside it, but whoever waits does not wait for ever.
    let stop = lab.execute("stop", 0);
    let next = lab.execute("monitor", 0);
    lab.pass(19_999);
    assert_eq!((lab.spawned.len(), lab.results()), (1, vec![]));
    lab.pass(1);
    let reason = lab.told[0].reason.clone().unwrap();
    assert!(reason.ends_with("within 20s: an earlier process of the resource cannot be killed"), "{reason}");
    assert_eq!(lab.told[0].exec_time, 20_000);
    assert_eq!(lab.results(), [(stop, 1, 2)]);
    // Once it is gone things go on; and what it wrote meanwhile, and its end, are nobody's.
    lab.pass(10_000);
    lab.executor.output(child, Stream::Stdout, b"late");
    lab.end_child(child, KILLED);
    assert_eq!((lab.spawned.len(), lab.results()), (2, vec![]));
    lab.pass(15_000);
    lab.end(DONE);
    assert_eq!((lab.killed.len(), lab.results()), (1, vec![(next, 0, 0)]));
    lab.assert_idle();
}

#[test]
fn whoever_waits_already_when_a_process_is_left_behind_waits_no_longer_than_its_time_out() {
    let mut lab = Lab::new();
    lab.execute("monitor", 60_000);
    lab.end(DONE);
    lab.pass(60_000);
    // The second run hangs, and the stop waits for it.
    let child = lab.spawned.last().unwrap().0;
    let mut start = lab.request("start", 0);
    start.timeout = 30_000;
    let start = lab.submit(start);
    lab.results();
    lab.pass(25_000);
    lab.hangs(None);
    assert_eq!(
        lab.told[0].reason.as_deref(),
        Some("Resource agent did not complete within 20s: SIGKILL does not end it")
    );
    lab.told.clear();
    lab.pass(29_999);
    assert_eq!(lab.results(), []);
    lab.pass(1);
    assert_eq!(lab.results(), [(start, 1, 2)]);
    // The monitor falls due again, and fails again; that is no news.
    lab.pass(200_000);
    assert_eq!((lab.spawned.len(), lab.results()), (2, vec![]));
    lab.end_child(child, KILLED);
    lab.pass(60_000);
    assert_eq!(lab.spawned.len(), 3);
}

#[test]
fn once_the_lane_is_free_nobody_gives_up_waiting() {
    let mut lab = Lab::new();
    lab.execute("monitor", 10_000);
    lab.end(DONE);
    lab.execute("reload", 0);
    lab.pass(25_000);
    let child = lab.hangs(None);
    let start = lab.execute("start", 0);
    lab.results();
    lab.pass(10_000);
    lab.end_child(child, KILLED);
    // The monitor was first; it takes long, and the start waits for it.
    lab.pass(15_000);
    assert_eq!(
        (&*lab.started(), lab.results()),
        (&["monitor", "reload", "monitor"].map(String::from)[..], vec![])
    );
    lab.end(DONE);
    lab.end(DONE);
    assert_eq!(lab.results(), [(start, 0, 0)]);
}

#[test]
fn without_a_time_out_one_waits_for_ever() {
    let mut lab = Lab::new();
    lab.execute("start", 0);
    lab.pass(25_000);
    let child = lab.hangs(None);
    let mut stop = lab.request("stop", 0);
    stop.timeout = 0;
    lab.submit(stop);
    assert_eq!(lab.executor.deadline(), None);
    lab.end_child(child, KILLED);
    assert_eq!(lab.started(), ["start", "stop"]);
}

#[test]
fn cancel_is_answered_while_a_process_cannot_be_killed() {
    let mut lab = Lab::new();
    // Between the kill and the examination: as cancelled.
    let call = lab.execute("monitor", 10_000);
    lab.pass(21_000);
    assert_eq!(lab.cancel("monitor", 10_000), Ok(()));
    lab.pass(3_999);
    assert!(lab.examined.is_empty());
    lab.pass(1);
    let child = lab.hangs(None);
    assert_eq!((lab.told[0].reason.clone(), lab.results()), (None, vec![(call, 0, 1)]));
    // Behind it, in any phase.
    let waiting = lab.execute("monitor", 10_000);
    assert_eq!(lab.cancel("monitor", 10_000), Ok(()));
    assert_eq!(lab.results(), [(waiting, 0, 1)]);
    let failed = lab.execute("monitor", 10_000);
    lab.pass(20_000);
    assert_eq!(lab.results(), [(failed, 1, 2)]);
    assert_eq!(lab.cancel("monitor", 10_000), Ok(()));
    assert_eq!(lab.results(), [(failed, 1, 1)]);
    assert_eq!(lab.cancel("monitor", 10_000), Err(Refusal::NotSupported));
    // A name that is given back keeps its lane, too.
    assert!(!lab.unregister());
    lab.register("r");
    let start = lab.execute("start", 0);
    assert_eq!(lab.spawned.len(), 1);
    lab.end_child(child, KILLED);
    lab.end(DONE);
    assert_eq!(lab.results(), [(start, 0, 0)]);
    lab.assert_idle();
}

#[test]
fn a_cancelled_run_that_cannot_be_killed_is_cancelled_all_the_same() {
    let mut lab = Lab::new();
    let call = lab.execute("monitor", 10_000);
    assert_eq!(lab.cancel("monitor", 10_000), Ok(()));
    lab.pass(5_000);
    let child = lab.hangs(Some("nfs_wait_bit_killable"));
    assert_eq!(lab.results(), [(call, 0, 1)]);
    assert!(!lab.unregister());
    assert_eq!(lab.executor.resources.len(), 1);
    lab.end_child(child, KILLED);
    lab.assert_idle();
    assert!(lab.executor.resources.is_empty());
}

#[test]
fn who_ends_before_the_examination_is_told_of_as_ever() {
    let mut lab = Lab::new();
    let call = lab.execute("start", 0);
    lab.pass(25_000);
    let child = lab.examined.pop().unwrap();
    lab.end(KILLED);
    assert_eq!(lab.results(), [(call, 1, 2)]);
    lab.executor.examined(child, Some("do_exit"), lab.now);
    lab.settle();
    assert_eq!(lab.results(), []);
    lab.assert_idle();
}
