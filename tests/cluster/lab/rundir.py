"""The directory of one run: everything the run leaves on a disk is in it.

A run holds a lock on its directory. Directories without a holder are what killed runs and failed runs left:
they are kept until there are more than a few.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
KEEP = 5


class RunDirectory:
    """A fresh directory under the build directory, locked as long as this object lives."""

    def __init__(self, kind):
        parent = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target") / "lab"
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=parent))
        # The nodes' own users write their logs below.
        self.path.chmod(0o755)
        self._lock = open(self.path / "lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def discard(self):
        """Removes the directory: the run went well."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _sweep(parent):
    ended = sorted((path for path in parent.iterdir() if _abandoned(path)), key=lambda path: path.stat().st_mtime)
    for path in ended[:-KEEP]:
        shutil.rmtree(path, ignore_errors=True)


def _abandoned(path):
    try:
        with open(path / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        # Not locked yet: it is being made, or was never finished.
        return False
    except BlockingIOError:
        return False
    return True
