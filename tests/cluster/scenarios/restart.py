"""kill -9, and the daemon is back within 3 s: the node has been fenced all the same, and begins anew.

So does a node with the stock daemon: a lost connection to a remote is reason enough.
"""

import time

from lab.report import expect

from . import journal, steps

TITLE = "kill -9 and back within 3 s"
MEMBERS = 1
FENCED = [("reboot", "r1")]

BACK_LIMIT_SECONDS = 3


def run(cluster, report):
    journal.have(cluster, {"j5": "r1", "j6": "r2"})
    remote = cluster.remotes["r1"]
    cluster.set_node_attribute("r1", "shade", "blue", "reboot")
    with report.check("after kill -9 and restart the cluster reconnects to r1"):
        before = {resource: len(journal.calls(cluster, "r1", resource)) for resource in ("j5", "j6")}
        begun = time.monotonic()
        remote.daemon.kill()
        # The fence agent only records; what a power cycle does to the node is done here.
        remote.node.remove(steps.state_file("j5"))
        remote.start()
        took = time.monotonic() - begun
        expect(took < BACK_LIMIT_SECONDS, f"the daemon was back only after {took:.1f} s")
        steps.await_connection(cluster, "r1")
        steps.await_online(cluster, "r1")
        steps.await_placed(cluster, {"j5": "r1", "j6": "r2"})
    with report.check("each resource was probed there before anything else"):
        first = {resource: journal.calls(cluster, "r1", resource)[count:][:1] for resource, count in before.items()}
        kinds = {resource: [(call.action, call.interval) for call in found] for resource, found in first.items()}
        expect(kinds == {"j5": [("monitor", 0)], "j6": [("monitor", 0)]}, f"first calls: {kinds}")
    with report.check("j5 was started once more and is monitored"):
        seen = journal.changes(cluster, "r1", "j5")
        expect(seen == ["start", "start"], f"calls of the agent: {seen}")
        journal.await_monitors(cluster, "r1", "j5", 2)
    with report.check("r1's node attribute is gone"):
        shade = cluster.node_attribute("r1", "shade", "reboot")
        expect(not shade, f"it is still {shade!r}")
    cluster.delete_resource("j5")
    cluster.delete_resource("j6")
    cluster.cleanup("r1")
    steps.await_online(cluster, "r1", "r2")
