"""Waiting with an end: nothing in the lab waits without a limit."""

import time

POLL_SECONDS = 0.1


class Late(Exception):
    """Something did not happen in time."""


def until(what, predicate, limit, poll=POLL_SECONDS):
    """Polls `predicate` until it gives something true, and returns that; after `limit` seconds raises `Late`.

    The message ends with `predicate.state()`, if there is such a thing: what was seen last.
    """
    deadline = time.monotonic() + limit
    while True:
        found = predicate()
        if found:
            return found
        if time.monotonic() >= deadline:
            state = getattr(predicate, "state", None)
            raise Late(f"{what}: not within {limit:g} s" + (f" ({state()})" if state else ""))
        time.sleep(poll)
