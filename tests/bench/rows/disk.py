"""Size on disk of the daemon and of all files that it maps when it runs."""

from pathlib import Path

from lab import daemon
from lab.trouble import Unavailable

from . import Row, in_bytes

ROWS = [
    Row("on disk, with all it loads", in_bytes, "lean <= 1,100,000 B", lambda pacelet, _: pacelet <= 1_100_000),
    Row("the same, --tiny", in_bytes, "<= 800,000 B", lambda pacelet, _: pacelet <= 800_000),
]


def measure(bench, kind):
    """Sums the sizes of the mapped files: for pacelet that is one, or the sum would show it."""
    with bench.machine(kind) as machine:
        process = machine.start_daemon()
        files = mapped_files(machine.node, process.pid)
        size = sum(machine.node.stat(path).st_size for path in files)
    bench.note(f"{kind} maps {len(files)} file{'s' if len(files) != 1 else ''}")
    if kind == "stock":
        return {ROWS[0].name: size, ROWS[1].name: size}
    return {ROWS[0].name: size} | tiny(bench)


def tiny(bench):
    """Size of the build that comes with a standard library rebuilt for size, if that can be made here."""
    try:
        file = bench.options.tiny or daemon.build("--tiny", bench.say)
    except Unavailable as reason:
        bench.skip(ROWS[1].name, reason)
        return {}
    return {ROWS[1].name: Path(file).stat().st_size}


def mapped_files(node, pid):
    """Paths in the node of the regular files that a process maps."""
    paths = set()
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[5:]
        # What is left out: anonymous memory, and the shared memory of the local IPC, which is no file on a disk.
        if path and path[0].startswith(node.prefix) and not path[0].startswith(node.prefix + "/dev/"):
            paths.add(path[0].removeprefix(node.prefix))
    return sorted(paths)
