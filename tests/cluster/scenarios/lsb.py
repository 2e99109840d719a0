"""Init scripts on both remotes: all their life, and exit codes and files of all sorts."""

import time
from pathlib import Path

from lab.report import expect
from lab.waiting import until

from . import beside, journal
from .beside import Kind

TITLE = "init scripts (class lsb), beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True
SINCE = (3, 0, 0)

SCRIPT = (Path(__file__).parents[1] / "lab/init_script").read_text()
PREFIX = "lsb"
PLAIN = {"plain": Kind("lsb", "lab")}
# Exit codes, and what they are to the cluster.
STARTS = {1: 1, 2: 2, 5: 5, 6: 6, 7: 7, 8: 1, 150: 1}
PROBES = {1: 7, 2: 7, 3: 7, 4: 1, 8: 1, 150: 5, 151: 4, 199: 1}
LATER = {1: 7, 3: 7, 4: 1, 150: 5, 151: 4, 200: 1}
STOPS = {1: 1, 5: 5, 150: 1}
STOPPED = {"target-role": "Stopped"}
CODES = {
    **{f"start-{code}": Kind("lsb", f"lab-start-{code}", ("start", result)) for code, result in STARTS.items()},
    **{f"probe-{code}": Kind("lsb", f"lab-status-{code}", ("monitor", result), meta=STOPPED) for code, result in PROBES.items()},
    **{f"later-{code}": Kind("lsb", f"lab-later-{code}", ("monitor", result), on_fail={"monitor": "ignore"}) for code, result in LATER.items()},
    **{f"stop-{code}": Kind("lsb", f"lab-stop-{code}", ("start", 0)) for code in STOPS},
    "hangs": Kind("lsb", "lab-hangs-status", ("monitor", 1), "3s", on_fail={"monitor": "ignore"}),
}
NO_SCRIPTS = ("lab-plain-file", "lab-directory", "lab-interpreter")
# What is in the place of a script.
FILES = {
    "missing": Kind("lsb", "lab-missing", ("monitor", 5)),
    "plain-file": Kind("lsb", "lab-plain-file"),
    "directory": Kind("lsb", "lab-directory"),
    "interpreter": Kind("lsb", "lab-interpreter"),
    "elsewhere": Kind("lsb", "/run/lab-elsewhere", ("start", 0)),
    "service": Kind("service", "lab-service", ("start", 0)),
    "no-service": Kind("service", "lab-missing", ("monitor", 5)),
}


def run(cluster, report):
    for remote in cluster.remotes.values():
        install(remote.node)
    with report.check("an init script starts, and is asked for its status each second"):
        beside.have(cluster, PREFIX, PLAIN)
        beside.await_started(cluster, PREFIX, "plain")
        for remote in cluster.remotes:
            before = statuses(cluster, remote)
            until(f"three more calls of it on {remote}", lambda: statuses(cluster, remote) >= before + 3, 15)
    with report.check("nothing of a resource's is in its environment"):
        names = {remote: environment(cluster, remote) for remote in cluster.remotes}
        added = {remote: [name for name in seen if "RESKEY" in name or name.startswith("OCF_R")] for remote, seen in names.items()}
        expect(not any(added.values()), f"there are {added}")
    with report.check("killed, it is started again"):
        for remote in cluster.remotes.values():
            remote.node.run(["sh", "-c", "kill $(cat /run/lab.pid)"])
        beside.await_failed(cluster, PREFIX, "plain")
        beside.hold_alike(cluster, PREFIX, PLAIN)
    with report.check("stopped, it is left alone"):
        beside.stop(cluster, PREFIX, "plain")
        seen = {remote: journal.changes(cluster, remote, "lab") for remote in cluster.remotes}
        expect(all(changes == ["start", "stop", "start", "stop"] for changes in seen.values()), f"calls of the script: {seen}")
        before = [statuses(cluster, remote) for remote in cluster.remotes]
        time.sleep(2.5)
        expect(before == [statuses(cluster, remote) for remote in cluster.remotes], "it was called after its stop")
    beside.forget(cluster, PREFIX, PLAIN)
    with report.check(f"{len(CODES)} scripts with other exit codes: the same results"):
        beside.have(cluster, PREFIX, CODES)
        beside.hold_alike(cluster, PREFIX, CODES)
    with report.check(f"{len(STOPS)} that cannot be stopped: the same results"):
        stops = {f"stop-{code}": Kind("lsb", "", ("stop", result)) for code, result in STOPS.items()}
        for key in stops:
            for remote in cluster.remotes:
                cluster.set_meta(beside.name(PREFIX, key, remote), "target-role", "Stopped")
        beside.hold_alike(cluster, PREFIX, stops)
    for remote in cluster.remotes.values():
        remote.node.write("/run/lab-behaves", "")
    beside.forget(cluster, PREFIX, CODES)
    with report.check(f"{len(FILES)} that are not where or what they should be: the same results"):
        beside.have(cluster, PREFIX, FILES)
        # For most of them the stock daemon gives no reason.
        beside.hold_alike(cluster, PREFIX, FILES, of=(beside.CODE, beside.STATUS))
    for remote in cluster.remotes.values():
        remote.node.run(["sh", "-c", 'cd /etc/init.d; for name; do rm -rf "$name"; cp lab "$name"; done', "sh", *NO_SCRIPTS])
    beside.forget(cluster, PREFIX, FILES)


def install(node):
    """The script under all its names, and what is in its place."""
    names = [kind.type for kind in (*PLAIN.values(), *CODES.values())] + ["lab-service", "lab-plain-file"]
    node.write("/etc/init.d/lab", SCRIPT, 0o755)
    node.run(["sh", "-c", 'cd /etc/init.d; for name; do [ "$name" = lab ] || cp lab "$name"; done', "sh", *names])
    node.run(["sh", "-c", "cp /etc/init.d/lab /run/lab-elsewhere; chmod 644 /etc/init.d/lab-plain-file; mkdir /etc/init.d/lab-directory"])
    node.write("/etc/init.d/lab-interpreter", "#!/nonexistent\n", 0o755)


def statuses(cluster, remote):
    return sum(call.action == "status" for call in journal.calls(cluster, remote, "lab"))


def environment(cluster, remote):
    return [line.partition("=")[0] for line in cluster.machine(remote).read("/run/lab.environment").splitlines()]
