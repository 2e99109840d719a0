"""The connection to r1 moves between the cluster nodes while operations are under way: none is lost, none doubled.

What was asked for is in the controllers' logs, what was done in the agents' journals.
"""

import re
from collections import Counter

from lab import configuration
from lab.report import expect
from lab.waiting import until

from . import journal, steps

TITLE = "the connection moves between cluster nodes"
MEMBERS = 2
FENCED = []

RESOURCES = [f"m{number}" for number in range(1, 5)]
TURNS = ("c2", "c1", "c2", "c1")
# Seconds that each start and stop takes, so that some are under way when the connection moves.
SLOW = "1.5"
MOVE_LIMIT_SECONDS = 60
# All releases write these; a monitor with an interval is told of only when its result changes.
SENT = re.compile(r"Initiating (\w+) operation (m\d)_\w+?_0 (?:locally )?on r1\b")
RESULT = re.compile(r"Result of (\w+) operation for (m\d) on r1\b")


def run(cluster, report):
    host(cluster, "c1")
    journal.have(cluster, {resource: "r1" for resource in RESOURCES})
    for resource in RESOURCES:
        journal.misbehave(cluster, "r1", resource, "slow-start", SLOW)
        journal.misbehave(cluster, "r1", resource, "slow-stop", SLOW)
    for turn, place in enumerate(TURNS):
        with report.check(f"the connection moves to {place} while resources stop and start"):
            stop_begun(cluster, RESOURCES[:2])
            host(cluster, place, wait=False)
            for resource in RESOURCES[2:]:
                cluster.set_meta(resource, "target-role", ("Stopped", "Started")[turn % 2])
            for resource in RESOURCES[:2]:
                cluster.set_meta(resource, "target-role", "Started")
            await_host(cluster, place)
            expected = RESOURCES if turn % 2 else RESOURCES[:2]
            steps.await_placed(cluster, {resource: "r1" for resource in expected}, MOVE_LIMIT_SECONDS)
            cluster.await_status("the others stopped", lambda status, expected=expected: all(
                status.stopped(resource) for resource in RESOURCES if resource not in expected), MOVE_LIMIT_SECONDS)
            cluster.settle()
            for resource in expected:
                journal.await_monitors(cluster, "r1", resource, 2)
    with report.check("each operation that was sent has one begin, one end and one result"):
        sent = sum(accounts(cluster, resource) for resource in RESOURCES)
        report.say(f"       operations without an interval: {sent}")
    with report.check("never were two calls for a resource under way; one monitor a second"):
        for resource in RESOURCES:
            in_order(journal.calls(cluster, "r1", resource))
    for resource in RESOURCES:
        cluster.delete_resource(resource)
    cluster.unconstrain("loc-r1-c1")


def stop_begun(cluster, resources):
    """Has resources stopped, and waits until their agents have begun to."""
    before = {resource: journal.changes(cluster, "r1", resource).count("stop") for resource in resources}
    for resource in resources:
        cluster.set_meta(resource, "target-role", "Stopped")
    until("stops begin", lambda: all(journal.changes(cluster, "r1", resource).count("stop") > count for resource, count in before.items()), 30, 0.02)


def host(cluster, place, wait=True):
    """Has the connection to r1 on that cluster node."""
    other = "c1" if place == "c2" else "c2"
    cluster.configure(constraints=[configuration.location("r1", place, 1000), configuration.location("r1", other, 0)])
    if wait:
        await_host(cluster, place)


def await_host(cluster, place):
    cluster.await_status(f"r1's connection on {place}", lambda status: status.where("r1") == [place] and status.online("r1"), MOVE_LIMIT_SECONDS)


def accounts(cluster, resource):
    """Holds what was sent against what was done, by action; returns how many operations that were."""
    logs = "".join(member.node.read("/var/log/pacemaker/pacemaker.log") for member in cluster.members.values())
    sent, results = (Counter(action(word) for word, name in pattern.findall(logs) if name == resource) for pattern in (SENT, RESULT))
    calls = [call for call in journal.calls(cluster, "r1", resource) if not call.interval]
    begun = Counter(call.action for call in calls)
    ended = Counter(call.action for call in calls if call.ended is not None)
    expect(sent == begun == ended, f"{resource}: sent {dict(sent)}, begun {dict(begun)}, ended {dict(ended)}")
    expect(sent["start"] and sent["stop"], f"{resource}: sent {dict(sent)}")
    expect(all(results[word] for word in sent), f"{resource}: results that controllers tell of: {dict(results)}")
    return sent.total()


def action(word):
    """The agent's name for what a controller calls a probe."""
    return "monitor" if word == "probe" else word


def in_order(calls):
    for earlier, later in zip(calls, calls[1:]):
        expect(earlier.ended is not None and earlier.ended <= later.begun, f"{later} began before the end of {earlier}")
        if earlier.interval and later.interval:
            expect(later.begun - earlier.begun > 0.5, f"{earlier} and {later}")
