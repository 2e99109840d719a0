"""systemd units on both remotes, whose first process is systemd: all their life, units of all sorts, and `service`."""

from pathlib import Path

from lab.report import expect
from lab.waiting import until

from . import beside
from .beside import Kind

TITLE = "systemd units and services, beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True
SINCE = (3, 0, 0)
BOOTED = True

SCRIPT = (Path(__file__).parents[1] / "lab/init_script").read_text()
PREFIX = "unit"
PLAIN = {"plain": Kind("systemd", "lab"), "script": Kind("service", "lab-script"), "service": Kind("service", "lab-served")}
UNITS = {
    "lab.service": "[Service]\nExecStart=/bin/sleep 3600\n",
    "lab-served.service": "[Service]\nExecStart=/bin/sleep 3600\n",
    "lab-both.service": "[Service]\nExecStart=/bin/sleep 3600\n",
    "lab-slow.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 2\nExecStop=/bin/sleep 1\n",
    "lab-fails.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    "lab-needs.service": "[Unit]\nRequires=lab-fails.service\nAfter=lab-fails.service\n[Service]\nExecStart=/bin/sleep 3600\n",
    "lab-bad.service": "[Service]\nUser=root\n",
    "lab-many@.service": "[Service]\nExecStart=/bin/sleep 3600\n",
    "lab-tick.timer": "[Timer]\nOnActiveSec=1h\nUnit=lab.service\n",
}
SORTS = {
    "slow": Kind("systemd", "lab-slow", ("start", 0)),
    "instance": Kind("systemd", "lab-many@3600", ("start", 0)),
    "template": Kind("systemd", "lab-many@.service"),
    "timer": Kind("systemd", "lab-tick.timer", ("start", 0)),
    "with-suffix": Kind("systemd", "lab-both.service", ("start", 0)),
    "fails": Kind("systemd", "lab-fails", ("start", 1)),
    "needs": Kind("systemd", "lab-needs", ("start", 1)),
    "bad": Kind("systemd", "lab-bad"),
    "missing": Kind("systemd", "lab-missing", ("start", 5)),
    "masked": Kind("systemd", "lab-masked"),
    "served-template": Kind("service", "lab-many@3601", ("start", 0)),
    "neither": Kind("service", "lab-missing", ("monitor", 5)),
}
BOTH = {"both": Kind("service", "lab-both", ("start", 0))}


def run(cluster, report):
    for remote in cluster.remotes.values():
        install(remote.node)
    with report.check("a unit starts, and so do an init script and a unit by the class service"):
        beside.have(cluster, PREFIX, PLAIN)
        for kind in PLAIN:
            beside.await_started(cluster, PREFIX, kind)
        everywhere(cluster, "lab.service", "active")
        everywhere(cluster, "lab-served.service", "active")
        expect(all(remote.node.exists("/run/lab-script.pid") for remote in cluster.remotes.values()), "the script was not called")
    with report.check("while they run, systemd does not start them itself"):
        for remote in cluster.remotes.values():
            told = remote.node.run(["systemctl", "show", "--property=DropInPaths,Restart", "lab.service"]).stdout
            expect("50-pacemaker.conf" in told and "Restart=no" in told, f"{remote.name}: {told}")
    for times, (how, words) in enumerate((("stopped behind the cluster's back", ["stop"]), ("killed", ["kill", "--signal=KILL"])), 1):
        with report.check(f"{how}, they are started again"):
            for remote in cluster.remotes.values():
                remote.node.run(["systemctl", *words, "lab.service", "lab-served.service"])
                remote.node.run(["sh", "-c", "kill $(cat /run/lab-script.pid)"])
            for kind in PLAIN:
                beside.await_failed(cluster, PREFIX, kind, times)
            beside.hold_alike(cluster, PREFIX, PLAIN, of=(beside.CODE, beside.STATUS))
    with report.check("when systemd of r1 executes itself again, they go on"):
        cluster.machine("r1").run(["systemctl", "daemon-reexec"])
        await_monitors(cluster, 3)
        seen = {kind: cluster.failures(beside.name(PREFIX, kind, "r1"), "r1") for kind in PLAIN}
        expect(set(seen.values()) == {2}, f"failures on r1: {seen}")
    with report.check("stopped, they are inactive, and nothing is left of what was told to systemd"):
        for kind in PLAIN:
            beside.stop(cluster, PREFIX, kind)
        # Killed, it is `failed` until somebody stops it: the cluster does.
        everywhere(cluster, "lab.service", "inactive")
        everywhere(cluster, "lab-served.service", "inactive")
        for remote in cluster.remotes.values():
            left = remote.node.run(["sh", "-c", "ls /run/systemd/system/lab*.d 2>/dev/null"], check=False).stdout.split()
            expect("50-pacemaker.conf" not in left, f"{remote.name}: {left}")
    beside.forget(cluster, PREFIX, PLAIN)
    with report.check(f"{len(SORTS)} units of other sorts: the same results"):
        beside.have(cluster, PREFIX, SORTS)
        # Since 3.0.1, the stock daemon waits for systemd's job, as pacelet does, and what fails is an error, with the job's
        # result; older ones ask for the state after a while, and say that all went well, but with that code.
        beside.hold_alike(cluster, PREFIX, SORTS, of=(beside.CODE,))
    beside.forget(cluster, PREFIX, SORTS)
    with report.check("of a script and a unit with the same name, the class service takes the script"):
        beside.have(cluster, PREFIX, BOTH)
        beside.await_started(cluster, PREFIX, "both")
        expect(all(remote.node.exists("/run/lab-both.pid") for remote in cluster.remotes.values()), "the script was not called")
        everywhere(cluster, "lab-both.service", "inactive")
    beside.forget(cluster, PREFIX, BOTH)


def install(node):
    """The units, and a script with a name of its own and one with a unit's."""
    for name, text in UNITS.items():
        node.write(f"/etc/systemd/system/{name}", text)
    for name in ("lab-script", "lab-both"):
        node.write(f"/etc/init.d/{name}", SCRIPT, 0o755)
    node.run(["ln", "-s", "/dev/null", "/etc/systemd/system/lab-masked.service"])
    node.run(["systemctl", "daemon-reload"])


def everywhere(cluster, unit, state):
    """Waits until a unit is in that state on both remotes."""
    for remote in cluster.remotes.values():
        until(f"{unit} is {state} on {remote.name}",
              lambda: remote.node.run(["systemctl", "is-active", unit], check=False).stdout.strip() == state, 10, 0.3)


def await_monitors(cluster, more):
    """Waits until the script's status has been asked for a few more times on r1, as often as the units'."""
    seen = lambda: cluster.machine("r1").read("/run/lab-script.journal").count("end")  # noqa: E731
    before = seen()
    until(f"{more} more monitors on r1", lambda: seen() >= before + more, 30)
