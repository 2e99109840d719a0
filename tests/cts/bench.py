"""A place where Pacemaker's own suite meets a daemon: one node with systemd, and the suite's root if that is another."""

import os
import re

from lab.booted import Booted

DAEMON = "/usr/sbin/pacemaker-remoted"
SUITE = "/usr/share/pacemaker/tests/cts-exec"
OPTIONS = "/usr/lib/python3/dist-packages/pacemaker/buildoptions.py"
INNER = "/inner"
AUTHKEY = "/etc/pacemaker/authkey"
LIFE_SECONDS = 1800
# What the suite and the daemon must both see where the suite has a root of its own: sockets, logs, the key, state
# files, and the agents that the suite installs.
SHARED = ("/dev", "/etc/init.d", "/etc/pacemaker", "/proc", "/run", "/sys", "/tmp", "/usr/lib/systemd/system")
# Under each of the names by which the suite starts a daemon: the one under test, in the root that it belongs to.
STARTER = f'#!/bin/sh\nexec chroot /proc/1/root {DAEMON} "$@"\n'
LISTED = re.compile(r"^ *(\w+) - ", re.MULTILINE)


class Bench:
    """A node to run tests of the suite in, one after the other."""

    def __init__(self, name, daemon, root, suite, directory):
        """`root` is the daemon's root, `suite` the suite's."""
        inner = [suite.path] if suite.path != root.path else []
        self._node = Booted(name, [daemon.layer, root.path], directory, LIFE_SECONDS, inner)
        self._enter = ["chroot", INNER] if inner else []
        try:
            self._prepare(INNER if inner else "")
        except BaseException:
            self.end()
            raise

    def _prepare(self, prefix):
        if prefix:
            for path in SHARED:
                self._node.run(["mkdir", "-p", path, prefix + path])
                self._node.run(["mount", "--rbind", path, prefix + path])
            # What the suite installs there is started by systemd.
            self._node.run(["mkdir", "-p", "/usr/lib/pacemaker"])
            self._node.run(["mount", "--bind", f"{prefix}/usr/lib/pacemaker", "/usr/lib/pacemaker"])
        for name in ("pacemaker-remoted", "pacemaker-execd"):
            self._node.write(f"{prefix}/usr/lib/pacemaker/{name}", STARTER, 0o755)
        # Else the daemon would not have a port, and the suite waits for one also where it does not use it.
        self._node.write(AUTHKEY, os.urandom(4096), 0o600)
        # Debian's packages lack what the suite asks for first: where it was built.
        self._node.run(["sh", "-c", f"echo '    _BUILD_DIR = \"/nonexistent\"' >>{prefix}{OPTIONS}"])

    def tests(self, options):
        """The names of the suite's tests, and what it says before it lists them."""
        told, _, listed = self._suite([*options, "--list-tests"], 60).partition("TESTS FOUND")
        return [name for name in LISTED.findall(listed) if name != "NAME"], told

    def play(self, test, options, limit):
        """Runs one test; returns all that the suite says."""
        return self._suite([*options, "--verbose", "--run-only", test], limit)

    def _suite(self, options, limit):
        done = self._node.run([*self._enter, SUITE, *options], check=False, limit=limit)
        return done.stdout + done.stderr

    def end(self):
        """Ends it with all that runs in it."""
        self._node.end()
