"""Runs the threads of a launch by turns, all blocks that fit alive together, and serves what they wait for.

Without a seed, blocks and threads take turns in order. With one, the order of a block's threads changes now and again,
some threads run much slower than others, and now and then a whole block falls behind.
"""

# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls
from __future__ import annotations

import numpy as np
from numba import njit

from ptx.kept import kept
from ptx.layout import (
    ALL,
    ANY,
    BALLOT,
    BARRIER,
    BUTTERFLY,
    COUNT,
    DOWN,
    EXIT,
    FAULT,
    INDEX,
    INTERVAL,
    LOCAL,
    LOCAL_BYTES,
    MAIL_CLAMP,
    MAIL_LANE,
    MAIL_MASK,
    MAIL_MODE,
    MAIL_PREDICATE,
    MAIL_RESULT,
    MAIL_VALUE,
    MEET,
    PREEMPTED,
    RACES,
    SPIN,
    TRAP,
    UNIFORM,
    UP,
    WARP,
    WARP_INTERVALS,
)
from ptx.pointers import longs, run_thread, words
from ptx.runtime import KNOWLEDGE, take_over

RUNS, GONE = 0, -1  # a thread's status, else the code with which it waits
DONE, FAULTED, TRAPPED, DEADLOCK, LEFT_BARRIER, LEFT_WARP = range(6)  # how a launch ends
SLOW = 16  # a slow thread takes one turn in so many


@njit
def _random(state, below):
    """A number from 0 to below - 1 (xorshift64*, Vigna 2016)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return np.int64(((x * np.uint64(2685821657736338717)) >> np.uint64(33)) % np.uint64(below))


@njit
def _shuffle(random, order):
    for k in range(len(order) - 1, 0, -1):
        j = _random(random, k + 1)
        order[k], order[j] = order[j], order[k]


@njit
def _change(random, order, lag, threads):
    """Sometimes a new order of a block's threads, and more rarely new speeds."""
    if _random(random, 4):
        return
    _shuffle(random, order)
    if _random(random, 5) == 0:
        behind = _random(random, 3) == 0
        for k in range(threads):
            lag[k] = SLOW if behind or _random(random, 5) == 0 else 1


@njit
def _shuffled_lane(lane, mode, operand, clamp):
    """The lane that a shuffle reads, or -1 where it keeps its own value (PTX ISA, `shfl.sync`)."""
    segment = (clamp >> 8) & 31
    last = (lane & segment) | ((clamp & 31) & ~segment)
    first = lane & segment
    operand &= 31
    if mode == UP:
        source = lane - operand
        return source if source >= last else -1
    if mode == DOWN:
        source = lane + operand
    elif mode == BUTTERFLY:
        source = lane ^ operand
    else:
        source = first | (operand & ~segment)
    return source if source <= last else -1


@njit
def _exchange(states, first, thread, mask, lanes):
    """The result of an operation of a warp for one of its threads."""
    mine = states[thread]
    mode, lane = mine[MAIL_MODE], thread - first
    if mode <= INDEX:
        source = _shuffled_lane(lane, mode, mine[MAIL_LANE], mine[MAIL_CLAMP])
        mine[MAIL_PREDICATE] = source >= 0
        source = lane if source < 0 else source
        valid = source < lanes and (mask >> source) & 1
        mine[MAIL_RESULT] = states[first + source, MAIL_VALUE] if valid else -1  # undefined: bits that show, a NaN
        return
    ballot, count, members = 0, 0, 0
    for k in range(lanes):
        if (mask >> k) & 1:
            members += 1
            if states[first + k, MAIL_VALUE]:
                ballot |= 1 << k
                count += 1
    if mode == BALLOT:
        mine[MAIL_RESULT] = np.int32(ballot)
    elif mode == ANY:
        mine[MAIL_RESULT] = count > 0
    elif mode == ALL:
        mine[MAIL_RESULT] = count == members
    elif mode == UNIFORM:
        mine[MAIL_RESULT] = count == 0 or count == members


@njit
def _serve_warp(states, status, first, lanes, interval):
    """Let those go on whose whole mask waits: (how many, whether some wait for a thread that has left)."""
    served, left = 0, False
    for k in range(lanes):
        thread = first + k
        if status[thread] != WARP:
            continue
        mask, ready = np.int64(states[thread, MAIL_MASK]), True
        for other in range(lanes):
            if (mask >> other) & 1:
                if status[first + other] == GONE:
                    left = True
                if status[first + other] != WARP or states[first + other, MAIL_MASK] != states[thread, MAIL_MASK]:
                    ready = False
        if not ready:
            continue
        for other in range(lanes):
            if (mask >> other) & 1:
                _exchange(states, first, first + other, mask, lanes)
        everyone = True
        for other in range(lanes):
            if (mask >> other) & 1:
                status[first + other] = RUNS
                served += 1
            elif status[first + other] != GONE:
                everyone = False
        if everyone and states[thread, MAIL_MODE] == MEET:
            interval[0] += 1
    return served, left


@njit
def _serve_barrier(states, status, threads):
    """All threads wait at the block's barrier: count their predicates, let them go on."""
    count = 0
    for thread in range(threads):
        count += states[thread, MAIL_VALUE] != 0
    for thread in range(threads):
        mode = states[thread, MAIL_MODE]
        if mode == COUNT:
            states[thread, MAIL_RESULT] = count
        elif mode == ANY:
            states[thread, MAIL_RESULT] = count > 0
        elif mode == ALL:
            states[thread, MAIL_RESULT] = count == threads
        status[thread] = RUNS


@njit
def _turn(function, states, status, environment, order, lag, random, locals_at, seeded, report):
    """Each thread of a block runs until it waits: (how many left, how many wait at the barrier, progress, end)."""
    threads = len(status)
    progress, left, at_barrier = False, 0, 0
    for k in range(threads):
        thread = order[k]
        if status[thread] == RUNS:
            if seeded and lag[thread] > 1 and _random(random, lag[thread]):
                continue
            environment[LOCAL] = locals_at + thread * environment[LOCAL_BYTES]
            code = run_thread(function, states[thread].ctypes.data, environment.ctypes.data)
            if code in (FAULT, TRAP):
                report[1] = thread
                return 0, 0, True, FAULTED if code == FAULT else TRAPPED
            if code == EXIT:
                status[thread] = GONE
                progress = True
            elif code == PREEMPTED:
                progress = True
            elif code != SPIN:
                status[thread] = code
                progress = True
        left += status[thread] == GONE
        at_barrier += status[thread] == BARRIER
    return left, at_barrier, progress, DONE


@njit
def _serve(states, status, environment, block, left, at_barrier):
    """Barriers and operations of warps that are complete: (progress, end)."""
    threads, progress = len(status), False
    if at_barrier and at_barrier + left == threads:
        if left:
            return True, LEFT_BARRIER
        _serve_barrier(states, status, threads)
        environment[INTERVAL] += 1
        if environment[RACES]:
            take_over(longs(environment[RACES], KNOWLEDGE), block)
        return True, DONE
    if at_barrier + left < threads:
        for first in range(0, threads, 32):
            lanes = min(32, threads - first)
            interval = words(environment[WARP_INTERVALS] + first // 32 * 4, 1)
            served, gone = _serve_warp(states, status, first, lanes, interval)
            progress = progress or served > 0
            if gone and not served:
                return True, LEFT_WARP
    return progress, DONE


@kept
def run(function, states, status, environments, locals_at, resident, seed, patience, report):
    """Run all blocks to their end: DONE or why not; `report` is the block and the thread of a fault.

    states int32 [blocks, threads, words]; status int32 [blocks, threads]; environments int64 [blocks, words];
    `locals_at` [blocks] : where each block's local memory begins; `resident` : how many blocks are alive at once;
    `patience` : turns of all blocks without progress that count as a deadlock
    """
    blocks, threads = status.shape
    random = np.array([np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)])
    order, lags = np.arange(threads), np.ones((blocks, threads), np.int32)
    done = np.zeros(blocks, np.bool_)
    first, idle, seeded = 0, 0, seed >= 0
    if seeded:
        _shuffle(random, order)
    while True:
        while first < blocks and done[first]:
            first += 1
        if first == blocks:
            return DONE
        alive, block, progress = 0, first, False
        while block < blocks and alive < resident:
            if not done[block]:
                alive += 1
                again = True
                while again:
                    if seeded:
                        _change(random, order, lags[block], threads)
                    state, now = states[block], status[block]
                    left, at_barrier, moved, end = _turn(
                        function, state, now, environments[block], order, lags[block], random, locals_at[block],
                        seeded, report,
                    )  # fmt: skip
                    report[0] = block
                    if end != DONE:
                        return end
                    served, end = _serve(state, now, environments[block], block, left, at_barrier)
                    if end != DONE:
                        return end
                    progress = progress or moved or served
                    done[block] = left == threads
                    again = served and not seeded
            block += 1
        idle = 0 if progress else idle + 1
        if idle > patience:
            return DEADLOCK
