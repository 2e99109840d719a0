"""Resources of the same kinds on both remotes, each on its own: what the cluster writes down of them must not differ."""

from dataclasses import dataclass, field

from lab import configuration
from lab.report import expect
from lab.waiting import Late, until

ALIKE_LIMIT_SECONDS = 180
# What the cluster knows of an operation's end.
CODE, STATUS, REASON = "rc-code", "op-status", "exit-reason"
PLACED_LIMIT_SECONDS = 60
# Before, the stock daemon gave no reasons of its own.
HAS_REASONS = (2, 1, 3)


@dataclass(frozen=True)
class Kind:
    """A resource of each remote: its standard and type, what more is configured, and what has to come of it: an operation and
    its result code."""

    standard: str
    type: str
    expected: tuple = ()
    timeout: str = "20s"
    parameters: dict = field(default_factory=dict)
    meta: dict = field(default_factory=dict)
    on_fail: dict = field(default_factory=dict)


def name(prefix, kind, remote):
    """A resource's name."""
    return f"{prefix}-{kind}-{remote}"


def have(cluster, prefix, kinds):
    """Configures a resource of each kind on each remote. One that cannot be stopped stays; its node is not fenced for it."""
    wanted = [(name(prefix, key, remote), kind, remote) for key, kind in kinds.items() for remote in cluster.remotes]
    cluster.configure(
        [configuration.resource(resource, kind.standard, kind.type, "1s", kind.timeout, kind.parameters, kind.meta,
                                {"stop": "block", **kind.on_fail})
         for resource, kind, _ in wanted],
        [configuration.only_on(resource, remote) for resource, _, remote in wanted])


def await_started(cluster, prefix, kind):
    """Waits until a kind runs on both."""
    places = {name(prefix, kind, remote): [remote] for remote in cluster.remotes}
    cluster.await_status(f"{', '.join(places)} started", lambda status: all(status.where(resource) == place for resource, place in places.items()),
                         PLACED_LIMIT_SECONDS)


def await_failed(cluster, prefix, kind, times=1):
    """Waits until a kind has failed so often on both, and runs again."""
    for remote in cluster.remotes:
        resource = name(prefix, kind, remote)
        until(f"{resource} has failed {times} times", lambda: cluster.failures(resource, remote) == times, PLACED_LIMIT_SECONDS, 0.3)
    cluster.settle()
    await_started(cluster, prefix, kind)


def stop(cluster, prefix, kind):
    """Stops a kind on both."""
    for remote in cluster.remotes:
        cluster.set_meta(name(prefix, kind, remote), "target-role", "Stopped")
    cluster.await_status(f"{kind} stopped on both", lambda status: all(status.stopped(name(prefix, kind, remote)) for remote in cluster.remotes),
                         PLACED_LIMIT_SECONDS)


def hold_alike(cluster, prefix, kinds, of=(CODE, STATUS, REASON)):
    """Waits until all is as expected and the same on both remotes, and the cluster has nothing left to do."""
    of = [what for what in of if what != REASON or cluster.release >= HAS_REASONS]
    last = []

    def alike():
        last[:] = wrong(cluster, prefix, kinds, of)
        return not last

    try:
        until(f"{len(kinds)} resources are the same on both remotes", alike, ALIKE_LIMIT_SECONDS, 0.5)
    except Late as late:
        raise Late("\n".join([str(late), *last])) from None
    cluster.settle()
    expect(alike(), "\n".join(last))


def wrong(cluster, prefix, kinds, of):
    """What is not as expected, or differs."""
    histories = cluster.histories()
    found = []
    for key, kind in kinds.items():
        seen = {remote: sorted(told(histories.get((remote, name(prefix, key, remote)), []), name(prefix, key, remote), of))
                for remote in cluster.remotes}
        here, there = seen.values()
        if not here or here != there:
            found.append(f"{key}: {'; '.join(f'{remote}: {operations}' for remote, operations in seen.items())}")
        elif kind.expected and kind.expected not in [(operation, int(code)) for _, operation, code, *_ in here]:
            found.append(f"{key}: no {kind.expected} in {here}")
    return found


def told(operations, resource, of):
    """Of each operation its key, its name and what is wanted."""
    for operation in operations:
        yield (operation["id"].removeprefix(resource), operation["operation"],
               *(operation.get(what, "").replace(resource, "RESOURCE") for what in of))


def forget(cluster, prefix, kinds):
    """Stops and removes them all; what has failed must behave by now."""
    everything = [name(prefix, key, remote) for key in kinds for remote in cluster.remotes]
    cluster.node.run(["cibadmin", "--delete-all", "--force", f"--xpath=//primitive[starts-with(@id,'{prefix}-')]//nvpair[@name='target-role']"])
    cluster.configure([f'<primitive id="{resource}"><meta_attributes id="{resource}-m">{configuration.nvpair(f"{resource}-m", "target-role", "Stopped")}'
                       '</meta_attributes></primitive>' for resource in everything])
    # All of them at once.
    cluster.node.run(["crm_resource", "--cleanup"])
    cluster.await_status("all stopped", lambda status: all(status.stopped(resource) for resource in everything), PLACED_LIMIT_SECONDS)
    cluster.settle()
    cluster.forget(f"{prefix}-")
