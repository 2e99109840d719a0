"""Alerts. A cluster's controllers ask the executor of their own node for them, never a remote's: what a real one was asked
for is asked of both remotes, as a controller would, and each variable has to arrive as it does on the cluster node."""

import json
import shlex
from pathlib import Path
from xml.sax.saxutils import quoteattr

from lab import configuration
from lab.cluster import AUTHKEY
from lab.report import expect
from lab.waiting import until
from lab.rundir import CHECKOUT

from . import steps

TITLE = "alerts, beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True
SINCE = (3, 0, 0)

LAB = Path(__file__).parents[1] / "lab"
AGENT = "/usr/local/bin/lab alert"
CALLS = "/run/alerts"
CLIENT = CHECKOUT / "tests/bench/inside/gnutls_client.py"
RECIPIENT = "who ever & <whoever>"
KINDS = {"attribute", "fencing", "node", "resource"}
# Attributes only if asked for, and then the others as well.
SELECT = f'<select>{"".join(f"<select_{kind}/>" for kind in ("attributes", "fencing", "nodes", "resources"))}</select>'
ALERT_LIMIT_SECONDS = 40
# What the daemon adds, and what 2.x has under its old name as well.
COUNTERS = ("CRM_alert_node_sequence", "CRM_notify_node_sequence")
# By these names as well pacelet tells where the log is, if it is set by the others; stock only if it is set by neither.
ALSO = {"HA_logfacility", "HA_logfile"}


def run(cluster, report):
    for node in (cluster.node, *(remote.node for remote in cluster.remotes.values())):
        node.write(AGENT, (LAB / "alert_record").read_text(), 0o755)
        node.run(["install", "-d", "-o", "hacluster", "-g", "haclient", CALLS])
    with report.check(f"the cluster tells its own node of {', '.join(sorted(KINDS))}"):
        asked = events(cluster)
    with report.check("it asks no remote to do so"):
        seen = {remote: calls(cluster, remote) for remote in cluster.remotes}
        expect(not any(seen.values()), f"they were told {seen}")
    cluster.delete_resource("a1")
    # A controller takes another client for its successor, and lets go of the remote.
    connect(cluster, "Stopped")
    cluster.await_status("both connections stopped", lambda status: all(status.stopped(name) for name in cluster.remotes), ALERT_LIMIT_SECONDS)
    with report.check(f"{len(asked)} alerts, asked of both remotes: each variable arrives as on the cluster node"):
        for remote in cluster.remotes:
            ask(cluster, remote, [(AGENT, told(call)) for call in asked])
        found = {remote: await_calls(cluster, remote, len(asked)) for remote in cluster.remotes}
        for number, call in enumerate(asked):
            for remote in cluster.remotes:
                expect(told(found[remote][number]) == told(call), f"{remote} was told {told(found[remote][number])}, c1 {told(call)}")
    with report.check("they count them, and run them as hacluster, whose group is haclient, and in no other group"):
        for remote in cluster.remotes:
            counts = [[call.get(name) for call in found[remote]] for name in COUNTERS]
            numbers = [str(number + 1) for number in range(len(asked))]
            expect(counts[0] == numbers, f"{remote} counts {counts[0]}")
            expect(counts[1] == [number if "CRM_notify_kind" in call else None for number, call in zip(numbers, asked)], f"{remote} counts {counts[1]}")
            ids = cluster.machine(remote).run(["sh", "-c", "echo $(id -u hacluster):$(id -g hacluster) $(id -g hacluster)"]).stdout.strip()
            seen = {call["ids"] for call in found[remote]}
            expect(seen == {ids}, f"{remote} ran them as {seen}, hacluster is {ids}")
    with report.check("the rest of their environment is that of stock's"):
        names = {remote: set().union(*found[remote]) - ALSO for remote in cluster.remotes}
        only = {remote: ", ".join(sorted(names[remote] - names[other])) for remote, other in (("r1", "r2"), ("r2", "r1"))}
        expect(not any(only.values()), f"on one of the remotes only: {only}")
    with report.check("agents that are missing, fail or cannot be run disturb nobody"):
        bad = ("/nonexistent/alert", "/bin/false", "/etc/hostname")
        for remote in cluster.remotes:
            ask(cluster, remote, [*((path, {"CRM_alert_kind": "node"}) for path in bad), (AGENT, {"CRM_alert_kind": "last"})])
            last = await_calls(cluster, remote, len(asked) + 1)[-1]
            expect(last["CRM_alert_kind"] == "last", f"{remote} was told {last}")
    connect(cluster, "Started")
    steps.await_online(cluster, *cluster.remotes)


def connect(cluster, role):
    """Has the connections to both remotes in that role."""
    for name in cluster.remotes:
        cluster.set_meta(name, "target-role", role)


def events(cluster):
    """Has the cluster see something of each kind, and returns the calls of the agent on the cluster node."""
    cluster.configure(
        [configuration.dummy("a1", "pacemaker", {"state": steps.state_file("a1"), "fake": RECIPIENT}, "1s")], configuration.prefers("a1", "r1"),
        [f'<alert id="a1-alert" path={json.dumps(AGENT)}>{SELECT}<recipient id="a1-recipient" value={quoteattr(RECIPIENT)}/></alert>'])
    steps.await_placed(cluster, {"a1": "r1"})
    cluster.machine("r1").remove(steps.state_file("a1"))
    until("a1 has failed", lambda: cluster.failures("a1", "r1") == 1, ALERT_LIMIT_SECONDS, 0.3)
    steps.await_placed(cluster, {"a1": "r1"})
    cluster.set_node_attribute("r1", "lab colour", "blue & \"green\"\n", "reboot")
    cluster.node.run(["stonith_admin", "--reboot", "nowhere", "--timeout", "2"], check=False)
    cluster.set_meta("r2", "target-role", "Stopped")
    cluster.await_status("the connection to r2 stopped", lambda status: status.stopped("r2"), ALERT_LIMIT_SECONDS)
    cluster.set_meta("r2", "target-role", "Started")
    steps.await_online(cluster, *cluster.remotes)
    until("the cluster node is told of each kind", lambda: {call["CRM_alert_kind"] for call in calls(cluster, "c1")} >= KINDS, ALERT_LIMIT_SECONDS, 0.3)
    cluster.settle()
    # No more of them while what came is asked of others.
    cluster.node.run(["cibadmin", "--delete-all", "--force", "--xpath=//alert[@id='a1-alert']"])
    return calls(cluster, "c1")


def calls(cluster, node):
    """The calls so far, in the daemon's order: a list of the agent's environment."""
    place = Path(f"{cluster.machine(node).root}{CALLS}")
    files = sorted(place.glob("*.call"), key=lambda file: int(file.stem))
    return [dict(pair.split("=", 1) for pair in file.read_text().split("\0") if pair) for file in files]


def await_calls(cluster, node, count):
    return until(f"{count} alerts on {node}", lambda: len(found := calls(cluster, node)) >= count and found, ALERT_LIMIT_SECONDS)


def told(call):
    """What the cluster has told the agent."""
    return {name: value for name, value in call.items() if name.startswith("CRM_") and name not in COUNTERS}


def ask(cluster, remote, alerts):
    """Asks a remote for alerts, as a controller would: pairs of an agent and its variables."""
    text = CLIENT.read_text() + (LAB / "alert_client.py").read_text()
    words = ["127.0.0.1", "3121", AUTHKEY, json.dumps(alerts)]
    done = cluster.machine(remote).run(["python3", "-", *words], input=text)
    codes = json.loads(done.stdout)
    expect(set(codes) == {"0"}, f"{remote} answered {shlex.join(codes)}")
