"""Monitors and starts that fail or take too long: the cluster recovers, and `crm_mon` says why."""

from lab.report import expect

from . import journal, steps

TITLE = "failures and their reasons"
MEMBERS = 1
FENCED = []

# Without what XML escapes: crm_mon does that twice.
REASON = "told to fail by the lab, at 100 % of its might"
FAILURE_LIMIT_SECONDS = 30
TOO_LONG = "60"
TIMED_OUT = "timed out"


def run(cluster, report):
    journal.have(cluster, {"j2": "r1"})
    with report.check("a failed monitor is recovered where it is, its reason is in crm_mon"):
        journal.misbehave(cluster, "r1", "j2", "fail-monitor", f"1 {REASON}")
        failure = await_failure(cluster, "j2_monitor_1000")
        expect(failure["exitreason"] == REASON, f"crm_mon's reason: {failure['exitreason']!r}")
        recovered(cluster, "r1")
    with report.check("a monitor that takes too long is ended, and recovered where it is"):
        journal.misbehave(cluster, "r1", "j2", "slow-monitor", TOO_LONG)
        failure = await_failure(cluster, "j2_monitor_1000")
        expect(failure["status"].lower() == TIMED_OUT, f"crm_mon's status: {failure['status']}")
        recovered(cluster, "r1")
        unended = [call for call in journal.calls(cluster, "r1", "j2")[:-1] if call.ended is None]
        expect([(call.action, call.interval) for call in unended] == [("monitor", 1000)], f"calls without an end: {unended}")
    with report.check("after a failed start j2 starts elsewhere, the reason is in crm_mon"):
        journal.misbehave(cluster, "r1", "j2", "fail-start", f"1 {REASON}")
        restart(cluster)
        failure = await_failure(cluster, "j2_start_0")
        expect(failure["exitreason"] == REASON, f"crm_mon's reason: {failure['exitreason']!r}")
        journal.behave(cluster, "r1", "j2", "fail-start")
        recovered(cluster, "r2")
    with report.check("after a start that took too long as well"):
        journal.misbehave(cluster, "r1", "j2", "slow-start", TOO_LONG)
        restart(cluster)
        failure = await_failure(cluster, "j2_start_0")
        expect(failure["status"].lower() == TIMED_OUT, f"crm_mon's status: {failure['status']}")
        journal.behave(cluster, "r1", "j2", "slow-start")
        recovered(cluster, "r2")
    with report.check("after each of them j2 was stopped once and started once"):
        seen = {remote: journal.changes(cluster, remote, "j2") for remote in cluster.remotes}
        expect(seen == {"r1": ["start"] + ["stop", "start"] * 6, "r2": ["start", "stop"] * 2}, f"calls of the agent: {seen}")
    cluster.delete_resource("j2")


def await_failure(cluster, key):
    """Waits until `crm_mon` lists that operation on r1 as failed, and returns what it says of it."""

    def listed(status):
        return [failure for failure in status.failures if failure["op_key"] == key and failure["node"] == "r1"]

    return listed(cluster.await_status(f"{key} on r1 in crm_mon's failures", listed, FAILURE_LIMIT_SECONDS))[0]


def recovered(cluster, place):
    """j2 runs there, and when that is forgotten, at home again."""
    steps.await_placed(cluster, {"j2": place})
    cluster.cleanup("j2")
    cluster.await_status("no failures", lambda status: status.nodes and not status.failures, FAILURE_LIMIT_SECONDS)
    steps.await_placed(cluster, {"j2": "r1"})


def restart(cluster):
    """Stops j2 and has it started again."""
    cluster.set_meta("j2", "target-role", "Stopped")
    cluster.await_status("j2 stopped", lambda status: status.stopped("j2"), FAILURE_LIMIT_SECONDS)
    cluster.set_meta("j2", "target-role", "Started")
