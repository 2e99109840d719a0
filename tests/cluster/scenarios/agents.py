"""Agents that use Pacemaker's tools, on both remotes: who is promoted, and what is known of each."""

from lab import configuration
from lab.waiting import until

from . import steps

TITLE = "agents that set node attributes, beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True

ROLES_LIMIT_SECONDS = 60
ATTRIBUTE_LIMIT_SECONDS = 20
# What ocf:pacemaker:Stateful wants for itself in each role.
SCORES = {"Promoted": "10", "Unpromoted": "5"}
# In the place of a program that the roots have not: whether a host is reached says a file.
PING = '#!/bin/sh\nfor host; do :; done\n[ -e "/run/reached-$host" ]\n'
HOSTS = ("10.77.0.1", "127.0.0.1")
MULTIPLIER = 100


def run(cluster, report):
    # One instance starts after the other (`ordered`). A controller asks an agent for its metadata before each start, and
    # with libqb before 2.0.7 the end of that process breaks off what it does for a tool just then: the session is
    # destroyed, the agent's score lost. Seen with pacelet and the stock daemon alike, with 1 of 60 tools during starts.
    cluster.configure([clone("stateful", promotable("Stateful", {"state": "/run/stateful.state"}), promotable="true", ordered="true")],
                      [configuration.on_remotes("stateful-clone")])
    try_promotion(cluster, report)
    for remote in cluster.remotes.values():
        remote.node.write("/usr/bin/ping", PING, 0o755)
    reach(cluster, *HOSTS)
    parameters = {"host_list": " ".join(HOSTS), "multiplier": MULTIPLIER, "dampen": "0s", "attempts": 1, "name": "reaches"}
    ping = configuration.primitive("ping", "pacemaker", "ping", parameters, "1s")
    cluster.configure([clone("ping", ping, ordered="true")], [configuration.on_remotes("ping-clone")])
    for count, hosts in ((2, HOSTS), (1, HOSTS[1:]), (0, ()), (2, HOSTS)):
        with report.check(f"ocf:pacemaker:ping reaches {count} hosts from each remote, and their attribute says so"):
            reach(cluster, *hosts)
            for name in cluster.remotes:
                await_attribute(cluster, name, "reaches", str(count * MULTIPLIER))
    for resource in ("stateful", "ping"):
        cluster.set_meta(f"{resource}-clone", "target-role", "Stopped")
    until("both clones stopped", lambda: not roles(cluster, "stateful") and not roles(cluster, "ping"), ROLES_LIMIT_SECONDS, 0.3)
    for resource in ("stateful", "ping"):
        cluster.node.run(["cibadmin", "--delete-all", "--force", f"--xpath=//rsc_location[@rsc='{resource}-clone']"])
        cluster.node.run(["cibadmin", "--delete-all", "--force", f"--xpath=//clone[@id='{resource}-clone']"])


def try_promotion(cluster, report):
    """Each remote is promoted once, and makes way once."""
    with report.check("ocf:pacemaker:Stateful runs on both remotes, and is promoted on one"):
        first = await_promoted(cluster, cluster.remotes)
        second = next(name for name in cluster.remotes if name != first)
        await_scores(cluster, first, second)
    for leaves, follows in ((first, second), (second, first)):
        with report.check(f"with {leaves} in standby, {follows} is promoted"):
            cluster.set_node_attribute(leaves, "standby", "on")
            await_promoted(cluster, [follows])
        with report.check(f"{leaves} comes back unpromoted"):
            cluster.set_node_attribute(leaves, "standby", "off")
            until(f"{leaves} unpromoted", lambda: roles(cluster, "stateful") == {follows: "Promoted", leaves: "Unpromoted"}, ROLES_LIMIT_SECONDS, 0.3)
            await_scores(cluster, follows, leaves)
    with report.check(f"when it fails on {first}, it is started again, and one of both is promoted"):
        cluster.remotes[first].node.remove("/run/stateful.state")
        until(f"the failure on {first} is seen", lambda: cluster.failures("stateful", first), ROLES_LIMIT_SECONDS, 0.3)
        cluster.settle()
        until(f"{first} recovered", lambda: set(roles(cluster, "stateful")) == set(cluster.remotes) and promoted(cluster), ROLES_LIMIT_SECONDS, 0.3)
        cluster.cleanup("stateful")
        leader = await_promoted(cluster, cluster.remotes)
        await_scores(cluster, leader, next(name for name in cluster.remotes if name != leader))


def promotable(kind, parameters):
    """An agent with monitors of both roles."""
    pairs = "".join(configuration.nvpair(kind, key, value) for key, value in parameters.items())
    monitors = "".join(f'<op id="{kind}-monitor-{role}" name="monitor" interval="{interval}s" timeout="20s" role="{role}"/>'
                       for interval, role in ((1, "Master"), (2, "Slave")))
    return (f'<primitive id="stateful" class="ocf" provider="pacemaker" type="{kind}"><instance_attributes id="{kind}-p">{pairs}'
            f'</instance_attributes><operations>{monitors}</operations></primitive>')


def clone(name, primitive, **meta):
    pairs = "".join(configuration.nvpair(f"{name}-clone", key, value) for key, value in meta.items())
    return f'<clone id="{name}-clone"><meta_attributes id="{name}-clone-m">{pairs}</meta_attributes>{primitive}</clone>'


def roles(cluster, resource):
    """The role of each running instance of a clone, by node."""
    return {node: {"Master": "Promoted", "Slave": "Unpromoted"}.get(role, role) for node, role in cluster.instances(resource)}


def promoted(cluster):
    return [node for node, role in roles(cluster, "stateful").items() if role == "Promoted"]


def await_promoted(cluster, among):
    """Waits until one of these nodes is promoted, and returns it."""
    return until(f"promoted on one of {', '.join(among)}", lambda: [node for node in promoted(cluster) if node in among], ROLES_LIMIT_SECONDS, 0.3)[0]


def await_scores(cluster, leader, follower):
    """Waits until both have the scores that their roles want."""
    def scores():
        return [cluster.node_attribute(node, "master-stateful", "reboot") for node in (leader, follower)]

    wanted = list(SCORES.values())
    until(f"{leader} alone is promoted, with a score of {wanted[0]}, {follower} with one of {wanted[1]}",
          lambda: scores() == wanted and promoted(cluster) == [leader], ROLES_LIMIT_SECONDS, 0.3)


def await_attribute(cluster, node, name, value):
    until(f"{name} of {node} is {value}", lambda: cluster.node_attribute(node, name, "reboot") == value, ATTRIBUTE_LIMIT_SECONDS, 0.3)


def reach(cluster, *hosts):
    """Has both remotes reach these hosts, and no others."""
    for remote in cluster.remotes.values():
        remote.node.run(["sh", "-c", "rm -f /run/reached-*; for host; do : >/run/reached-$host; done", "sh", *hosts])
