"""What a grammar adds to a prefix of the beam search: word by word, label by label, at the end (`kernels.beam`).

All that it knows of a prefix stands in the prefix's node, so that it is asked about each but once.
"""

from __future__ import annotations

import numpy as np

from kernels.beam import LABELS, NO_MODEL, NO_WORD, WORDS
from kernels.jit import device_function, subroutine


@subroutine
def follow(model, state, token):
    """log P(token | state) with back-off, and the state after it."""
    charge = 0.0
    while True:
        low, high = model.arc_begin[state], model.arc_begin[state + 1]
        end = high
        while low < high:
            middle = (low + high) >> 1
            if model.arc_token[middle] < token:
                low = middle + 1
            else:
                high = middle
        if low < end and model.arc_token[low] == token:
            return charge + np.float64(model.arc_log_prob[low]), np.int64(model.arc_next[low])
        if model.backoff_state[state] < 0:
            return charge + model.floor, np.int64(state)
        charge += np.float64(model.backoff[state])
        state = np.int64(model.backoff_state[state])


@device_function
def child(tree, place, label):
    """The place after `place` with this label; -1: no word goes on so."""
    if place < 0:
        return np.int64(-1)
    low, high = np.int64(tree.first[place]), np.int64(tree.first[place + 1])
    end = high
    while low < high:
        middle = (low + high) >> 1
        if tree.label[middle] < label:
            low = middle + 1
        else:
            high = middle
    return low if low < end and tree.label[low] == label else np.int64(-1)


@device_function
def end_word(g, w, node):
    """What the grammar adds if a word ends at this node; `end_state` is then valid."""
    if np.isnan(w.end_added[node]):
        _ask_word(g, w, node)
    return w.end_added[node]


@subroutine
def _ask_word(g, w, node):
    added, state = 0.0, np.int64(w.state[node])
    if w.letters[node] > 0:
        place = w.place[node]
        word = np.int64(NO_WORD)
        if place >= 0:
            word = np.int64(g.tree.word[place])
        if g.closed and word == NO_WORD:
            added = -np.inf
        elif g.level == WORDS:
            spelling = g.letter * w.letters[node] if word == NO_WORD else 0.0
            log_prob, state = follow(g.model, state, word if word >= 0 else np.int64(g.model.unknown))
            added = g.weight * (log_prob + spelling) + g.bonus
        elif g.level == NO_MODEL:
            added = g.bonus
    w.end_added[node] = added
    w.end_state[node] = state


@device_function
def follow_label(g, state, label):
    """What a model of labels adds for one, and its state after it."""
    token = np.int64(g.tokens[label])
    log_prob, state = follow(g.model, state, token if token >= 0 else np.int64(g.model.unknown))
    return g.weight * log_prob + g.bonus, state


@device_function
def loan(g, place, letters):
    """What a word begun may come to, lent until it ends."""
    if g.level != WORDS:
        return 0.0
    best = g.outside + g.letter * letters
    if place >= 0 and (g.closed or g.tree.best[place] > best):
        best = np.float64(g.tree.best[place])
    return g.weight * best + g.bonus


@device_function
def extension(g, w, node, label):
    """What the grammar adds to a prefix for one more label; minus infinity: it may not follow."""
    here = w.pattern[node]
    there = g.patterns.next[here, label]
    added = g.patterns.held[there] - g.patterns.held[here] + g.patterns.won[there]
    added -= w.lent[node]
    if label == g.space:
        added += end_word(g, w, node)
    elif g.closed or g.level == WORDS:
        place = child(g.tree, np.int64(w.place[node]), label)
        if g.closed and place < 0:
            return -np.inf
        added += loan(g, place, w.letters[node] + 1)
    if g.level == LABELS:
        gain, _ = follow_label(g, np.int64(w.state[node]), label)
        added += gain
    return added


@device_function
def text_end(g, w, node):
    """What the grammar adds if the text ends with this node's prefix, which does not end in a space."""
    added = end_word(g, w, node) - w.lent[node]
    here = w.pattern[node]
    there = g.patterns.next[here, 0]
    added += g.patterns.won[there] - g.patterns.held[here]
    if g.level != NO_MODEL and g.model.end >= 0:
        log_prob, _ = follow(g.model, np.int64(w.end_state[node]), np.int64(g.model.end))
        added += g.weight * log_prob
    return added
