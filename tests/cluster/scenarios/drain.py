"""SIGTERM: the daemon asks the cluster to move everything away, stays until that is done, and exits 0."""

import signal
import time

from lab import configuration
from lab.report import expect

from . import steps

TITLE = "SIGTERM drains first"
MEMBERS = 1
FENCED = []

DRAIN_LIMIT_SECONDS = 60
SLOW = "d3"
# How long d3's agent takes for each action: the daemon has to wait for its stop.
SLEEP_SECONDS = 2


def run(cluster, report):
    steps.have_dummies(cluster)
    remote = cluster.remotes["r1"]
    cluster.configure([steps.definition(SLOW, "pacemaker", op_sleep=SLEEP_SECONDS)], configuration.prefers(SLOW, "r1"))
    steps.await_placed(cluster, {SLOW: "r1"})
    with report.check("after SIGTERM the daemon exits with 0, its resources stopped before that"):
        begun = time.monotonic()
        remote.daemon.signal(signal.SIGTERM)
        code = remote.daemon.exit_code(DRAIN_LIMIT_SECONDS)
        # At once: these must have been true before the exit.
        left = [resource for resource in ("d1", SLOW) if remote.node.exists(steps.state_file(resource))]
        last = {resource: steps.calls(cluster, "r1", resource)[-1][0] for resource in ("d1", SLOW)}
        expect(code == 0, f"exit code {code} after {time.monotonic() - begun:.1f} s" if code is not None else f"still running {DRAIN_LIMIT_SECONDS} s after SIGTERM")
        expect(not left, f"the daemon exited while {', '.join(left)} ran on its node")
        expect(set(last.values()) == {"stop"}, f"last calls of the agents: {last}")
    with report.check("its resources run on r2"):
        steps.await_placed(cluster, {"d1": "r2", SLOW: "r2", "d2": "r2"})
    with report.check("r1 is clean"):
        expect(cluster.status().nodes["r1"]["unclean"] == "false", "r1 is unclean")
    with report.check("started again, r1 is back online and gets its resources back"):
        remote.start()
        steps.await_connection(cluster, "r1")
        steps.await_placed(cluster, {"d1": "r1", SLOW: "r1", "d2": "r2"})
    cluster.delete_resource(SLOW)
