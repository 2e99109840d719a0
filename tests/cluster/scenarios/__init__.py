"""What the cluster test checks, one module a subject.

Each module has `TITLE`; `MEMBERS`, the number of cluster nodes it wants; `FENCED`, whom the cluster fences
meanwhile, in order, as pairs of action and node, and nobody else; and `run(cluster, report)`. With `BESIDE_STOCK`, r2
runs the stock daemon, whichever r1 runs; with `BOOTED`, the remotes' first process is systemd; with `SINCE`, it is for
clusters of that release and later, unless it is asked for by its name; `ENVIRONMENT` are further variables of
Pacemaker's on `members` and `remotes`. A scenario takes a cluster with both remotes online and leaves it so; when one
fails, the next one gets a new cluster.
"""

from . import (agents, alerts, bigcib, clones, crash, drain, dummy, failures, host, lsb, maintenance, migration, online, parameters,
               partition, placement, restart, secrets, storm, switch, tools, unfencing, units)

# In this order: each leaves to the next what it needs least work to begin from. `host` comes before `migration`:
# a node of 3.0.0 that becomes the coordinator forgets the attributes of a remote whose connection has moved before,
# whichever daemon the remote runs.
ALL = {module.__name__.rpartition(".")[2]: module for module in (
    online, dummy, placement, failures, parameters, maintenance, drain, crash, restart, partition, host, migration, tools,
    agents, lsb, secrets, alerts, clones, unfencing, units, storm, switch, bigcib)}
