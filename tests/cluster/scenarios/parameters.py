"""4,096 bytes of parameters, with all that XML has to escape, come back to the cluster as they were sent.

The cluster keeps a digest of what the daemon says it ran an operation with. One byte less, and it would take the
resource for changed, and restart it.
"""

from lab.report import expect

from . import journal, steps

TITLE = "a large parameter set causes no restart"
MEMBERS = 1
FENCED = []

BYTES = 4096
ODD = "tab\there, line\nbreaks\n, \"quotes\" 'both' <tags> & ampersands; ümläute €, = and  spaces "


def parameters():
    """Names that begin with a digit or look alike, values that are odd, 4,096 bytes in all."""
    found = {"text": ODD, "9lives": "nine", "nine-lives": "9", "nine_lives": "", "rest": ""}
    used = sum(len(name.encode()) + len(value.encode()) for name, value in found.items())
    return {**found, "rest": "x" * (BYTES - used)}


def run(cluster, report):
    with report.check(f"j3 starts with {BYTES} bytes of parameters"):
        journal.have(cluster, {"j3": "r1"}, **parameters())
        journal.await_monitors(cluster, "r1", "j3", 2)
    for turn in ("first", "second"):
        with report.check(f"the {turn} refresh probes it on both remotes"):
            probes = {remote: probed(cluster, remote) for remote in cluster.remotes}
            cluster.refresh("j3")
            cluster.await_status("probed", lambda _, probes=probes: all(probed(cluster, remote) > probes[remote] for remote in probes), 30)
            steps.await_placed(cluster, {"j3": "r1"})
            journal.await_monitors(cluster, "r1", "j3", 3)
    with report.check("it was never stopped"):
        seen = {remote: journal.changes(cluster, remote, "j3") for remote in cluster.remotes}
        expect(seen == {"r1": ["start"], "r2": []}, f"calls of the agent: {seen}")
    cluster.delete_resource("j3")


def probed(cluster, remote):
    return sum(call.action == "monitor" and call.interval == 0 for call in journal.calls(cluster, remote, "j3"))
