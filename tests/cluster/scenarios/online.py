"""Both remotes come online, one reached by IPv4 and one by IPv6."""

from lab.report import expect

from . import steps

TITLE = "remotes come online"
MEMBERS = 1
FENCED = []


def run(cluster, report):
    for name, family in (("r1", "IPv4"), ("r2", "IPv6")):
        with report.check(f"{name} is online over {family}"):
            steps.await_online(cluster, name)
            peers = steps.peer_addresses(cluster.remotes[name].node)
            expect(len(peers) == 1, f"connections to port 3121 of {name}: {peers or 'none'}, expected one")
            seen = "IPv4" if "." in peers[0] else "IPv6"
            expect(seen == family, f"the cluster's connection to {name} is from {peers[0]}")
