"""What the reader of a test run sees: one line a check with its time, and a summary on the last line."""

import sys
import time
from contextlib import contextmanager

from .trouble import Trouble
from .waiting import Late


class Failed(Exception):
    """A check failed and has been reported; the scenario ends here."""


class Report:
    """Counts and prints checks."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    @contextmanager
    def check(self, name, begun=None):
        """One check: passes when its body ends, fails when the body raises. It may have `begun` before."""
        begun = begun or time.monotonic()
        try:
            yield
        except (AssertionError, Late, Trouble) as reason:
            self.failed += 1
            self.line("FAILED", begun, name)
            self.say("       " + str(reason or "an assertion without a message").replace("\n", "\n       "))
            raise Failed(name) from reason
        self.passed += 1
        self.line("ok", begun, name)

    def skip(self, name, reason):
        """A test that cannot run here."""
        self.skipped += 1
        self.say(f"skipped: {name}: {reason}")

    def line(self, verdict, begun, name):
        """Prints a verdict with the time it took."""
        self.say(f"{verdict:<7}{time.monotonic() - begun:6.2f} s  {name}")

    def say(self, text):
        """Prints a line at once."""
        print(text, flush=True)

    def summary(self):
        """Prints the last line."""
        sys.stderr.flush()
        self.say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")


def expect(condition, message):
    """An assertion that `python -O` does not remove."""
    if not condition:
        raise AssertionError(message)
