"""kill -9 and an immediate restart, in a cluster without fencing: the cluster reconnects and finds d1 running.

With fencing on, a cluster fences such a node at once, however fast the daemon is back (scenario `crash`).
"""

from lab.report import expect

from . import steps

TITLE = "kill -9 and restart, without fencing"


def run(cluster, report):
    steps.have_dummies(cluster)
    cluster.set_property("stonith-enabled", "false")
    # With this parameter the cluster would wait, and meanwhile take d1 for stopped.
    interval = cluster.take_parameter("r1", "reconnect_interval")
    remote = cluster.remotes["r1"]
    with report.check("after kill -9 and restart the cluster reconnects to r1"):
        identity = started_at(remote.node)
        remote.daemon.kill()
        remote.start()
        steps.await_connection(cluster, "r1")
        steps.await_online(cluster, "r1")
    with report.check("d1 runs on, found by a probe, neither stopped nor started again"):
        steps.await_placed(cluster, {"d1": "r1", "d2": "r2"})
        expect(started_at(remote.node) == identity, "d1's state file is a new one")
    with report.check("its recurring monitor runs again"):
        further = steps.await_calls(cluster, "r1", "d1", 3, 10)
        expect({action for action, _ in further} == {"monitor"}, f"calls: {[action for action, _ in further]}")
    with report.check("nobody was fenced"):
        steps.nobody_fenced(cluster)
    cluster.set_parameter("r1", "reconnect_interval", interval)
    cluster.cleanup("r1")
    cluster.set_property("stonith-enabled", "true")
    steps.await_online(cluster, "r1", "r2")


def started_at(node):
    """Identity of d1's state file."""
    status = node.stat(steps.state_file("d1"))
    return status.st_ino, status.st_ctime_ns
