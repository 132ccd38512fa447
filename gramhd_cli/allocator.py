"""The allocator setting that halves the time of a training step on glibc.

By default glibc maps every large tensor freshly from the kernel and gives it back when it is freed, so each step pays
a page fault for every 4 KiB of every activation. Here large blocks come from the heap, and the heap keeps its size.
`GRAMHD_ALLOCATOR=system` leaves everything as it is; so does any other C library.
"""

from __future__ import annotations

import os

# Parameters of mallopt(3), from malloc.h; its values are C ints.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
SETTINGS = (
    (
        M_MMAP_MAX,
        0,
    ),  # no block gets a mapping of its own (M_MMAP_THRESHOLD is capped at 32 MiB, activations are larger)
    (M_TRIM_THRESHOLD, -1),  # the heap never shrinks
    (M_TOP_PAD, 256 << 20),  # bytes: it grows in large steps; untouched pages cost nothing
)


def install() -> str:
    """Apply the setting (again, if need be) before torch loads. Returns in a few words what the allocator now is."""
    if os.environ.get("GRAMHD_ALLOCATOR") == "system":
        return "system (GRAMHD_ALLOCATOR=system)"
    libc = _glibc_version()
    if libc is None:
        return "system (not glibc)"
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not all(mallopt(parameter, value) == 1 for parameter, value in SETTINGS):
        return f"system ({libc} refused the setting)"
    return f"{libc}, keeping its heap"


def _glibc_version() -> str | None:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):  # another system, or another C library
        return None
    return name if name and name.startswith("glibc") else None
