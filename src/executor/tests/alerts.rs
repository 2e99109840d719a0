use super::*;
use crate::executor::Alert;

/// The child that runs an alert of this path, if it may.
fn alert(lab: &mut Lab, path: &str, timeout: u32) -> Result<ChildId, Refusal> {
    let parameters = Parameters::default();
    let request = Alert { name: "a1".into(), path: path.into(), timeout, parameters };
    lab.executor.alert(request, lab.now)?;
    lab.settle();
    Ok(lab.spawned.last().unwrap().0)
}

fn logged(lab: &mut Lab) -> Vec<String> {
    std::mem::take(&mut lab.lines).into_iter().map(|line| line.text).collect()
}

#[test]
fn an_alert_that_ends_is_logged_with_what_it_says() {
    let mut lab = Lab::new();
    let first = alert(&mut lab, "/alert", 30_000).unwrap();
    let second = alert(&mut lab, "/alert", 30_000).unwrap();
    lab.executor.output(second, Stream::Stderr, b"no\x1b mail\n");
    lab.executor.output(second, Stream::Stderr, &[b'x'; 1000]);
    lab.pass(40);
    for (child, code) in [(first, 0), (second, 1)] {
        lab.end_child(child, Ending::Exited(code));
    }
    let lines = logged(&mut lab);
    assert_eq!(lines[0], "Alert a1 exited with status 0 (execution time 40ms)");
    assert!(
        lines[1].starts_with(r"Alert a1 exited with status 1 (execution time 40ms): no\x1b mail"),
        "{lines:?}"
    );
    assert!(lines[1].len() < 400, "{lines:?}");
    assert_eq!(lab.executor.deadline(), None);
    assert_eq!(lab.executor.alerts_end(), None);
}

#[test]
fn one_that_takes_too_long_is_killed_and_still_waited_for() {
    let mut lab = Lab::new();
    let child = alert(&mut lab, "/alert", 2000).unwrap();
    let until = lab.executor.alerts_end().unwrap();
    assert_eq!(until.since(lab.now.mono), 7000);
    lab.pass(2000);
    assert_eq!(std::mem::take(&mut lab.killed), [(child, true)]);
    lab.pass(5000);
    lab.pass(60_000);
    let lines = logged(&mut lab);
    assert_eq!(lines[0], "Alert a1 did not complete within 2s: killing it");
    assert_eq!(lines[1], "Alert a1 was killed 5s ago: SIGKILL does not end it");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lab.executor.deadline(), None);
    lab.end_child(child, Ending::Signalled(9));
    assert_eq!(logged(&mut lab), ["Alert a1 was killed (execution time 1m7s)"]);
}

#[test]
fn what_cannot_run_is_said() {
    let mut lab = Lab::new();
    let child = alert(&mut lab, "/alert", 0).unwrap();
    assert_eq!(lab.executor.deadline(), None);
    lab.end_child(child, Ending::NotRun(Step::User, 1));
    let line = "Alert a1 could not be executed: Could not set user for child process (execution time 0s)";
    assert_eq!(logged(&mut lab), [line]);
    assert_eq!(alert(&mut lab, "relative", 0), Err(Refusal::Invalid));
}

#[test]
fn alerts_are_bounded() {
    let mut lab = Lab::new();
    for _ in 0..Executor::ALERTS {
        alert(&mut lab, "/alert", 0).unwrap();
    }
    assert_eq!(alert(&mut lab, "/alert", 0), Err(Refusal::TooMuch));
}
