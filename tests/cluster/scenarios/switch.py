"""The remotes' connections move between cluster nodes while tools are used: they have answers again as soon as beside the
stock daemon."""

import re
import time
from itertools import pairwise

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
# A command that was under way when the connection moved has nobody to answer it, and may wait for its own limit. Each is
# told as it ends: when, what, its status.
LOOP = """
round=0
run() { timeout 60 "$@" >/dev/null; status=$?; echo "$(date +%s.%N) $1 $status"; }
while [ ! -e /run/loop-end ]; do
    round=$((round + 1))
    run crm_attribute --node "$1" --name looped --update $round --lifetime reboot
    run cibadmin --query --scope nodes
    run attrd_updater --name looped-too --update $round
    sleep 0.2
done
echo end
"""
# What `timeout` says of one that did not end.
HANGS = 124
BEGUN_COMMANDS = 9
# How much longer than beside the stock daemon nobody may have an answer: what two such measurements differ by.
SPARE_SECONDS = 5
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
    until("both loops have begun", lambda: all(len(commands(remote)) >= BEGUN_COMMANDS for remote in cluster.remotes.values()), END_LIMIT_SECONDS)
    for place in MOVES:
        with report.check(f"both connections move to {place} while tools run"):
            host(cluster, place)
            time.sleep(PAUSE_SECONDS)
    for remote in cluster.remotes.values():
        remote.node.write("/run/loop-end", "")
    with report.check("tools on r1 never hang, and have answers again as soon as those on r2"):
        until("both loops have ended", lambda: all(told(remote).rstrip().endswith("end") for remote in cluster.remotes.values()), END_LIMIT_SECONDS)
        silent = {}
        for name, remote in cluster.remotes.items():
            done = commands(remote)
            failed = [f"{command} {status}" for _, command, status in done if status]
            silent[name] = longest_silence(done)
            report.say(f"       {name}: {len(done)} commands, {len(failed)} failed: {', '.join(failed) or 'none'}; "
                       f"longest without an answer: {silent[name]:.1f} s")
        expect(all(status != HANGS for *_, status in commands(cluster.remotes["r1"])), "a command on r1 hung")
        expect(silent["r1"] <= silent["r2"] + SPARE_SECONDS, f"seconds without an answer: {silent}")
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


def commands(remote):
    """The commands that have ended: when, in seconds, which, and with which status."""
    # Between them is what they say of their errors.
    found = re.findall(r"^([0-9.]+) (\S+) ([0-9]+)$", told(remote), re.MULTILINE)
    return [(float(when), command, int(status)) for when, command, status in found]


def longest_silence(done):
    """The longest time between two commands that succeeded, in seconds."""
    answered = [when for when, _, status in done if status == 0]
    return max(later - earlier for earlier, later in pairwise(answered))


def host(cluster, place):
    """Has both connections on that cluster node."""
    other = "c1" if place == "c2" else "c2"
    cluster.configure(constraints=[configuration.location(name, where, score) for name in cluster.remotes for where, score in ((place, 1000), (other, 0))])
    cluster.await_status(f"both connections on {place}", lambda status: all(
        status.where(name) == [place] and status.online(name) for name in cluster.remotes), MOVE_LIMIT_SECONDS)
    steps.await_online(cluster, *cluster.remotes)
