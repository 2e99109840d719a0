"""A fence device that wants nodes to be switched on: remotes are, before anything is started on them."""

from lab import configuration
from lab.report import expect
from lab.waiting import until

from . import journal, steps

TITLE = "unfencing, beside the stock daemon"
MEMBERS = 1
FENCED = [("reboot", "r1")]
BESIDE_STOCK = True
SINCE = (3, 0, 0)

UNFENCE_LIMIT_SECONDS = 60
HOMES = {"j21": "r1", "j22": "r2"}


def run(cluster, report):
    names = " ".join([*cluster.members, *cluster.remotes])
    device = configuration.fence_device(names, "unfencing", configuration.UNFENCE_AGENT, {"provides": "unfencing"})
    with report.check("with such a device, both remotes are unfenced before their resources start"):
        cluster.configure([device])
        journal.have(cluster, HOMES)
        for resource, home in HOMES.items():
            in_order(cluster, resource, home, times=1)
    with report.check("r1, fenced after kill -9, is unfenced again before its resource starts there"):
        before = cluster.fenced()
        cluster.remotes["r1"].daemon.kill()
        cluster.remotes["r1"].node.remove(steps.state_file("j21"))
        until("r1 is fenced", lambda: cluster.fenced() != before, UNFENCE_LIMIT_SECONDS)
        steps.await_placed(cluster, {"j21": "r2"})
        cluster.remotes["r1"].start()
        steps.await_connection(cluster, "r1")
        steps.await_placed(cluster, {"j21": "r1"})
        in_order(cluster, "j21", "r1", times=2)
    with report.check("r2 was unfenced once"):
        seen = [node for node, _ in cluster.unfenced()]
        expect(seen.count("r2") == 1, f"unfenced were: {seen}")
    for resource in HOMES:
        cluster.delete_resource(resource)
    cluster.delete_resource("unfencing")


def in_order(cluster, resource, node, times):
    """Holds that a resource was started so often on a node, which was unfenced before each time."""
    unfenced = [moment for name, moment in cluster.unfenced() if name == node]
    starts = [call.begun for call in journal.calls(cluster, node, resource) if call.action == "start"]
    between = zip([0, *starts], starts)
    expect(len(starts) == times and all(any(before <= moment <= start for moment in unfenced) for before, start in between),
           f"{node} was unfenced at {unfenced}, {resource} started at {starts}")
