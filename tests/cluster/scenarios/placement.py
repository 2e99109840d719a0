"""What moves a resource from one remote to the other and back: a location rule, an administrator, standby."""

from lab import configuration
from lab.report import expect

from . import journal, steps

TITLE = "location rule, move, standby"
MEMBERS = 1
FENCED = []


def run(cluster, report):
    journal.have(cluster, {"j1": "r1"})
    with report.check("by a rule j1 goes where a node attribute says"):
        cluster.set_node_attribute("r2", "rack", "a")
        cluster.configure(constraints=[configuration.ruled("j1", "rack", 1000, "rack", "a")])
        steps.await_placed(cluster, {"j1": "r2"})
    with report.check("and back when the attribute changes"):
        cluster.set_node_attribute("r2", "rack", "b")
        steps.await_placed(cluster, {"j1": "r1"})
    with report.check("crm_resource --move takes j1 to r2, --clear lets it go back"):
        cluster.move("j1", "r2")
        steps.await_placed(cluster, {"j1": "r2"})
        cluster.unmove("j1")
        steps.await_placed(cluster, {"j1": "r1"})
    with report.check("with r1 in standby j1 is on r2, and back afterwards"):
        cluster.set_node_attribute("r1", "standby", "on")
        steps.await_placed(cluster, {"j1": "r2"})
        cluster.set_node_attribute("r1", "standby", "off")
        steps.await_placed(cluster, {"j1": "r1"})
    with report.check("each of the six ways was one stop and one start"):
        seen = {remote: journal.changes(cluster, remote, "j1") for remote in cluster.remotes}
        expect(seen == {"r1": ["start"] + ["stop", "start"] * 3, "r2": ["start", "stop"] * 3}, f"calls of the agent: {seen}")
    cluster.delete_resource("j1")
