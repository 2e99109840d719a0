"""A CIB of 10 MB is read on the remotes, and 3 MB are written, where the buffers are for it; where not, the log says which."""

from random import Random

from lab import configuration
from lab.report import expect
from lab.waiting import until

from . import steps

TITLE = "a CIB of 10 MB, beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True

VARIABLE = "PCMK_ipc_buffer"
RECHECK = "cluster-recheck-interval"
# On the remotes enough for all of it as it is. Each session has three such buffers in /dev/shm: cluster nodes, with their
# many, have smaller ones, and compress.
ENVIRONMENT = {"members": {VARIABLE: str(2 << 20)}, "remotes": {VARIABLE: str(16 << 20)}}
LARGE, SMALLER = 10_000_000, 3_000_000
PAIR_BYTES, RANDOM_BITS = 10_000, 5_600
TOOL_LIMIT_SECONDS = 120
NAMED_LIMIT_SECONDS = 30
CONNECTED_LIMIT_SECONDS = 60


def run(cluster, report):
    # The scheduler is not to look at it all again every ten seconds.
    cluster.set_property(RECHECK, "15min")
    # The 10 MB come last: a cluster node is busy for seconds with each change of a CIB that has them.
    for name, remote in cluster.remotes.items():
        with report.check(f"cibadmin on {name} writes 3 MB, and replaces them"):
            put(remote.node, "create", template(f"from-{name}", SMALLER))
            read(remote.node, f"from-{name}", SMALLER)
            put(remote.node, "modify", template(f"from-{name}", SMALLER, "y"))
            expect(read(remote.node, f"from-{name}", SMALLER).count('value="y') == SMALLER // PAIR_BYTES, "what was written is not what is read")
            remote.node.run(["cibadmin", "--delete", "--xpath", f"//template[@id='from-{name}']"], limit=TOOL_LIMIT_SECONDS)
    with report.check("a template of 10 MB is in the CIB"):
        put(cluster.node, "create", template("large", LARGE))
        cluster.settle()
    for name, remote in cluster.remotes.items():
        with report.check(f"cibadmin on {name} reads it all"):
            read(remote.node, "large", LARGE)
    with report.check("it goes again"):
        cluster.node.run(["cibadmin", "--delete", "--xpath", "//template[@id='large']"], limit=TOOL_LIMIT_SECONDS)
        cluster.settle()
    without(cluster, report)


def without(cluster, report):
    """r1 without the variable: too little for the template, even compressed."""
    remote = cluster.remotes["r1"]
    remote.node.write("/etc/default/pacemaker", configuration.ENVIRONMENT + configuration.TALKATIVE)
    restart(cluster, remote)
    put(cluster.node, "create", template("large", LARGE))
    with report.check(f"without the variable on r1 the tool fails, and the log names {VARIABLE}"):
        before = len(log(remote))
        words = ["env", f"--unset={VARIABLE}", "timeout", "60", "cibadmin", "--query"]
        expect(remote.node.run(words, check=False, limit=TOOL_LIMIT_SECONDS).returncode != 0, "cibadmin has it all the same")
        until(f"the log names {VARIABLE}", lambda: VARIABLE in log(remote)[before:], NAMED_LIMIT_SECONDS)
    with report.check("other tools work on r1 all the same"):
        # The controller may be busy with the 10 MB itself.
        until("crm_node says r1", lambda: remote.node.run(["crm_node", "--name"], check=False).stdout.strip() == "r1", CONNECTED_LIMIT_SECONDS)
    with report.check("with the variable again, and the template gone, all is well"):
        cluster.node.run(["cibadmin", "--delete", "--xpath", "//template[@id='large']"], limit=TOOL_LIMIT_SECONDS)
        cluster.settle()
        text = f"{VARIABLE}={ENVIRONMENT['remotes'][VARIABLE]}\n"
        remote.node.write("/etc/default/pacemaker", configuration.ENVIRONMENT + text + configuration.TALKATIVE)
        restart(cluster, remote)
        steps.await_online(cluster, *cluster.remotes)
    cluster.set_property(RECHECK, configuration.PROPERTIES[RECHECK])


def template(name, size, filler="x"):
    """A template of about that many bytes, of pairs that nobody looks at: few, as the cluster's daemons take their time
    for each.

    In part they differ at random: compressed, they are longer than a tool without the variable takes, and shorter than
    corosync takes of a cluster node."""
    random = Random(size)
    padding = "-" * (PAIR_BYTES - RANDOM_BITS // 4)
    pairs = "".join(f'<nvpair id="{name}-{number}" name="n{number}" value="{filler}{random.getrandbits(RANDOM_BITS):x}{padding}"/>'
                    for number in range(size // PAIR_BYTES))
    return (f'<template id="{name}" class="ocf" provider="pacemaker" type="Dummy"><meta_attributes id="{name}-meta">{pairs}'
            '</meta_attributes></template>')


def put(node, how, text):
    """Writes an object, which is too long for a command line."""
    node.run(["cibadmin", f"--{how}", "--scope", "resources", "--xml-pipe"], input=text, limit=TOOL_LIMIT_SECONDS)


def read(node, name, size):
    """The whole CIB, with that template."""
    seen = node.run(["cibadmin", "--query"], limit=TOOL_LIMIT_SECONDS).stdout
    expect(len(seen) > size and f'<template id="{name}"' in seen and seen.rstrip().endswith("</cib>"), f"{len(seen)} bytes, or no {name} in them")
    return seen


def log(remote):
    return (remote.node.directory / "log/daemon.log").read_text(errors="replace")


def restart(cluster, remote):
    """Takes the remote's daemon down in an orderly way, and starts it again."""
    cluster.set_meta(remote.name, "target-role", "Stopped")
    cluster.await_status(f"{remote.name} stopped", lambda status: status.stopped(remote.name), CONNECTED_LIMIT_SECONDS)
    remote.daemon.signal(15)
    expect(remote.daemon.exit_code(30) is not None, f"{remote.name}'s daemon does not end")
    remote.start()
    cluster.set_meta(remote.name, "target-role", "Started")
    cluster.await_status(f"{remote.name} online", lambda status: status.online(remote.name), CONNECTED_LIMIT_SECONDS)
