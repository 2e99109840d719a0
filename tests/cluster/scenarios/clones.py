"""A clone and a promotable clone on the cluster node and both remotes: who is told what of whom, and who is promoted."""

from lab import configuration
from lab.report import expect
from lab.waiting import until

from . import journal

TITLE = "clones over cluster nodes and remotes, beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True
SINCE = (3, 0, 0)

PLAIN, PROMOTABLE = "j31", "j32"
NODES = ("c1", "r1", "r2")
ROLES_LIMIT_SECONDS = 60
NAMES = {"Master": "Promoted", "Slave": "Unpromoted"}
# What is an instance's own. Of these an agent is told the node's.
OWN = ("OCF_RESKEY_CRM_meta_on_node", "OCF_RESKEY_CRM_meta_on_node_uuid", "OCF_RESKEY_CRM_meta_clone")
SCORES = {"r1": 300, "r2": 200, "c1": 100}
PROMOTED = {"r1": "Promoted", "r2": "Unpromoted", "c1": "Unpromoted"}


def run(cluster, report):
    cluster.configure([clone(PLAIN), clone(PROMOTABLE, promotable="true")],
                      [*(wish(node, score) for node, score in SCORES.items()), *(everywhere(resource) for resource in (PLAIN, PROMOTABLE))])
    with report.check("an instance of both runs on the cluster node and each remote, and r1's is promoted"):
        await_roles(cluster, PLAIN, dict.fromkeys(NODES, "Started"))
        await_roles(cluster, PROMOTABLE, PROMOTED)
        seen = {node: journal.changes(cluster, node, PROMOTABLE) for node in NODES}
        expect(seen == {"r1": ["start", "promote"], "r2": ["start"], "c1": ["start"]}, f"calls of the agent: {seen}")
    with report.check("each was told that all of them were started"):
        for resource in (PLAIN, PROMOTABLE):
            hold_alike(cluster, resource, dict.fromkeys(NODES, 0), [("post", "start")] if resource == PLAIN else None)
    with report.check("they are monitored: the promoted one as such"):
        for node in NODES:
            found = journal.await_monitors(cluster, node, PROMOTABLE, 2)
            codes = {call.code for call in found if call.interval and call.code is not None}
            expect(codes == {8 if node == "r1" else 0}, f"results on {node}: {codes}")
    for leader in ("r2", "c1", "r1"):
        with report.check(f"{leader} is promoted instead, and all are told the same before and after"):
            before = {node: len(told(cluster, PROMOTABLE, node)) for node in NODES}
            cluster.configure(constraints=[wish(node, 1000 if node == leader else SCORES[node]) for node in NODES])
            await_roles(cluster, PROMOTABLE, {node: "Promoted" if node == leader else "Unpromoted" for node in NODES})
            hold_alike(cluster, PROMOTABLE, before, [("pre", "demote"), ("post", "demote"), ("pre", "promote"), ("post", "promote")])
    for leader, follows in (("r1", "r2"), ("r2", "c1")):
        with report.check(f"the promoted instance fails on {leader}: {follows} is promoted, and {leader} comes back unpromoted"):
            cluster.configure(constraints=[wish(node, score) for node, score in {**SCORES, leader: 900, follows: 800}.items()])
            await_roles(cluster, PROMOTABLE, {node: "Promoted" if node == leader else "Unpromoted" for node in NODES})
            others = [node for node in NODES if node != leader]
            before = {node: len(told(cluster, PROMOTABLE, node)) for node in others}
            journal.misbehave(cluster, leader, PROMOTABLE, "fail-monitor", "1 told to fail by the lab")
            await_roles(cluster, PROMOTABLE, {node: "Promoted" if node == follows else "Unpromoted" for node in others})
            hold_alike(cluster, PROMOTABLE, before)
            cluster.configure(constraints=[wish(leader, 0)])
            cluster.cleanup(PROMOTABLE)
            await_roles(cluster, PROMOTABLE, {node: "Promoted" if node == follows else "Unpromoted" for node in NODES})
    with report.check("both remotes were told and called alike"):
        seen = {node: sorted(journal.changes(cluster, node, PROMOTABLE)) for node in ("r1", "r2")}
        expect(len(seen["r1"]) == len(seen["r2"]), f"calls of the agent: {seen}")
        names = {node: set().union(*told(cluster, PROMOTABLE, node)) for node in NODES}
        expect(names["r1"] == names["r2"], f"variables on one of the remotes only: {', '.join(names['r1'] ^ names['r2'])}")
    for resource in (PLAIN, PROMOTABLE):
        cluster.set_meta(f"{resource}-clone", "target-role", "Stopped")
        await_roles(cluster, resource, {})
        cluster.forget(resource)


def clone(resource, **meta):
    """A clone whose instances are told of each other."""
    roles = ((1, "Master"), (2, "Slave")) if meta else ((1, "Started"),)
    monitors = "".join(f'<op id="{resource}-monitor-{role}" name="monitor" interval="{interval}s" timeout="20s" role="{role}"/>'
                       for interval, role in roles)
    return (f'<clone id="{resource}-clone">{configuration.attributes("meta", f"{resource}-clone-m", {"notify": "true", **meta})}'
            f'<primitive id="{resource}" class="ocf" provider="lab" type="journal">'
            f'{configuration.attributes("meta", f"{resource}-m", {"migration-threshold": 1})}<operations>{monitors}</operations></primitive></clone>')


def everywhere(resource):
    """Lets a clone run on all nodes."""
    return (f'<rsc_location id="loc-{resource}" rsc="{resource}-clone"><rule id="loc-{resource}-rule" score="0">'
            f'<expression id="loc-{resource}-expression" attribute="#uname" operation="defined"/></rule></rsc_location>')


def wish(node, score):
    """How much a node is to be the promoted one."""
    return (f'<rsc_location id="loc-{PROMOTABLE}-{node}" rsc="{PROMOTABLE}-clone"><rule id="loc-{PROMOTABLE}-{node}-rule" role="Master" score="{score}">'
            f'<expression id="loc-{PROMOTABLE}-{node}-expression" attribute="#uname" operation="eq" value="{node}"/></rule></rsc_location>')


def await_roles(cluster, resource, roles):
    """Waits until a clone's instances run with these roles, and nowhere else, and the cluster has nothing left to do."""
    def seen():
        return {node: NAMES.get(role, role) for node, role in cluster.instances(resource)}

    seen.state = lambda: f"seen last: {cluster.instances(resource)}"

    def agrees():
        return seen() == roles

    agrees.state = seen.state
    until(f"{resource} is {roles or 'stopped'}", agrees, ROLES_LIMIT_SECONDS, 0.3)
    cluster.settle()
    until(f"{resource} is still {roles or 'stopped'}", agrees, ROLES_LIMIT_SECONDS, 0.3)


def told(cluster, resource, node):
    """What an instance was told of others so far: a list of the agent's variables."""
    text = cluster.machine(node).read(f"/run/{resource}.notified")
    return [variables(block) for block in text.split("\n\n") if block.strip()]


def variables(block):
    pairs = (line.partition("=") for line in block.splitlines())
    return {name: value.strip() for name, _, value in pairs if name.startswith("OCF_")}


def hold_alike(cluster, resource, before, events=None):
    """Holds that these nodes' instances have been told the same since then, and of these events, if they are known."""
    found = {node: told(cluster, resource, node)[count:] for node, count in before.items()}
    kinds = {node: [(each["OCF_RESKEY_CRM_meta_notify_type"], each["OCF_RESKEY_CRM_meta_notify_operation"]) for each in calls]
             for node, calls in found.items()}
    first = kinds[next(iter(kinds))]
    expect(all(each == first for each in kinds.values()) and first, f"they were told {kinds}")
    expect(events is None or first == events, f"they were told {first}, expected {events}")
    for number, kind in enumerate(first):
        calls = {node: {name: value for name, value in found[node][number].items() if name not in OWN} for node in found}
        one = next(iter(calls.values()))
        names = [name for name in sorted(set().union(*calls.values())) if any(each.get(name) != one.get(name) for each in calls.values())]
        differing = "; ".join(f"{name}: " + ", ".join(f"{each.get(name)!r} on {node}" for node, each in calls.items()) for name in names)
        expect(not names, f"of {'-'.join(kind)} they were told differently: {differing}")
        for node in found:
            expect(found[node][number]["OCF_RESKEY_CRM_meta_on_node"] == node, f"{node} was told that it is another")
