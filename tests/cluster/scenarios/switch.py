"""The remotes' connections move between cluster nodes while tools are used: no more of them fail than beside the stock daemon."""

import time

from lab import configuration
from lab.report import expect
from lab.waiting import until

from . import steps

TITLE = "tools while the connection moves, beside the stock daemon"
MEMBERS = 2
FENCED = []
BESIDE_STOCK = True

MOVES = ("c2", "c1", "c2", "c1")
MOVE_LIMIT_SECONDS = 60
# A command that was under way when the connection moved has nobody to answer it, and may wait for its own limit.
LOOP = """
round=0
while [ ! -e /run/loop-end ]; do
    round=$((round + 1))
    timeout 60 crm_attribute --node "$1" --name looped --update $round --lifetime reboot || echo "failed crm_attribute $?"
    timeout 60 cibadmin --query --scope nodes >/dev/null || echo "failed cibadmin $?"
    timeout 60 attrd_updater --name looped-too --update $round || echo "failed attrd_updater $?"
    echo "round $round"
    sleep 0.2
done
echo end
"""
LOG = "loop.log"
# Between moves: some rounds.
PAUSE_SECONDS = 5
END_LIMIT_SECONDS = 90
WORKS_LIMIT_SECONDS = 20


def run(cluster, report):
    host(cluster, MOVES[-1])
    for name, remote in cluster.remotes.items():
        remote.node.run(["rm", "-f", "/run/loop-end"])
        remote.node.spawn(["sh", "-c", LOOP, "sh", name], LOG)
    until("both loops have begun", lambda: all("round 3" in told(remote) for remote in cluster.remotes.values()), END_LIMIT_SECONDS)
    for place in MOVES:
        with report.check(f"both connections move to {place} while tools run"):
            host(cluster, place)
            time.sleep(PAUSE_SECONDS)
    for remote in cluster.remotes.values():
        remote.node.write("/run/loop-end", "")
    with report.check("no more commands failed on r1 than on r2"):
        until("both loops have ended", lambda: all(told(remote).rstrip().endswith("end") for remote in cluster.remotes.values()), END_LIMIT_SECONDS)
        rounds, failures = {}, {}
        for name, remote in cluster.remotes.items():
            lines = told(remote).splitlines()
            rounds[name] = sum(line.startswith("round ") for line in lines)
            failures[name] = [line for line in lines if line.startswith("failed ")]
            report.say(f"       {name}: {rounds[name]} rounds of three commands, {len(failures[name])} failures: {', '.join(failures[name]) or 'none'}")
        expect(len(failures["r1"]) <= len(failures["r2"]), f"failures: {failures}")
    with report.check("all tools work on both afterwards"):
        for name, remote in cluster.remotes.items():
            for words, wanted in ((["crm_node", "--name"], name), (["cibadmin", "--query", "--scope", "nodes"], "<nodes"),
                                  (["attrd_updater", "--name", "looped-too", "--query", "--node", name], "value=")):
                until(f"`{' '.join(words)}` on {name}", lambda words=words, wanted=wanted, remote=remote: wanted in remote.node.run(words, check=False).stdout,
                      WORKS_LIMIT_SECONDS, 0.5)
    for name in cluster.remotes:
        for place in ("c1", "c2"):
            cluster.unconstrain(f"loc-{name}-{place}")


def told(remote):
    """What the loop has written so far."""
    return (remote.node.directory / "log" / LOG).read_text()


def host(cluster, place):
    """Has both connections on that cluster node."""
    other = "c1" if place == "c2" else "c2"
    cluster.configure(constraints=[configuration.location(name, where, score) for name in cluster.remotes for where, score in ((place, 1000), (other, 0))])
    cluster.await_status(f"both connections on {place}", lambda status: all(
        status.where(name) == [place] and status.online(name) for name in cluster.remotes), MOVE_LIMIT_SECONDS)
    steps.await_online(cluster, *cluster.remotes)
