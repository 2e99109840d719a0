"""Resources of the agent `ocf:lab:journal`, and what they wrote down."""

from dataclasses import dataclass

from lab import configuration
from lab.waiting import until

from . import steps

TIMEOUT_SECONDS = 5


@dataclass
class Call:
    """One call of the agent; a call that was killed, or is not done, has no end."""

    action: str
    interval: int
    begun: float
    ended: float = None
    code: int = None


def have(cluster, homes, **parameters):
    """Makes sure that such resources run where they prefer to. `homes`: their remotes by name."""
    cluster.configure(
        [configuration.primitive(resource, "lab", "journal", parameters, f"{steps.MONITOR_INTERVAL_SECONDS}s", f"{TIMEOUT_SECONDS}s")
         for resource in homes],
        [constraint for resource, home in homes.items() for constraint in configuration.prefers(resource, home)],
    )
    steps.await_placed(cluster, homes)


def calls(cluster, remote, resource):
    """All calls so far on a remote, in the order in which they began."""
    found, open_calls = [], {}
    for line in cluster.machine(remote).read(f"/run/{resource}.journal").splitlines():
        word, moment, pid, action, interval, *code = line.split()
        if word == "begin":
            open_calls[pid] = Call(action, int(interval), float(moment))
            found.append(open_calls[pid])
        else:
            call = open_calls.pop(pid)
            call.ended, call.code = float(moment), int(code[0])
    return found


def changes(cluster, remote, resource):
    """The actions so far that changed something."""
    return [call.action for call in calls(cluster, remote, resource) if call.action not in ("monitor", "notify", "status")]


def await_monitors(cluster, remote, resource, more, limit=15):
    """Waits for `more` further recurring monitors, and returns all calls that began meanwhile."""
    before = len(calls(cluster, remote, resource))

    def further():
        found = calls(cluster, remote, resource)[before:]
        return found if sum(call.interval > 0 for call in found) >= more else None

    return until(f"{more} more monitors of {resource} on {remote}", further, limit)


def misbehave(cluster, remote, resource, how, text):
    """Tells the agent to fail or to be slow: `how` is the file's name, for instance `fail-start`."""
    cluster.remotes[remote].node.write(f"/run/{resource}.{how}", text + "\n")


def behave(cluster, remote, resource, how):
    """Ends that."""
    cluster.remotes[remote].node.remove(f"/run/{resource}.{how}")
