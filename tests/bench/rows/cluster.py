"""A real cluster with eight remotes: eight Dummy resources, from their creation until all are started.

Each resource is probed on each node first: 72 probes, 8 starts, 8 first monitors.
"""

import itertools
import time
from statistics import median

from lab import configuration
from lab.cluster import Cluster
from lab.waiting import until

from . import Row, in_seconds

REMOTES = 8
RUNS = 3
ONLINE_LIMIT_SECONDS = 90
STARTED_LIMIT_SECONDS = 180

ROWS = [
    Row("cluster: 8 remotes, 8 resources, created to started", in_seconds, "<= 1/4 of stock", lambda pacelet, stock: stock is not None and pacelet <= stock / 4),
]
_directory_numbers = itertools.count()


def measure_all(bench, kinds):
    """The median of three runs each, alternating, since a machine's speed changes with its other load."""
    times = {kind: [] for kind in kinds}
    for _ in range(RUNS):
        for kind in kinds:
            times[kind].append(once(bench, kind))
    return {kind: {ROWS[0].name: median(times[kind])} for kind in kinds}


def once(bench, kind):
    """One run in a new cluster."""
    cluster = Cluster(bench.root, [bench.daemons[kind].layer], bench.directory / f"cluster{next(_directory_numbers)}", REMOTES)
    try:
        cluster.start()
        cluster.await_status("all remotes online", lambda status: all(status.online(name) for name in cluster.remotes), ONLINE_LIMIT_SECONDS)
        return created_to_started(bench, kind, cluster)
    finally:
        cluster.end()


def created_to_started(bench, kind, cluster):
    """Creates the resources and waits; notes where the CPU time went."""
    homes = {f"d{name}": name for name in cluster.remotes}
    resources = [configuration.dummy(resource, "pacemaker", {"state": f"/run/{resource}.state"}, "10s") for resource in homes]
    constraints = [preference for resource, home in homes.items() for preference in configuration.prefers(resource, home)]
    before = cpu(cluster)
    begun = time.monotonic()
    cluster.configure(resources, constraints)
    # Looking at files costs the machine nothing; the cluster is asked only when it must be nearly done.
    until("all resources started", lambda: all(cluster.remotes[home].node.exists(f"/run/{resource}.state") for resource, home in homes.items()),
          STARTED_LIMIT_SECONDS, 0.02)
    cluster.await_status("all resources started", lambda status: all(status.where(resource) == [home] for resource, home in homes.items()), 30)
    took = time.monotonic() - begun
    daemons, agents = (after - earlier for after, earlier in zip(cpu(cluster), before))
    bench.note(f"{kind}, one run: {took:.2f} s; CPU time of the agents on the remotes (the floor) {agents:.2f} s, of the daemons {daemons:.2f} s")
    return took


def cpu(cluster):
    """CPU seconds of all remotes' daemons, and of the agents they ran."""
    pairs = [remote.daemon.cpu_seconds() for remote in cluster.remotes.values()]
    return [sum(column) for column in zip(*pairs)]
