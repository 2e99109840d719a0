"""The lab's network: one bridge in a net namespace of its own.

Nothing appears in the host's namespace and no address leaves the lab, so any number of labs can use the same
names and addresses side by side.
"""

import subprocess

from .tap import Tap
from .trouble import Trouble

PREFIX4 = "10.77.0."
PREFIX6 = "fd00:77::"
LIMIT_SECONDS = 20
HOLD = "ip link set lo up && ip link add name lab type bridge && ip link set lab up && echo ready && read -r _"


class Network:
    """The bridge; lives as long as the process that holds this object."""

    def __init__(self):
        self._ports = {}
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if self._holder.stdout.readline() != b"ready\n":
            reason = self._holder.stderr.read().decode(errors="replace").strip()
            raise Trouble(f"cannot make a bridge in a net namespace: {reason}\n  (the lab needs root)")

    def attach(self, node, number):
        """Plugs a node in; returns its IPv4 and IPv6 addresses."""
        four, six = f"{PREFIX4}{number}", f"{PREFIX6}{number}"
        port = f"port{number}"
        self._ports[node.name] = port
        self._ip(["link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", str(node.pid)])
        self._ip(["link", "set", port, "master", "lab", "up"])
        for words in (["link", "set", "eth0", "up"], ["addr", "add", f"{four}/24", "dev", "eth0"],
                      ["addr", "add", f"{six}/64", "dev", "eth0", "nodad"]):
            node.run(["ip", *words])
        return four, six

    def tap(self):
        """Begins to listen to what remotes' daemons send."""
        return Tap(self._holder.pid)

    def cut(self, node):
        """Lets nothing through to or from a node any more; the node keeps its link."""
        self._inside(["bridge", "link", "set", "dev", self._ports[node.name], "state", "disabled"])

    def mend(self, node):
        """Ends a cut."""
        self._inside(["bridge", "link", "set", "dev", self._ports[node.name], "state", "forwarding"])

    def _ip(self, words):
        self._inside(["ip", *words])

    def _inside(self, words):
        done = subprocess.run(["nsenter", f"--target={self._holder.pid}", "--net", *words], capture_output=True,
                              text=True, timeout=LIMIT_SECONDS)
        if done.returncode != 0:
            raise Trouble(f"`{' '.join(words)}` in the lab's bridge namespace failed: {done.stderr.strip()}")

    def end(self):
        """Removes the bridge with its namespace."""
        self._holder.stdin.close()
        try:
            self._holder.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait()
        self._holder.stdout.close()
        self._holder.stderr.close()
