"""CTC prefix beam search on the CPU: one utterance at a time, utterances in parallel.

A prefix has two masses: of the paths that end in a blank and of those that end in its last label. A step of
posteriors y makes of each kept prefix with last label l (Hannun et al., 2014)

    blank'  = (blank + label) y[blank]
    label'  = label y[l]                            the prefix stays
    label'' = (blank + label) y[c]                  the prefix with c; from `blank` alone where c = l

and where a prefix with c is itself kept, label'' is added to its label'. All others are new, so that none must be
looked for; the best `beam` of them all go on. Ranked they are by mass plus what the grammar adds (`kernels.beam`).

A prefix that ends in a space, or is empty, stays with a space as with a blank: each text is one prefix, however many
spaces a path has. Such prefixes keep one mass, in `blank`. At the end a last space is taken off.

Prefixes are nodes of a tree that is never searched from its root: what the grammar knows of a prefix stands in its
node. Beside the masses, each prefix keeps its likeliest path, of which `entry` is the last label that has ended:
a chain back through all labels with their steps. When nodes or entries run out, those that no kept prefix needs are
dropped; memory grows with the text, not with the sound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kernels.beam import LABELS
from kernels.cpu.fusion import begin_word, extension, follow_label, go_on_with_word
from kernels.jit import device_function, kernel

NODES, ENTRIES, SLOTS, SIDE, STAMP = range(5)  # places in `Workspace.counts`
CERTAIN = np.float32(1e-3)  # no log-probability is above, rounding included
FAR = -40.0  # e**FAR does not change a float64 sum
INVALID = -1


class Workspace(NamedTuple):
    """What one thread needs: N nodes, E entries, K slots (the prefixes kept), C classes."""

    counts: np.ndarray  # int64 [5]: nodes, entries and slots in use; which side of the slots is now; stamp of the step
    # nodes [N]: int32, but for the last four
    parent: np.ndarray
    label: np.ndarray
    child: np.ndarray  # the newest child; -1: none
    sibling: np.ndarray  # the next older child of the same parent
    slot: np.ndarray  # where the prefix is kept; -1: nowhere
    state: np.ndarray  # of the language model, after the last word that has ended (or label)
    place: np.ndarray  # in the tree of words, of the word begun; -1: outside
    letters: np.ndarray  # of the word begun
    letter_state: np.ndarray  # of the model of spelling, after them
    pattern: np.ndarray  # state of the patterns
    end_state: np.ndarray  # of the language model, if the word ends here
    added: np.ndarray  # float64: all that the grammar has added
    spelled: np.ndarray  # float64: log-probability of the letters of the word begun, in the model of spelling
    lent: np.ndarray  # float64: of `added`, for what the word begun may come to
    end_added: np.ndarray  # float64: what it adds if the word ends here; NaN: not asked yet
    # entries [E]: labels of likeliest paths
    before: np.ndarray  # int32: the entry of the label before; -1: none
    first: np.ndarray  # int32
    stop: np.ndarray  # int32
    peak: np.ndarray  # float32
    # slots [2, K]: now and after the step
    node: np.ndarray  # int32
    blank: np.ndarray  # float64: log of the mass of paths that end in a blank
    spoken: np.ndarray  # float64: and in the last label
    mass: np.ndarray  # float64: and of both
    path_blank: np.ndarray  # float64: log-probability of the likeliest path that ends in a blank
    path_label: np.ndarray  # float64: and in the last label
    entry: np.ndarray  # int32: of the last label on the former
    run_before: np.ndarray  # int32: of the label before the last on the latter
    run_first: np.ndarray  # int32: where the last label of the latter begins
    run_peak: np.ndarray  # float32
    closed: np.ndarray  # int32 [K]: the entry of a last label that ends at this step; -1: not made
    # candidates for the next slots [K C]
    score: np.ndarray  # float64
    gain: np.ndarray  # float64: what the grammar adds for the label
    origin: np.ndarray  # int32: slot
    extension: np.ndarray  # int32: label; 0: the prefix stays
    order: np.ndarray  # int32: candidates, the best first to a point
    stay_blank: np.ndarray  # float64 [K]
    stay_spoken: np.ndarray  # float64 [K]
    active: np.ndarray  # int32 [C]: labels above the floor
    covered: np.ndarray  # int64 [K, C]: stamp of the step at which a kept prefix takes up this extension


@device_function
def log_add(x, y):
    if x < y:
        x, y = y, x
    return x + np.log1p(np.exp(y - x)) if y - x > FAR else x


@device_function
def _at_boundary(g, w, node):
    return node == 0 or w.label[node] == g.space


@device_function
def _start(g, w):
    """The empty prefix alone."""
    w.counts[NODES], w.counts[ENTRIES], w.counts[SLOTS], w.counts[SIDE] = 1, 0, 1, 0
    w.parent[0], w.label[0], w.child[0], w.sibling[0], w.slot[0] = -1, 0, -1, -1, 0
    w.state[0], w.pattern[0] = g.model.start, g.patterns.start
    begin_word(g, w, 0)
    w.added[0], w.end_added[0] = g.patterns.held[g.patterns.start], np.nan
    w.node[0, 0], w.entry[0, 0], w.run_before[0, 0] = 0, -1, -1
    w.blank[0, 0], w.spoken[0, 0], w.mass[0, 0] = 0.0, -np.inf, 0.0
    w.path_blank[0, 0], w.path_label[0, 0] = 0.0, -np.inf


@device_function
def _new_entry(w, before, first, stop, peak):
    entry = w.counts[ENTRIES]
    w.before[entry], w.first[entry], w.stop[entry], w.peak[entry] = before, first, stop, peak
    w.counts[ENTRIES] = entry + 1
    return entry


@device_function
def _close(w, side, i, t):
    """The entry of slot i's last label, whose run ends before step t."""
    if w.closed[i] < 0:
        w.closed[i] = _new_entry(w, w.run_before[side, i], w.run_first[side, i], t, w.run_peak[side, i])
    return np.int64(w.closed[i])


@device_function
def leave(w, side, i, t, same):
    """The likeliest path of slot i to be left for another label at step t, and the entry of its last label; `same`:
    the next label equals the last, so that a blank must stand between them."""
    if same or w.path_blank[side, i] >= w.path_label[side, i]:
        return w.path_blank[side, i], np.int64(w.entry[side, i])
    return w.path_label[side, i], _close(w, side, i, t)


@device_function
def _candidate(w, count, score, slot, label):
    w.score[count], w.origin[count], w.extension[count], w.order[count] = score, slot, label, count
    return count + 1


@device_function
def _stays(x, row, g, w, side, slots, stamp):
    """Each kept prefix stays, with what arrives from its parent; returns the number of candidates."""
    count = 0
    blank = np.float64(x[row])
    silent = log_add(blank, np.float64(x[row + g.space])) if g.space > 0 else blank
    for i in range(slots):
        node = np.int64(w.node[side, i])
        label, parent = np.int64(w.label[node]), np.int64(w.parent[node])
        arrival = -np.inf
        if parent >= 0 and w.slot[parent] >= 0:
            j = w.slot[parent]
            w.covered[j, label] = stamp
            arrival = w.blank[side, j] if w.label[parent] == label else w.mass[side, j]
            arrival += np.float64(x[row + label])
        if _at_boundary(g, w, node):
            w.stay_blank[i] = log_add(w.mass[side, i] + silent, arrival)
            w.stay_spoken[i] = -np.inf
            mass = w.stay_blank[i]
        else:
            w.stay_blank[i] = w.mass[side, i] + blank
            w.stay_spoken[i] = log_add(w.spoken[side, i] + np.float64(x[row + label]), arrival)
            mass = log_add(w.stay_blank[i], w.stay_spoken[i])
        if mass > -np.inf:
            count = _candidate(w, count, mass + w.added[node], i, 0)
    return count


@device_function
def _extensions(x, row, g, w, side, slots, stamp, labels, count):
    """Each kept prefix with each active label, unless the result is kept already; returns the number of candidates."""
    for i in range(slots):
        node = np.int64(w.node[side, i])
        boundary = _at_boundary(g, w, node)
        for a in range(labels):
            label = np.int64(w.active[a])
            if w.covered[i, label] == stamp or (boundary and label == g.space):
                continue
            mass = w.blank[side, i] if label == w.label[node] else w.mass[side, i]
            gain = extension(g, w, node, label)
            score = mass + np.float64(x[row + label]) + w.added[node] + gain
            if score > -np.inf:
                w.gain[count] = gain
                count = _candidate(w, count, score, i, label)
    return count


@device_function
def _put_best_first(score, order, count, best):
    """Order the candidates so that none after the first `best` is better than any of them (Hoare, 1961)."""
    low, high = 0, count - 1
    while low < high:
        pivot = score[order[(low + high) >> 1]]
        i, j = low, high
        while i <= j:
            while score[order[i]] > pivot:
                i += 1
            while score[order[j]] < pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if best - 1 <= j:
            high = j
        elif best - 1 >= i:
            low = i
        else:
            return


@device_function
def _put_path(w, side, k, blank, entry, label, before, first, peak):
    """The likeliest paths of slot k."""
    w.path_blank[side, k], w.entry[side, k] = blank, entry
    w.path_label[side, k], w.run_before[side, k] = label, before
    w.run_first[side, k], w.run_peak[side, k] = first, peak


@device_function
def _keep(x, row, t, g, w, side, i, k):
    """The prefix of slot i goes on unchanged, in slot k of the other side."""
    other = 1 - side
    node = np.int64(w.node[side, i])
    label, parent = np.int64(w.label[node]), np.int64(w.parent[node])
    y, blank = x[row + label], np.float64(x[row])
    w.node[other, k] = node
    w.blank[other, k], w.spoken[other, k] = w.stay_blank[i], w.stay_spoken[i]
    w.mass[other, k] = log_add(w.stay_blank[i], w.stay_spoken[i])
    arrival, last = -np.inf, np.int64(-1)
    from_parent = parent >= 0 and w.slot[parent] >= 0
    if from_parent:
        arrival, last = leave(w, side, w.slot[parent], t, w.label[parent] == label)
        arrival += np.float64(y)
    if _at_boundary(g, w, node):
        path = w.path_blank[side, i] + (max(blank, np.float64(x[row + g.space])) if g.space > 0 else blank)
        entry = np.int64(w.entry[side, i])
        if arrival > path:
            path, entry = arrival, _new_entry(w, last, t, t + 1, y)
        _put_path(w, other, k, path, entry, -np.inf, -1, t, y)
        return
    entry = np.int64(w.entry[side, i])
    path = w.path_blank[side, i]
    if w.path_label[side, i] > path:
        path, entry = w.path_label[side, i], _close(w, side, i, t)
    stay = w.path_label[side, i] + np.float64(y)
    if arrival > stay:
        _put_path(w, other, k, path + blank, entry, arrival, last, t, y)
    else:
        peak = max(w.run_peak[side, i], y)
        _put_path(w, other, k, path + blank, entry, stay, w.run_before[side, i], w.run_first[side, i], peak)


@device_function
def _find_or_make(g, w, parent, label, gain):
    """The node of a prefix with one more label, for which the grammar adds `gain`."""
    node = np.int64(w.child[parent])
    while node >= 0 and w.label[node] != label:
        node = np.int64(w.sibling[node])
    if node >= 0:
        return node
    node = w.counts[NODES]
    w.counts[NODES] = node + 1
    w.added[node] = w.added[parent] + gain
    w.parent[node], w.label[node], w.child[node], w.slot[node] = parent, label, -1, -1
    w.sibling[node] = w.child[parent]
    w.child[parent] = node
    w.pattern[node] = g.patterns.next[w.pattern[parent], label]
    w.end_added[node] = np.nan
    state = np.int64(w.state[parent])
    if label == g.space:
        begin_word(g, w, node)
        state = np.int64(w.end_state[parent])
    else:
        go_on_with_word(g, w, parent, label, node)
    if g.level == LABELS:
        _, state = follow_label(g, np.int64(w.state[parent]), label)
    w.state[node] = state
    return node


@device_function
def _extend(x, row, t, g, w, side, i, label, gain, k):
    """The prefix of slot i with one more label, in slot k of the other side."""
    other = 1 - side
    parent = np.int64(w.node[side, i])
    same = w.label[parent] == label
    y = x[row + label]
    mass = (w.blank[side, i] if same else w.mass[side, i]) + np.float64(y)
    path, last = leave(w, side, i, t, same)
    path += np.float64(y)
    w.node[other, k] = _find_or_make(g, w, parent, label, gain)
    w.mass[other, k] = mass
    if label == g.space:
        w.blank[other, k], w.spoken[other, k] = mass, -np.inf
        _put_path(w, other, k, path, _new_entry(w, last, t, t + 1, y), -np.inf, -1, t, y)
    else:
        w.blank[other, k], w.spoken[other, k] = -np.inf, mass
        _put_path(w, other, k, -np.inf, -1, path, last, t, y)


@device_function
def _step(x, row, t, C, beam, floor, g, w):
    """One step of posteriors; returns whether they are log-probabilities."""
    side, slots = w.counts[SIDE], w.counts[SLOTS]
    labels, valid = 0, x[row] <= CERTAIN
    for c in range(1, C):
        valid &= x[row + c] <= CERTAIN
        if x[row + c] > floor:
            w.active[labels] = c
            labels += 1
    stamp = w.counts[STAMP] + 1
    w.counts[STAMP] = stamp
    count = _stays(x, row, g, w, side, slots, stamp)
    count = _extensions(x, row, g, w, side, slots, stamp, labels, count)
    if count > beam:
        _put_best_first(w.score, w.order, count, beam)
        count = beam
    w.closed[:slots] = -1
    for k in range(count):
        chosen = w.order[k]
        i, label = np.int64(w.origin[chosen]), np.int64(w.extension[chosen])
        if label == 0:
            _keep(x, row, t, g, w, side, i, k)
        else:
            _extend(x, row, t, g, w, side, i, label, w.gain[chosen], k)
    for before in range(slots):
        w.slot[w.node[side, before]] = -1
    for k in range(count):
        w.slot[w.node[1 - side, k]] = k
    w.counts[SIDE], w.counts[SLOTS] = 1 - side, count
    return valid


@kernel("beam search", allocates=False)
def search(x, C, begin, T, beam, floor, g, w):
    """Steps begin .. T - 1 of flat log-probabilities [T C].

    Returns T; or the step that it came to, where the workspace is full; or INVALID where a value is no log-probability.
    """
    if begin == 0:
        _start(g, w)
    for t in range(begin, T):
        if w.counts[NODES] + beam > len(w.parent) or w.counts[ENTRIES] + 2 * beam > len(w.before):
            return t
        if not _step(x, t * C, t, C, beam, floor, g, w):
            return INVALID
    return T
