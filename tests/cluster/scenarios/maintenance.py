"""Maintenance of a remote: the cluster leaves its resources alone, and so does a daemon that is stopped meanwhile."""

import signal
import time

from lab.report import expect
from lab.waiting import until

from . import journal, steps

TITLE = "maintenance"
MEMBERS = 1
FENCED = []

EXIT_LIMIT_SECONDS = 10
QUIET_SECONDS = 3
LOG = "/var/log/pacemaker/pacemaker.log"
# The cluster's answer to the daemon's wish to go: the only one that lets it go with resources on its node.
REFUSED = "IPC proxy provider indicated no resources will be stopped"


def run(cluster, report):
    journal.have(cluster, {"j4": "r1"})
    remote = cluster.remotes["r1"]
    with report.check("in maintenance j4 is neither monitored nor recovered"):
        cluster.set_node_attribute("r1", "maintenance", "true")
        await_managed(cluster, "false")
        before = len(journal.calls(cluster, "r1", "j4"))
        remote.node.remove(steps.state_file("j4"))
        time.sleep(QUIET_SECONDS)
        after = journal.calls(cluster, "r1", "j4")[before:]
        expect(not after, f"calls of the agent: {after}")
    with report.check("afterwards it is monitored again, and recovered"):
        cluster.set_node_attribute("r1", "maintenance", "false")
        await_managed(cluster, "true")
        cluster.await_status("j4's failure", lambda status: status.failures, 20)
        steps.await_placed(cluster, {"j4": "r1"})
        cluster.cleanup("j4")
        steps.await_placed(cluster, {"j4": "r1"})
        journal.await_monitors(cluster, "r1", "j4", 2)
    with report.check("after SIGTERM in maintenance the daemon exits with 0 at once, j4 runs on"):
        cluster.set_node_attribute("r1", "maintenance", "true")
        await_managed(cluster, "false")
        changes = journal.changes(cluster, "r1", "j4")
        refusals = remote.node.read(LOG).count(REFUSED)
        remote.daemon.signal(signal.SIGTERM)
        code = remote.daemon.exit_code(EXIT_LIMIT_SECONDS)
        expect(code == 0, f"exit code {code}" if code is not None else f"still running after {EXIT_LIMIT_SECONDS} s")
        expect(remote.node.exists(steps.state_file("j4")), "j4 was stopped")
        # Written by another process, which outlives the daemon.
        until("the log says that the cluster lets the resource be", lambda: remote.node.read(LOG).count(REFUSED) == refusals + 1, EXIT_LIMIT_SECONDS)
    with report.check("started again and out of maintenance, r1 has j4 as it was"):
        remote.start()
        steps.await_connection(cluster, "r1")
        steps.await_online(cluster, "r1")
        cluster.set_node_attribute("r1", "maintenance", "false")
        await_managed(cluster, "true")
        steps.await_placed(cluster, {"j4": "r1"})
        journal.await_monitors(cluster, "r1", "j4", 2)
        seen = journal.changes(cluster, "r1", "j4")
        expect(seen == changes, f"calls of the agent: {seen}, before: {changes}")
    cluster.delete_resource("j4")


def await_managed(cluster, value):
    """Waits until the cluster says so of j4, and has done what it means."""
    cluster.await_status(f"j4 managed: {value}", lambda status: status.resources["j4"]["managed"] == value, 20)
    cluster.settle()
