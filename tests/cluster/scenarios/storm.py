"""Many monitors at once on one remote: each is told of a change, and nothing is left of them when they end."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from lab import configuration
from lab.report import expect
from lab.waiting import until

from . import steps

TITLE = "64 crm_mon at once"
MEMBERS = 1
FENCED = []

MONITORS = 64
AT_ONCE = 8
STARTED_LIMIT_SECONDS = 120
CHANGE_LIMIT_SECONDS = 90
GONE_LIMIT_SECONDS = 30
# The connection, each listener and whatever else is open do not change; a descriptor that only a moment needs may be there.
SPARE_DESCRIPTORS = 2


def run(cluster, report):
    remote = cluster.remotes["r1"]
    before = open_descriptors(remote)
    try:
        with report.check(f"{MONITORS} crm_mon on r1 show the cluster"):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda number: remote.node.run(
                    # Of two with the same file for their id one may end.
                    ["crm_mon", "--daemonize", f"--pid-file=/run/crm_mon-{number}.pid", "--interval=1", "--output-as=html",
                     f"--output-to={page(number)}"]), range(MONITORS)))
            until("all have written a page", Pages(remote, "r2"), STARTED_LIMIT_SECONDS, 0.5)
            expect(len(monitors(remote)) == MONITORS, f"of {MONITORS} crm_mon run {len(monitors(remote))}")
        with report.check("each has its sessions"):
            report.say(f"       {len(shared(remote))} sessions, {open_descriptors(remote) - before} descriptors, {in_memory(remote) >> 20} MiB of shared memory")
            expect(len(shared(remote)) >= MONITORS, f"{len(shared(remote))} sessions in /dev/shm")
        with report.check("each shows a resource that is new"):
            dummy = configuration.dummy("newcomer", "pacemaker", {"state": steps.state_file("newcomer")}, "10s")
            cluster.configure([dummy], configuration.prefers("newcomer", "r1"))
            steps.await_placed(cluster, {"newcomer": "r1"})
            until("each page names it", Pages(remote, "newcomer"), CHANGE_LIMIT_SECONDS, 0.5)
    finally:
        for pid in monitors(remote):
            os.kill(pid, signal.SIGTERM)
    with report.check("when they have ended, no session is left of them"):
        until("no crm_mon runs", lambda: not monitors(remote), GONE_LIMIT_SECONDS)
        until("/dev/shm is empty", lambda: not shared(remote), GONE_LIMIT_SECONDS)
        until("the daemon has its descriptors from before", lambda: open_descriptors(remote) <= before + SPARE_DESCRIPTORS, GONE_LIMIT_SECONDS)
    with report.check("and tools work"):
        said = remote.node.run(["crm_node", "--name"]).stdout.strip()
        expect(said == "r1", f"crm_node says {said!r}")
    cluster.delete_resource("newcomer")


def page(number):
    return f"/tmp/crm_mon-{number}.html"


class Pages:
    """Whether all pages have a text."""

    def __init__(self, remote, text):
        self.remote, self.text = remote, text

    def __call__(self):
        return not self.missing()

    def missing(self):
        """The pages without it."""
        return [number for number in range(MONITORS) if self.text not in self.remote.node.read(page(number))]

    def state(self):
        """What is missing, and how many monitors there are to write it."""
        return f"not on the pages {self.missing()}; {len(monitors(self.remote))} crm_mon run, with {len(shared(self.remote))} sessions"


def monitors(remote):
    """The host's process ids."""
    return [pid for pid in remote.node.processes() if name(pid) == "crm_mon"]


def name(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def shared(remote):
    """The sessions' directories."""
    return [entry for entry in os.listdir(f"{remote.node.root}/dev/shm") if entry.startswith("qb-")]


def in_memory(remote):
    """Bytes of the file system that the sessions' files are on."""
    seen = os.statvfs(f"{remote.node.root}/dev/shm")
    return (seen.f_blocks - seen.f_bfree) * seen.f_frsize


def open_descriptors(remote):
    return len(os.listdir(f"/proc/{remote.daemon.pid}/fd"))
