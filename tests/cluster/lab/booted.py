"""A node of the lab whose first process is a real systemd, with its system bus."""

import sys
from pathlib import Path

from .node import Node

BOOT = Path(__file__).resolve().parents[2] / "systemd/boot.py"


class Booted(Node):
    """A node as any other; `systemctl` and D-Bus work in it."""

    READY_LIMIT_SECONDS = 100

    def __init__(self, name, layers, directory, life, inner=()):
        """`inner`: layers of another root, at /inner; `life`: seconds after which the node ends at the latest."""
        words = [sys.executable, BOOT, f"--layers={':'.join(map(str, layers))}", f"--life={life}"]
        self._enter(name, directory, [*words, f"--inner={':'.join(map(str, inner))}"] if inner else words)
