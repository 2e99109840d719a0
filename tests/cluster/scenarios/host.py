"""The cluster node that holds the connection to r1 crashes: it is fenced, the remote is not, and its resource runs on."""

from lab.report import expect
from lab.waiting import until

from . import journal, migration, steps

TITLE = "crash of the hosting cluster node"
MEMBERS = 2
FENCED = [("reboot", "c1")]

FENCE_LIMIT_SECONDS = 60
# The first release whose controller asks the daemon how long it is up before it forgets them.
KEEP_ATTRIBUTES = (2, 1, 6)


def run(cluster, report):
    migration.host(cluster, "c1")
    journal.have(cluster, {"j8": "r1"})
    cluster.set_node_attribute("r1", "shade", "blue", "reboot")
    with report.check("after the crash of c1 the connection to r1 is on c2"):
        before = cluster.fenced()
        cluster.members["c1"].crash()
        until("c1 is fenced", lambda: cluster.fenced() != before, FENCE_LIMIT_SECONDS)
        migration.await_host(cluster, "c2")
        steps.await_placed(cluster, {"j8": "r1"})
    with report.check("j8 was neither stopped nor started, and is monitored"):
        journal.await_monitors(cluster, "r1", "j8", 3)
        seen = journal.changes(cluster, "r1", "j8")
        expect(seen == ["start"], f"calls of the agent: {seen}")
        migration.in_order(journal.calls(cluster, "r1", "j8")[:-1])
    kept = cluster.release >= KEEP_ATTRIBUTES
    with report.check(f"r1 {'keeps' if kept else 'loses, as with any daemon of that release,'} its node attribute"):
        shade = cluster.node_attribute("r1", "shade", "reboot")
        expect(shade == ("blue" if kept else ""), f"it is {shade!r}")
    with report.check("c1 comes back"):
        cluster.start_members(cluster.members["c1"])
        migration.await_host(cluster, "c1")
        steps.await_placed(cluster, {"j8": "r1"})
    cluster.delete_resource("j8")
    cluster.unconstrain("loc-r1-c1")
