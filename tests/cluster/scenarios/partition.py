"""r1 is cut off the network for 30 s: it is fenced once and its resource recovered; then the cluster takes it back."""

import time

from lab.report import expect
from lab.waiting import until

from . import journal, steps

TITLE = "a partition of 30 s"
MEMBERS = 1
FENCED = [("reboot", "r1")]

CUT_SECONDS = 30
BACK_LIMIT_SECONDS = 90
# Either end's kernel tries again after twice the time that it waited before: at most as long as the cut was, and more.
OLD_CONNECTION_LIMIT_SECONDS = 65


def run(cluster, report):
    journal.have(cluster, {"j7": "r1"})
    remote = cluster.remotes["r1"]
    with report.check("r1 is fenced, and j7 recovered on r2"):
        begun = time.monotonic()
        before = cluster.fenced()
        cluster.cut("r1")
        until("r1 is fenced", lambda: cluster.fenced() != before, CUT_SECONDS)
        # The fence agent only records; what a power cycle does to the node is done here, except for the daemon.
        remote.node.remove(steps.state_file("j7"))
        steps.await_placed(cluster, {"j7": "r2"})
    with report.check("with the network back r1 comes online and gets j7 back"):
        time.sleep(max(0, begun + CUT_SECONDS - time.monotonic()))
        cluster.mend("r1")
        cluster.await_status("r1 online", lambda status: status.online("r1"), BACK_LIMIT_SECONDS)
        steps.await_placed(cluster, {"j7": "r1"}, BACK_LIMIT_SECONDS)
    with report.check("the daemon has one connection, j7 one monitor a second"):
        found = journal.await_monitors(cluster, "r1", "j7", 5)
        gaps = [later.begun - earlier.begun for earlier, later in zip(found, found[1:])]
        expect(min(gaps) > 0.5, f"seconds between monitors: {gaps}")
        # The old one ends when one end tells the other again what was lost.
        until("one connection is left", lambda: len(steps.peer_addresses(remote.node)) == 1, OLD_CONNECTION_LIMIT_SECONDS)
    cluster.delete_resource("j7")
    cluster.cleanup("r1")
    steps.await_online(cluster, "r1", "r2")
