"""Start, connection and poke, as a stock controller sees them.

On a busy machine these say more of the machine: the measuring programs, and with them a daemon that they start,
run at a higher priority than what else runs, and the table ends with the machine's load.
"""

import json
from statistics import median

from lab.cluster import DAEMON
from subjects import ADDRESS, INSIDE, PORT

from . import Row, in_ms

STARTS = 21
CONNECTIONS = 21
POKES = 61
LIMIT_SECONDS = 120

ROWS = [
    Row("exec to port open, p50", in_ms, "< 2 ms", lambda pacelet, _: pacelet < 0.002),
    Row("connect, handshake, register, p50", in_ms, "", lambda *_: None, gated=False),
    Row("poke, stock client (Nagle on), p50", in_ms, "< 1 ms", lambda pacelet, _: pacelet < 0.001),
]


def measure(bench, kind):
    """Runs the two measuring programs in the node."""
    with bench.machine(kind) as machine:
        starts = starting(machine.node)
        machine.start_daemon()
        client = machine.inside("pokes.py", CONNECTIONS, POKES)
    for name, values in (("exec to port open", starts), ("connect to register", client["register"]), ("poke", client["poke"])):
        bench.note(f"{kind}, {name}: min {in_ms(min(values))}, max {in_ms(max(values))}, {len(values)} times")
    return {ROWS[0].name: median(starts), ROWS[1].name: median(client["register"]), ROWS[2].name: median(client["poke"])}


def starting(node):
    """Runs the program that starts the daemon again and again."""
    # Before other load: both sides of what is measured inherit it.
    words = ["nice", "-n", "-15", "python3", "-", ADDRESS, PORT, STARTS, DAEMON]
    return json.loads(node.run(words, input=(INSIDE / "starter.py").read_text(), limit=LIMIT_SECONDS).stdout)
