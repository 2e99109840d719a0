"""What connections cost, and whether memory grows with what a daemon has done."""

from . import Row, in_kib, in_micros, in_ms

NUMBERS = (1, 8, 32)
OPERATIONS = (1000, 10_000)
RECONNECTS = (100, 1000)
LIMIT_SECONDS = 600
WITH_TEN = "connected, 10 resources: RSS"
# Not private memory: what a child that has not executed yet shares would be missing from it.
GROWN = "RSS after 10,000 operations minus after 1,000"
RECONNECTED = "RSS after 1,000 reconnects minus after 100"


def nothing(*_):
    return None


ROWS = [
    Row(WITH_TEN, in_kib, "<= 1.5 MB", lambda pacelet, _: pacelet <= 1_500_000),
    *[Row(f"{number} connections: {what}", show, "", nothing, gated=False) for number in NUMBERS
      for what, show in (("CPU of a handshake", in_micros), ("poke, p50", in_ms), ("RSS", in_kib))],
    Row(GROWN, in_kib, "<= 64 KiB", lambda pacelet, _: pacelet <= 64 * 1024),
    Row(RECONNECTED, in_kib, "<= 64 KiB", lambda pacelet, _: pacelet <= 64 * 1024),
]


def measure(bench, kind):
    """Each in a daemon of its own."""
    values = {}
    for number, seen in run(bench, kind, "connections").items():
        values[f"{number} connections: CPU of a handshake"] = seen["handshake"]
        values[f"{number} connections: poke, p50"] = seen["poke"]
        values[f"{number} connections: RSS"] = seen["rss"]
        if number == "1":
            values[WITH_TEN] = seen["rss"]
    for row, what, numbers in ((GROWN, "operations", OPERATIONS), (RECONNECTED, "reconnects", RECONNECTS)):
        first, last = run(bench, kind, what, *numbers)
        values[row] = last["rss"] - first["rss"]
        bench.note(f"{kind}, {what}: RSS {in_kib(first['rss'])} after {numbers[0]:,}, {in_kib(last['rss'])} after {numbers[1]:,}")
    return values


def run(bench, kind, *words):
    """Runs the measuring program against a fresh daemon."""
    with bench.machine(kind) as machine:
        machine.add_agents(bench.agent())
        pid = machine.inner_pid(machine.start_daemon(before_others=True))
        return machine.inside("growth.py", pid, *words, limit=LIMIT_SECONDS)
