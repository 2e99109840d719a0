"""kill -9: the cluster fences the node once, recovers its resource, and takes the node back.

Here a cluster with the stock daemon fences as well.
"""

from lab.waiting import until

from . import steps

TITLE = "kill -9"
MEMBERS = 1
FENCED = [("reboot", "r1")]

FENCE_LIMIT_SECONDS = 30


def run(cluster, report):
    steps.have_dummies(cluster)
    remote = cluster.remotes["r1"]
    before = cluster.fenced()
    with report.check("r1 is fenced after kill -9, and d1 is recovered on r2"):
        remote.daemon.kill()
        # The fence agent only records; what a power cycle does to the node is done here.
        remote.node.remove(steps.state_file("d1"))
        until("r1 is fenced", lambda: cluster.fenced() != before, FENCE_LIMIT_SECONDS)
        steps.await_placed(cluster, {"d1": "r2", "d2": "r2"})
    with report.check("started again, r1 is back online and gets d1 back"):
        remote.start()
        steps.await_connection(cluster, "r1")
        steps.await_placed(cluster, {"d1": "r1", "d2": "r2"})
