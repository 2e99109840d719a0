"""Dummy resources on the remotes: probe, start, recurring monitor, failure and recovery, move, stop."""

import time

from lab import configuration
from lab.report import expect
from lab.waiting import until

from . import steps

TITLE = "Dummy resources start, are monitored, recover, move and stop"
MEMBERS = 1
FENCED = []

RECOVERY_LIMIT_SECONDS = 30
# What any OCF agent may rely on for a recurring monitor.
MONITOR_ENVIRONMENT = {
    "OCF_ROOT": "/usr/lib/ocf", "OCF_RESOURCE_INSTANCE": "d1", "OCF_RESOURCE_TYPE": "Dummy", "OCF_RESOURCE_PROVIDER": "pacemaker",
    "OCF_RESKEY_CRM_meta_interval": "1000", "OCF_RESKEY_CRM_meta_timeout": "20000", "OCF_RESKEY_CRM_meta_on_node": "r1",
    "OCF_RESKEY_state": "/run/d1.state", "OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "1",
    "OCF_EXIT_REASON_PREFIX": "ocf-exit-reason:", "PCMK_service": "pacemaker-remoted", "HA_LOGFILE": "/var/log/pacemaker/pacemaker.log",
}


def run(cluster, report):
    with report.check("both agents of that name start where they prefer to"):
        steps.have_dummies(cluster)
    with report.check("d1 was probed before it was started"):
        first = [action for action, _ in steps.calls(cluster, "r1", "d1")[:2]]
        expect(first == ["monitor", "start"], f"the agent's first calls on r1: {first}")
        elsewhere = [action for action, _ in steps.calls(cluster, "r2", "d1")]
        expect(elsewhere == ["monitor"], f"the agent's calls on r2: {elsewhere}, expected one probe")
    with report.check("its monitor recurs each second, with an agent's environment"):
        recurring_monitor(cluster)
    for resource, (home, _) in steps.DUMMIES.items():
        with report.check(f"a failure of {resource} on {home} is seen and recovered"):
            fail_and_recover(cluster, resource, home)
    for place in ("r2", "r1"):
        with report.check(f"d1 moves to {place}"):
            cluster.configure(constraints=[configuration.location("d1", place, 1000), configuration.location("d1", other(place), 0)])
            steps.await_placed(cluster, {"d1": place})
    with report.check("d1 and d2 stop, and d1's monitor with it"):
        stop(cluster)
    with report.check("they start again"):
        cluster.set_meta("d1", "target-role", "Started")
        cluster.set_meta("d2", "target-role", "Started")
        steps.await_placed(cluster, {"d1": "r1", "d2": "r2"})
    cluster.configure(constraints=[configuration.location("d1", "r1", 100)])


def other(place):
    return "r1" if place == "r2" else "r2"


def recurring_monitor(cluster):
    begun = time.monotonic()
    further = steps.await_calls(cluster, "r1", "d1", 4, 10)
    took = time.monotonic() - begun
    # The first of four may come at once, so four take at least three intervals, less the clock's grain.
    expect(took > 2.5, f"four monitors within {took:.2f} s, with an interval of one second")
    expect({action for action, _ in further} == {"monitor"}, f"calls: {[action for action, _ in further]}")
    lines = set(further[0][1].splitlines())
    missing = [f"{name}={value}" for name, value in MONITOR_ENVIRONMENT.items() if f"{name}={value}" not in lines]
    expect(not missing, f"not in the monitor's environment: {', '.join(missing)}")


def fail_and_recover(cluster, resource, home):
    node = cluster.remotes[home].node
    node.remove(steps.state_file(resource))
    until(f"{resource}'s agent started again on {home}", lambda: node.exists(steps.state_file(resource)), RECOVERY_LIMIT_SECONDS)
    steps.await_placed(cluster, {resource: home})
    failures = cluster.failures(resource, home)
    expect(failures == 1, f"the cluster counts {failures} failures of {resource} on {home}, expected 1")
    cluster.cleanup(resource)
    steps.await_placed(cluster, {resource: home})


def stop(cluster):
    cluster.set_meta("d1", "target-role", "Stopped")
    cluster.set_meta("d2", "target-role", "Stopped")
    cluster.await_status("d1 and d2 stopped", lambda status: status.stopped("d1") and status.stopped("d2"), steps.PLACED_LIMIT_SECONDS)
    for resource in steps.DUMMIES:
        expect(not steps.running_on(cluster, resource), f"the cluster says {resource} is stopped, its state file is still there")
    before = len(steps.calls(cluster, "r1", "d1"))
    time.sleep(2.5 * steps.MONITOR_INTERVAL_SECONDS)
    after = [action for action, _ in steps.calls(cluster, "r1", "d1")[before:]]
    expect(not after, f"the agent was called after the stop: {after}")
