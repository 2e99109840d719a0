"""Local tools on the node: what a command takes and what it costs the daemon, and what sessions leave behind.

The cluster at the other end has its answers ready, so that what differs is the daemon.
"""

from statistics import median

from lab.trouble import Trouble

from . import Row, in_kib, in_micros, in_ms, per_second

TURNS = 5
QUERY, ATTRIBUTE = ("cibadmin", "-Q"), ("crm_attribute", "-n", "property", "-G")
# Each by its name: the command, the CIB's bytes, how often it runs in a turn. More than 128 KiB wants a buffer on both ends.
COMMANDS = {
    "cibadmin -Q, 10 kB": (QUERY, 10_000, 30),
    "cibadmin -Q, 1 MB": (QUERY, 1_000_000, 10),
    "cibadmin -Q, 10 MB": (QUERY, 10_000_000, 3),
    "crm_attribute -G": (ATTRIBUTE, 10_000, 30),
}
BUFFERED = 128 * 1024
BUFFER = "PCMK_ipc_buffer=12582912\n"
DOWNLOADS = 5
SESSIONS = (1000, 10_000)
LIMIT_SECONDS = 300
POKES = "poke during downloads of 10 MB, p99"
GROWN = "RSS after 10,000 sessions minus after 1,000"
LEFT = "/dev/shm after 10,000 sessions minus after 1,000"
# What a machine's other load makes of two measurements of the same thing.
NOISE = 1.05


def rate_row(name):
    """Most of such a command's time is the tool's own, and what other load there is decides on it: told, but not held to."""
    return Row(f"{name}: commands", per_second, ">= stock", lambda pacelet, stock: stock is not None and pacelet * NOISE >= stock, gated=False)


def cpu_row(name):
    return Row(f"{name}: CPU of the daemon", in_micros, "<= stock", lambda pacelet, stock: stock is not None and pacelet <= stock * NOISE)


ROWS = [
    *[row(name) for name in COMMANDS for row in (rate_row, cpu_row)],
    Row(POKES, in_ms, "< 50 ms", lambda pacelet, _: pacelet < 0.050),
    Row(GROWN, in_kib, "<= 64 KiB", lambda pacelet, _: pacelet <= 64 * 1024),
    Row(LEFT, in_kib, "0", lambda pacelet, _: pacelet == 0),
]


def measure_all(bench, kinds):
    """The medians of some turns each; the daemons alternate."""
    seen = {kind: {row.name: [] for row in ROWS} for kind in kinds}
    for turn in range(TURNS):
        for what in (commands, pokes, sessions)[:3 if turn == 0 else 1]:
            for kind in kinds:
                try:
                    what(bench, kind, seen[kind])
                except Trouble as reason:
                    bench.note(f"NOT MEASURED ({kind}, {what.__name__}): {reason}")
    return {kind: {name: median(values) for name, values in rows.items() if values} for kind, rows in seen.items()}


def commands(bench, kind, rows):
    for name, (command, size, count) in COMMANDS.items():
        measured = run(bench, kind, size > BUFFERED, "runs", size, count, *command)
        rows[f"{name}: commands"].append(1 / measured["each"])
        rows[f"{name}: CPU of the daemon"].append(measured["cpu"])


def pokes(bench, kind, rows):
    seen = sorted(run(bench, kind, True, "pokes", 10_000_000, DOWNLOADS)["pokes"])
    rows[POKES].append(seen[len(seen) * 99 // 100])
    bench.note(f"{kind}, pokes during downloads: {len(seen)}, p50 {in_ms(median(seen))}, max {in_ms(seen[-1])}")


def sessions(bench, kind, rows):
    first, last = run(bench, kind, False, "sessions", *SESSIONS).values()
    rows[GROWN].append(last["rss"] - first["rss"])
    rows[LEFT].append(last["shared"] - first["shared"])
    bench.note(f"{kind}, sessions: RSS {in_kib(first['rss'])} after {SESSIONS[0]:,}, {in_kib(last['rss'])} after {SESSIONS[1]:,}")


def run(bench, kind, buffered, *words):
    """Runs the measuring program against a fresh daemon."""
    with bench.machine(kind, BUFFER if buffered else "") as machine:
        pid = machine.inner_pid(machine.start_daemon(before_others=True))
        return machine.inside("tools.py", pid, *words, limit=LIMIT_SECONDS, more=[BUFFER.strip()] if buffered else [])
