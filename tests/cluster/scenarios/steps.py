"""Steps that several scenarios take."""

from lab import configuration
from lab.report import expect
from lab.waiting import until

# Which Dummy prefers which remote, and which of the two agents of that name it is.
DUMMIES = {"d1": ("r1", "pacemaker"), "d2": ("r2", "heartbeat")}
MONITOR_INTERVAL_SECONDS = 1
PLACED_LIMIT_SECONDS = 40
ONLINE_LIMIT_SECONDS = 40


def state_file(resource):
    """A Dummy runs where this file is."""
    return f"/run/{resource}.state"


def call_log(resource):
    """The agent of package pacemaker appends its action and environment here on each call."""
    return f"/run/{resource}.calls"


def definition(resource, provider, **parameters):
    """A Dummy's element in the configuration."""
    parameters["state"] = state_file(resource)
    if provider == "pacemaker":
        parameters["envfile"] = call_log(resource)
    return configuration.dummy(resource, provider, parameters, f"{MONITOR_INTERVAL_SECONDS}s")


def have_dummies(cluster):
    """Makes sure that both Dummies run where they prefer to."""
    cluster.configure(
        [definition(resource, provider) for resource, (_, provider) in DUMMIES.items()],
        [preference for resource, (home, _) in DUMMIES.items() for preference in configuration.prefers(resource, home)],
    )
    await_placed(cluster, {resource: home for resource, (home, _) in DUMMIES.items()})


def await_placed(cluster, places, limit=PLACED_LIMIT_SECONDS):
    """Waits until the cluster says, and the machines show, that each resource runs there and nowhere else."""
    told = ", ".join(f"{resource} runs on {place} only" for resource, place in places.items())
    cluster.await_status(told, lambda status: all(status.where(resource) == [place] for resource, place in places.items()), limit)
    for resource, place in places.items():
        seen = running_on(cluster, resource)
        expect(seen == [place], f"the cluster says that {resource} runs on {place}; its state file is on {seen or 'no remote'}")


def await_online(cluster, *names):
    """Waits until remotes are online."""
    cluster.await_status(f"{', '.join(names)} online", lambda status: all(status.online(name) for name in names), ONLINE_LIMIT_SECONDS)


def await_connection(cluster, name):
    """Waits until the cluster has connected to the daemon that runs now."""
    remote = cluster.remotes[name]
    until(f"the cluster connects to {name} again", lambda: peer_addresses(remote.node), ONLINE_LIMIT_SECONDS, 0.2)


def peer_addresses(node):
    """Where the established connections to the daemon come from."""
    listing = node.run(["ss", "--no-header", "--tcp", "--numeric", "state", "established", "sport", "=", ":3121"]).stdout
    return [line.split()[-1].rpartition(":")[0] for line in listing.splitlines() if line.strip()]


def running_on(cluster, resource):
    """The remotes on which a Dummy's state file is."""
    return [name for name, remote in cluster.remotes.items() if remote.node.exists(state_file(resource))]


def calls(cluster, remote, resource):
    """Actions of a pacemaker Dummy on a remote so far, in order: pairs of action and environment text."""
    entries = cluster.remotes[remote].node.read(call_log(resource)).split("### ")
    return [(entry.split(" ", 1)[0], entry) for entry in entries if " @ " in entry.partition("\n")[0]]


def await_calls(cluster, remote, resource, more, limit):
    """Waits for `more` further calls of the agent and returns them."""
    before = len(calls(cluster, remote, resource))

    def further():
        found = calls(cluster, remote, resource)[before:]
        return found if len(found) >= more else None

    return until(f"{more} more calls of {resource}'s agent on {remote}", further, limit)

