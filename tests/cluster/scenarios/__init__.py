"""What the cluster test checks, one module a subject.

Each module has `TITLE` and `run(cluster, report)`. A scenario takes a cluster with both remotes online and
nobody fenced, and leaves it so; when one fails, the next one gets a new cluster.
"""

from . import crash, drain, dummy, online, restart

# In this order: each leaves to the next what it needs least work to begin from.
ALL = {module.__name__.rpartition(".")[2]: module for module in (online, dummy, restart, drain, crash)}
