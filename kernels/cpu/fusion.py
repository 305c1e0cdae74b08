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
            log_prob, state = follow(g.model, state, word if word >= 0 else np.int64(g.model.unknown))
            if word == NO_WORD:
                log_prob += w.spelled[node] + _spelling_end(g, w, node)
            added = g.weight * log_prob + g.bonus
        elif g.level == NO_MODEL:
            added = g.bonus
    w.end_added[node] = added
    w.end_state[node] = state


@device_function
def _spelling_end(g, w, node):
    """Log-probability that a word which is not in the tree has no more letters."""
    if g.spelling.end < 0:
        return 0.0
    return follow(g.spelling, np.int64(w.letter_state[node]), np.int64(g.spelling.end))[0]


@device_function
def _spell(g, w, parent, label):
    """Log-probability of the letters of a word begun and one more, and the state of the model of spelling then."""
    log_prob, state = follow(g.spelling, np.int64(w.letter_state[parent]), np.int64(g.tokens[label]))
    return w.spelled[parent] + log_prob, state


@device_function
def begin_word(g, w, node):
    """No letter yet."""
    w.place[node], w.letters[node], w.letter_state[node] = 0, 0, g.spelling.start
    w.spelled[node], w.lent[node] = 0.0, 0.0


@device_function
def go_on_with_word(g, w, parent, label, node):
    """The parent's word has one letter more."""
    place = child(g.tree, np.int64(w.place[parent]), label)
    w.place[node] = place
    w.letters[node] = w.letters[parent] + 1
    w.lent[node] = loan(g, w, parent, label, place)
    if g.level == WORDS and not g.closed:
        w.spelled[node], w.letter_state[node] = _spell(g, w, parent, label)


@device_function
def follow_label(g, state, label):
    """What a model of labels adds for one, and its state after it."""
    token = np.int64(g.tokens[label])
    log_prob, state = follow(g.model, state, token if token >= 0 else np.int64(g.model.unknown))
    return g.weight * log_prob + g.bonus, state


@device_function
def loan(g, w, parent, label, place):
    """What the parent's word may come to, one letter longer and at this place in the tree; lent until it ends."""
    if g.level != WORDS:
        return 0.0
    best = np.float64(g.tree.best[place]) if place >= 0 else -np.inf
    if not g.closed and g.outside + w.spelled[parent] > best:  # else no letter more makes it as likely
        best = max(best, g.outside + _spell(g, w, parent, label)[0])
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
        added += loan(g, w, node, label, place)
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
