"""What translated code calls at each access to memory: is it aligned, within an array, and free of a race?

**Bounds.** A global address must lie in an array that was given to this launch, a shared one in the block's memory.

**Races within a block.** Two accesses to one word, at least one a write and not both atomic, by different threads, are
ordered if a barrier of the block lies between them, or, within a warp, a barrier of the warp. Intervals between
barriers are counted; each word remembers the intervals and threads of its latest write, its reads and its atomics.

**Races between blocks** (`race_` functions; FastTrack, Flanagan and Freund, PLDI 2009, with blocks for threads). A
release at an address leaves there what its block knows: for each block, the interval before which all of that block's
accesses are done. An acquire at that address takes it over, for its thread at once and for its block at the next
barrier. An access of another block is ordered only if its interval is known. Execution here is sequentially consistent,
and a program without such races behaves as if hardware's weaker memory were too.
"""

# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ptx.kept import kept_callback
from ptx.layout import (
    ATOMIC,
    BLOCK,
    ENVIRONMENT,
    FAULT_ADDRESS,
    FAULT_KIND,
    FAULT_OTHER,
    FAULT_PLACE,
    INTERVAL,
    LOCAL_BYTES,
    LOOK,
    MISALIGNED,
    OUT_OF_BOUNDS,
    RACE_ATOMIC,
    RACE_READ,
    RACE_WRITTEN,
    RACES,
    RANGE_COUNT,
    RANGES,
    READ,
    REGISTERS,
    SHARED,
    SHARED_BYTES,
    SHARED_RECORDS,
    SITES,
    THREAD,
    WARP_INTERVALS,
)
from ptx.pointers import longs, words

SEVERAL = -2
# A shared word's record
W_INTERVAL, W_THREAD, W_WARP_INTERVAL, R_INTERVAL, R_WARP, R_THREAD, R_WARP_INTERVAL, A_INTERVAL, A_THREAD = range(9)
SHARED_RECORD = 9
# A global word's record: blocks count from 1, 0 is none
G_WRITER, G_WRITER_THREAD, G_WRITE_INTERVAL, G_READER, G_READER_THREAD, G_READ_INTERVAL, G_VECTOR = range(7)
G_ATOMIC, G_ATOMIC_THREAD, G_ATOMIC_INTERVAL = 7, 8, 9
GLOBAL_RECORD = 10
# The state of all blocks' knowledge, int64 words; the first ones are addresses of int32 arrays
RECORDS, KNOWN, PENDING, ACQUIRERS, RELEASED_AT, RELEASED, VECTORS = range(7)
BLOCKS, RELEASES, MOST_RELEASES, VECTOR_COUNT, MOST_VECTORS, UNCHECKED = range(7, 13)
KNOWLEDGE = 13


@njit(inline="always")
def _fail(environment, kind, address, place, other):
    environment[FAULT_KIND] = kind
    environment[FAULT_ADDRESS] = address
    environment[FAULT_PLACE] = place
    environment[FAULT_OTHER] = other
    return kind


@njit(inline="always")
def _unordered(interval, thread, warp_interval, now, me, my_warp_interval):
    """Whether an access of this block's `thread` may run at the same time as mine."""
    if interval != now or thread == me:
        return False
    return not (thread >= 0 and thread >> 5 == me >> 5 and warp_interval < my_warp_interval)


@njit(inline="always")
def _unordered_reads(record, now, me, warp_interval):
    if record[R_INTERVAL] != now:
        return False
    if record[R_WARP] != me >> 5:
        return True
    return record[R_WARP_INTERVAL] >= warp_interval and record[R_THREAD] != me


@njit(inline="always")
def _note_read(record, now, me, warp_interval):
    if record[R_INTERVAL] != now or (record[R_WARP] == me >> 5 and record[R_WARP_INTERVAL] < warp_interval):
        record[R_INTERVAL], record[R_WARP], record[R_THREAD] = now, me >> 5, me
        record[R_WARP_INTERVAL] = warp_interval
    elif record[R_WARP] != me >> 5:
        record[R_WARP] = SEVERAL
    elif record[R_THREAD] != me:
        record[R_THREAD] = SEVERAL


@njit
def _shared_word(record, kind, now, me, warp_interval):
    """0, or the kind of race that an access to a word has; the record then knows of the access."""
    if _unordered(record[W_INTERVAL], record[W_THREAD], record[W_WARP_INTERVAL], now, me, warp_interval):
        return RACE_WRITTEN
    if kind != ATOMIC and kind != LOOK and record[A_INTERVAL] == now and record[A_THREAD] != me:
        return RACE_ATOMIC
    if kind == READ:
        _note_read(record, now, me, warp_interval)
        return 0
    if kind == LOOK:
        return 0
    if _unordered_reads(record, now, me, warp_interval):
        return RACE_READ
    if kind == ATOMIC:
        record[A_THREAD] = me if record[A_INTERVAL] != now or record[A_THREAD] == me else SEVERAL
        record[A_INTERVAL] = now
    else:
        record[W_INTERVAL], record[W_THREAD], record[W_WARP_INTERVAL] = now, me, warp_interval
    return 0


@njit
def _check_shared(offset, size, kind, place, env, state):
    environment = longs(env, ENVIRONMENT)
    if offset & (size - 1):
        return _fail(environment, MISALIGNED, offset, place, -1)
    if offset < 0 or offset + size > environment[SHARED_BYTES]:
        return _fail(environment, OUT_OF_BOUNDS, offset, place, -1)
    me = words(state, REGISTERS)[THREAD]
    now = environment[INTERVAL]
    warp_interval = words(environment[WARP_INTERVALS], 32)[me >> 5]
    for word in range(offset >> 2, (offset + size + 3) >> 2):
        record = words(environment[SHARED_RECORDS] + word * 4 * SHARED_RECORD, SHARED_RECORD)
        other = record[R_THREAD] if kind != READ else record[W_THREAD]
        race = _shared_word(record, kind, now, me, warp_interval)
        if race:
            other = record[W_THREAD] if race == RACE_WRITTEN else record[A_THREAD] if race == RACE_ATOMIC else other
            return _fail(environment, race, offset, place, other)
    return 0


@njit
def _check_local(offset, size, kind, place, env, state):
    environment = longs(env, ENVIRONMENT)
    if offset & (size - 1):
        return _fail(environment, MISALIGNED, offset, place, -1)
    if offset < 0 or offset + size > environment[LOCAL_BYTES]:
        return _fail(environment, OUT_OF_BOUNDS, offset, place, -1)
    return 0


@njit
def _range_of(environment, address, size):
    """The index of the launch's array that holds these bytes, or -1; ranges are sorted and disjoint."""
    count = environment[RANGE_COUNT]
    ranges = longs(environment[RANGES], 3 * count)
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if ranges[3 * middle] <= address:
            low = middle + 1
        else:
            high = middle
    if low and address + size <= ranges[3 * low - 2]:
        return low - 1
    return -1


@njit
def _check_global(address, size, kind, place, env, state, site):
    environment = longs(env, ENVIRONMENT)
    if address & (size - 1):
        return _fail(environment, MISALIGNED, address, place, -1)
    found = _range_of(environment, address, size)
    if found < 0:
        return _fail(environment, OUT_OF_BOUNDS, address, place, -1)
    if site >= 0:
        ranges = longs(environment[RANGES] + 24 * found, 3)
        sites = longs(environment[SITES] + 16 * site, 2)
        sites[0], sites[1] = ranges[0], ranges[1] - ranges[0] - size
    return 0


@njit
def _check_generic(address, size, kind, place, env, state):
    environment = longs(env, ENVIRONMENT)
    offset = address - environment[SHARED]
    if 0 <= offset < environment[SHARED_BYTES]:
        return _check_shared(offset, size, kind, place, env, state)
    return _check_global(address, size, kind, place, env, state, -1)


@njit(inline="always")
def _known(knowledge, block, thread, other):
    """The interval of another block before which all is known to this thread."""
    blocks = knowledge[BLOCKS]
    at = 4 * (block * blocks + other)
    known = words(knowledge[KNOWN] + at, 1)[0]
    acquirer = words(knowledge[ACQUIRERS] + 4 * block, 1)[0]
    if acquirer == thread or acquirer == SEVERAL:  # noqa: SIM109 (Numba knows no `in` of a mixed tuple)
        known = max(known, words(knowledge[PENDING] + at, 1)[0])
    return known


@njit
def _concurrent(knowledge, owner, thread, interval, block, me, now):
    """Whether an access of block `owner - 1` may run at the same time as mine."""
    if owner == 0:
        return False
    if owner - 1 == block:
        return thread != me and interval >= now
    return interval >= _known(knowledge, block, me, owner - 1)


@njit
def _vector(knowledge, record):
    """The record's table of reads by block, made at the second block's read; an empty one if there is no more room."""
    blocks = knowledge[BLOCKS]
    if record[G_VECTOR] == 0:
        if knowledge[VECTOR_COUNT] == knowledge[MOST_VECTORS]:
            knowledge[UNCHECKED] += 1
            return words(knowledge[VECTORS], 0)
        knowledge[VECTOR_COUNT] += 1
        record[G_VECTOR] = knowledge[VECTOR_COUNT]
    return words(knowledge[VECTORS] + 4 * (record[G_VECTOR] - 1) * blocks, blocks)


@njit
def _concurrent_reads(knowledge, record, block, me, now):
    if record[G_READER] != SEVERAL:
        return _concurrent(
            knowledge, record[G_READER], record[G_READER_THREAD], record[G_READ_INTERVAL], block, me, now
        )
    reads = _vector(knowledge, record)
    for other in range(len(reads)):
        if reads[other] and _concurrent(knowledge, other + 1, SEVERAL, reads[other], block, me, now):
            return True
    return False


@njit
def _note_global_read(knowledge, record, block, me, now):
    owner = record[G_READER]
    if owner == 0 or owner == block + 1:
        if owner and record[G_READ_INTERVAL] == now and record[G_READER_THREAD] != me:
            record[G_READER_THREAD] = SEVERAL
        else:
            record[G_READER_THREAD] = me
        record[G_READER], record[G_READ_INTERVAL] = block + 1, now
        return
    reads = _vector(knowledge, record)
    if len(reads):
        if owner != SEVERAL:
            reads[owner - 1] = record[G_READ_INTERVAL]
        reads[block] = now
    record[G_READER] = SEVERAL


@njit
def _global_word(knowledge, record, kind, block, me, now):
    if _concurrent(knowledge, record[G_WRITER], record[G_WRITER_THREAD], record[G_WRITE_INTERVAL], block, me, now):
        return RACE_WRITTEN
    if kind == LOOK:
        return 0
    if kind != ATOMIC and _concurrent(
        knowledge, record[G_ATOMIC], record[G_ATOMIC_THREAD], record[G_ATOMIC_INTERVAL], block, me, now
    ):
        return RACE_ATOMIC
    if kind == READ:
        _note_global_read(knowledge, record, block, me, now)
        return 0
    if _concurrent_reads(knowledge, record, block, me, now):
        return RACE_READ
    if kind == ATOMIC:
        record[G_ATOMIC], record[G_ATOMIC_THREAD], record[G_ATOMIC_INTERVAL] = block + 1, me, now
    else:
        record[G_WRITER], record[G_WRITER_THREAD], record[G_WRITE_INTERVAL] = block + 1, me, now
        record[G_READER] = 0  # whatever was read before is ordered before this write
    return 0


@njit
def _race_global(address, size, kind, place, env, state, site):
    bad = _check_global(address, size, kind, place, env, state, -1)
    if bad:
        return bad
    environment = longs(env, ENVIRONMENT)
    found = _range_of(environment, address, size)
    ranges = longs(environment[RANGES] + 24 * found, 3)
    knowledge = longs(environment[RACES], KNOWLEDGE)
    mine = words(state, REGISTERS)
    block, me, now = mine[BLOCK], mine[THREAD], environment[INTERVAL]
    base = ranges[2] - (ranges[0] >> 2)
    for word in range(address >> 2, (address + size + 3) >> 2):
        record = words(knowledge[RECORDS] + (base + word) * 4 * GLOBAL_RECORD, GLOBAL_RECORD)
        other = record[G_READER]
        race = _global_word(knowledge, record, kind, block, me, now)
        if race:
            other = record[G_WRITER] if race == RACE_WRITTEN else record[G_ATOMIC] if race == RACE_ATOMIC else other
            return _fail(environment, race, address, place, other)
    return 0


@njit
def _race_generic(address, size, kind, place, env, state):
    environment = longs(env, ENVIRONMENT)
    offset = address - environment[SHARED]
    if 0 <= offset < environment[SHARED_BYTES]:
        return _check_shared(offset, size, kind, place, env, state)
    return _race_global(address, size, kind, place, env, state, -1)


@njit
def _place_of(knowledge, address, make):
    """The row of what was released at an address, or -1."""
    addresses = longs(knowledge[RELEASED_AT], knowledge[MOST_RELEASES])
    count = knowledge[RELEASES]
    for k in range(count):
        if addresses[k] == address:
            return k
    if not make or count == knowledge[MOST_RELEASES]:
        return -1
    addresses[count] = address
    knowledge[RELEASES] = count + 1
    return count


@njit
def _release(address, env, state):
    environment = longs(env, ENVIRONMENT)
    knowledge = longs(environment[RACES], KNOWLEDGE)
    mine = words(state, REGISTERS)
    block, blocks = mine[BLOCK], knowledge[BLOCKS]
    row = _place_of(knowledge, address, True)
    if row >= 0:
        left = words(knowledge[RELEASED] + 4 * row * blocks, blocks)
        for other in range(blocks):
            left[other] = max(left[other], _known(knowledge, block, mine[THREAD], other))
        left[block] = max(left[block], np.int32(environment[INTERVAL]))
    return 0


@njit
def _acquire(address, env, state):
    environment = longs(env, ENVIRONMENT)
    knowledge = longs(environment[RACES], KNOWLEDGE)
    mine = words(state, REGISTERS)
    block, blocks = mine[BLOCK], knowledge[BLOCKS]
    row = _place_of(knowledge, address, False)
    if row >= 0:
        left = words(knowledge[RELEASED] + 4 * row * blocks, blocks)
        pending = words(knowledge[PENDING] + 4 * block * blocks, blocks)
        for other in range(blocks):
            pending[other] = max(pending[other], left[other])
        acquirer = words(knowledge[ACQUIRERS] + 4 * block, 1)
        acquirer[0] = mine[THREAD] if acquirer[0] == -1 or acquirer[0] == mine[THREAD] else SEVERAL
    return 0


@njit
def take_over(knowledge, block):
    """At a barrier, the block knows what its threads have acquired."""
    blocks = knowledge[BLOCKS]
    known = words(knowledge[KNOWN] + 4 * block * blocks, blocks)
    pending = words(knowledge[PENDING] + 4 * block * blocks, blocks)
    for other in range(blocks):
        known[other] = max(known[other], pending[other])
    words(knowledge[ACQUIRERS] + 4 * block, 1)[0] = -1


_I32, _I64 = types.int32, types.int64
_ACCESS = _I32(_I64, _I32, _I32, _I32, _I64, _I64)
_SITE = _I32(_I64, _I32, _I32, _I32, _I64, _I64, _I32)
_POINT = _I32(_I64, _I64, _I64)
_FUNCTIONS: dict[tuple[str, bool], tuple[Any, Any]] = {
    ("shared", False): (_ACCESS, _check_shared),
    ("local", False): (_ACCESS, _check_local),
    ("generic", False): (_ACCESS, _check_generic),
    ("generic", True): (_ACCESS, _race_generic),
    ("global", False): (_SITE, _check_global),
    ("global", True): (_SITE, _race_global),
    ("release", True): (_POINT, _release),
    ("acquire", True): (_POINT, _acquire),
}


@cache
def _compiled(name: str, races: bool) -> Any:
    signature, function = _FUNCTIONS[name, races]
    return kept_callback(function.py_func, signature)


def address_of(name: str, races: bool) -> str:
    """A function for translated code, as a constant of LLVM IR."""
    key = (name, races) if (name, races) in _FUNCTIONS else (name, False)
    return f"inttoptr (i64 {_compiled(*key).address} to ptr)"
