"""Parameters that are kept on the nodes: agents are told the secret, nobody else is."""

import hashlib

from lab.report import expect

from . import beside
from .beside import Kind

TITLE = "secrets (lrm://), beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True
SINCE = (3, 0, 0)

PREFIX = "kept"
SECRET = "s3cr$t 'of' \"the\" lab; `id` = ü"
PLACE = "/var/lib/pacemaker/lrm/secrets"


def kind(key, *expected):
    """A Dummy that writes its environment down, with a parameter that is kept."""
    parameters = {"state": f"/run/kept-{key}.state", "envfile": f"/run/kept-{key}.calls", "passwd": "lrm://"}
    return Kind("ocf:pacemaker", "Dummy", expected, parameters=parameters)


PLAIN = {"plain": kind("plain", "start", 0)}
# Without it no probe can be made: the cluster takes the resource for running, and what stops it is called all the same.
BROKEN = {name: kind(name, "monitor", 2) for name in ("missing", "unsigned", "forged", "empty")}


def run(cluster, report):
    keep(cluster, "plain", SECRET + "\n", signature(SECRET) + "\n")
    with report.check("agents are told the secret, in each call"):
        beside.have(cluster, PREFIX, PLAIN)
        beside.await_started(cluster, PREFIX, "plain")
        for remote in cluster.remotes:
            told = values(cluster, remote, "plain")
            expect(set(told) == {SECRET} and len(told) > 1, f"on {remote}: {told}")
    with report.check("without it the monitor fails, and the stop is called with the parameter as it is"):
        for remote in cluster.remotes:
            cluster.machine(remote).run(["rm", "-r", f"{PLACE}/{beside.name(PREFIX, 'plain', remote)}"])
        gone = {"plain": kind("plain", "monitor", 2)}
        beside.hold_alike(cluster, PREFIX, gone)
        for remote in cluster.remotes:
            told = values(cluster, remote, "plain")
            expect(told[-1] == "lrm://", f"on {remote}: {told}")
            expect(not cluster.machine(remote).exists("/run/kept-plain.state"), f"it was not stopped on {remote}")
    with report.check("with it again, it starts again"):
        keep(cluster, "plain", SECRET + " \t\n\n", signature(SECRET).upper())
        for remote in cluster.remotes:
            cluster.cleanup(beside.name(PREFIX, "plain", remote))
        beside.await_started(cluster, PREFIX, "plain")
        for remote in cluster.remotes:
            told = values(cluster, remote, "plain")
            expect(told[-1] == SECRET, f"on {remote}: {told}")
    keep(cluster, "unsigned", SECRET, None)
    keep(cluster, "forged", SECRET, signature("another"))
    keep(cluster, "empty", "", None)
    with report.check(f"secrets that are {', '.join(BROKEN)}: the same results"):
        beside.have(cluster, PREFIX, BROKEN)
        beside.hold_alike(cluster, PREFIX, BROKEN)
    with report.check("neither the daemon's log nor the cluster's configuration and status has the secret"):
        r1 = cluster.remotes["r1"].node
        logs = [(r1.directory / "log/daemon.log").read_text(errors="replace"), r1.read("/var/log/pacemaker/pacemaker.log")]
        expect(logs[1].count("kept-plain-r1"), "the log does not even name the resource")
        told = [cluster.node.run(["cibadmin", "--query"]).stdout, *logs]
        expect(not any(part in text for text in told for part in ("s3cr$t", SECRET.split()[1])), "the secret is there")
    for name in BROKEN:
        keep(cluster, name, SECRET, signature(SECRET))
    beside.forget(cluster, PREFIX, PLAIN | BROKEN)


def signature(secret):
    return hashlib.md5(secret.encode()).hexdigest()


def keep(cluster, key, secret, signed):
    """Puts a secret where each remote looks for that of its resource."""
    for remote in cluster.remotes:
        path = f"{PLACE}/{beside.name(PREFIX, key, remote)}/passwd"
        cluster.machine(remote).write(path, secret, 0o600)
        if signed is not None:
            cluster.machine(remote).write(path + ".sign", signed, 0o600)


def values(cluster, remote, key):
    """What the parameter was in each call so far."""
    lines = cluster.machine(remote).read(f"/run/kept-{key}.calls").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith("OCF_RESKEY_passwd=")]
