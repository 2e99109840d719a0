"""What is measured, one function a row or a group of rows that one measurement gives.

A measuring function takes the bench (see bench/subjects.py) and a daemon's kind, and returns what it measured
by the row's name. `Row` says how to print that, what was promised, and whether the promise is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    show: Callable
    promise: str
    # (pacelet's value, the stock daemon's) -> kept?
    kept: Callable
    # Whether `--gate` fails when the promise is missed.
    gated: bool = True


def in_bytes(value):
    """Bytes, with groups of three digits."""
    return f"{value:,} B"


def in_kib(value):
    """Bytes as KiB."""
    return f"{value / 1024:,.0f} KiB"


def in_ms(seconds):
    """Seconds as milliseconds."""
    return f"{seconds * 1000:.2f} ms"


def in_seconds(seconds):
    """Seconds."""
    return f"{seconds:.2f} s"


def in_micros(seconds):
    """Seconds as microseconds."""
    return f"{seconds * 1e6:,.0f} µs"


def in_times(ratio):
    """How many times as much as something else."""
    return f"{ratio:.2f} x"


def per_second(rate):
    """A rate."""
    return f"{rate:,.0f} /s"


def in_percent(share):
    """A share."""
    return f"{share * 100:.1f} %"
