"""How fast the machine is for the tests that run on it: their clocks count on work that takes its time and no longer."""

import threading
import time

PAUSE_SECONDS = 1
WORK_SECONDS = 0.01


class Pace:
    """Works for a moment each second, and notes how long that takes."""

    def __init__(self):
        self._notes = []
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while True:
            begun, worked = time.monotonic(), time.thread_time()
            while time.thread_time() - worked < WORK_SECONDS:
                pass
            end = time.monotonic()
            self._notes.append((end, (end - begun) / WORK_SECONDS))
            time.sleep(PAUSE_SECONDS)

    def since(self, begun):
        """How many times as long as it should work took since then, on average; 1 if nothing is known."""
        noted = [factor for end, factor in self._notes if end >= begun]
        return sum(noted) / len(noted) if noted else 1
