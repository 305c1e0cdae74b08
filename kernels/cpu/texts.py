"""The beam search's other two kernels: its workspace freed of what no kept prefix needs, and its results."""

from __future__ import annotations

import numpy as np

from kernels.cpu.fusion import text_end
from kernels.cpu.prefixes import ENTRIES, NODES, SIDE, SLOTS, leave, log_add
from kernels.jit import device_function, kernel


@device_function
def _compact_entries(w, side, slots):
    """Keep the entries that a slot's paths need; an entry comes after the one before it, and so it stays."""
    used = w.counts[ENTRIES]
    place = np.full(used, -1, np.int32)
    for i in range(slots):
        for start in (w.entry[side, i], w.run_before[side, i]):
            entry = start
            while entry >= 0 and place[entry] < 0:
                place[entry] = 0
                entry = w.before[entry]
    kept = 0
    for entry in range(used):
        if place[entry] == 0:
            before = w.before[entry]
            w.before[kept] = place[before] if before >= 0 else -1
            w.first[kept], w.stop[kept], w.peak[kept] = w.first[entry], w.stop[entry], w.peak[entry]
            place[entry] = kept
            kept += 1
    for i in range(slots):
        if w.entry[side, i] >= 0:
            w.entry[side, i] = place[w.entry[side, i]]
        if w.run_before[side, i] >= 0:
            w.run_before[side, i] = place[w.run_before[side, i]]
    w.counts[ENTRIES] = kept


@device_function
def _compact_nodes(w, side, slots):
    """Keep the prefixes of the kept prefixes; a node comes after its parent, and so it stays."""
    used = w.counts[NODES]
    place = np.full(used, -1, np.int32)
    for i in range(slots):
        node = w.node[side, i]
        while node >= 0 and place[node] < 0:
            place[node] = 0
            node = w.parent[node]
    place[0] = 0
    kept = 0
    for node in range(used):
        if place[node] == 0:
            parent = w.parent[node]
            w.parent[kept] = place[parent] if parent >= 0 else -1
            w.label[kept], w.slot[kept], w.state[kept] = w.label[node], w.slot[node], w.state[node]
            w.place[kept], w.letters[kept], w.pattern[kept] = w.place[node], w.letters[node], w.pattern[node]
            w.letter_state[kept], w.spelled[kept] = w.letter_state[node], w.spelled[node]
            w.end_state[kept], w.end_added[kept] = w.end_state[node], w.end_added[node]
            w.added[kept], w.lent[kept] = w.added[node], w.lent[node]
            place[node] = kept
            kept += 1
    for node in range(kept):
        w.child[node] = -1
        w.sibling[node] = -1
        parent = w.parent[node]
        if parent >= 0:
            w.sibling[node] = w.child[parent]
            w.child[parent] = node
    for i in range(slots):
        w.node[side, i] = place[w.node[side, i]]
    w.counts[NODES] = kept


@kernel("beam compaction")
def compact(w):
    """Drop the nodes and entries that no kept prefix needs."""
    _compact_entries(w, w.counts[SIDE], w.counts[SLOTS])
    _compact_nodes(w, w.counts[SIDE], w.counts[SLOTS])


@device_function
def _texts(g, w, side, slots):
    """The texts of the slots, a last space taken off: their masses in `stay_blank`, their nodes in `origin`, the slot
    with the likeliest path in `extension`, their scores in `score`; returns how many are possible."""
    count = 0
    for i in range(slots):
        node = np.int64(w.node[side, i])
        spaced = node > 0 and w.label[node] == g.space
        text = np.int64(w.parent[node]) if spaced else node
        if spaced and w.slot[text] >= 0:
            continue  # with the text itself, below
        mass, best = w.mass[side, i], np.int64(i)
        if not spaced and g.space > 0:
            child = np.int64(w.child[node])
            while child >= 0 and w.label[child] != g.space:
                child = np.int64(w.sibling[child])
            if child >= 0 and w.slot[child] >= 0:
                j = np.int64(w.slot[child])
                mass = log_add(mass, w.mass[side, j])
                if w.path_blank[side, j] > max(w.path_blank[side, i], w.path_label[side, i]):
                    best = j
        score = mass + w.added[text] + text_end(g, w, text)
        if score > -np.inf:
            w.stay_blank[count], w.origin[count], w.extension[count] = mass, text, best
            w.score[count], w.order[count] = score, count
            count += 1
    return count


@kernel("beam results", allocates=False)
def results(T, most, g, w, sizes, labels, firsts, stops, peaks, scores):
    """The `most` best texts, the best first; returns how many there are.

    Into sizes int32 [most]; labels, firsts, stops int32 [most, T], peaks float32 [most, T]; scores float64 [most, 2]:
    with the grammar, and the mass alone.
    """
    side, slots = w.counts[SIDE], w.counts[SLOTS]
    w.closed[:slots] = -1
    count = _texts(g, w, side, slots)
    most = min(most, count)
    for rank in range(most):
        for k in range(rank + 1, count):
            if w.score[w.order[k]] > w.score[w.order[rank]]:
                w.order[k], w.order[rank] = w.order[rank], w.order[k]
        text = w.order[rank]
        scores[rank, 0], scores[rank, 1] = w.score[text], w.stay_blank[text]
        node, i = np.int64(w.origin[text]), np.int64(w.extension[text])
        _, entry = leave(w, side, i, T, False)
        if w.node[side, i] != node:  # the path ends in a space
            entry = np.int64(w.before[entry])
        size = 0
        upward = node
        while upward > 0:
            size += 1
            upward = np.int64(w.parent[upward])
        sizes[rank] = size
        for s in range(size - 1, -1, -1):
            labels[rank, s] = w.label[node]
            firsts[rank, s], stops[rank, s], peaks[rank, s] = w.first[entry], w.stop[entry], w.peak[entry]
            node, entry = np.int64(w.parent[node]), np.int64(w.before[entry])
    return most
