"""CTC prefix beam search on the CPU: one utterance at a time, utterances in parallel; the search is in `prefixes`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from kernels.beam import Automaton, Grammar, Patterns, Reading, Tree
from kernels.checks import check_array
from kernels.cpu.prefixes import INVALID, Workspace, search
from kernels.cpu.team import Team
from kernels.cpu.texts import compact, results

_NODE_FIELDS = (
    "parent",
    "label",
    "child",
    "sibling",
    "slot",
    "state",
    "place",
    "letters",
    "letter_state",
    "pattern",
    "end_state",
)
_ENTRY_FIELDS = ("before", "first", "stop")


class CpuBeamSearch:
    """Prefix beam search, with one workspace for each thread, which has room for `room` nodes and entries at first."""

    def __init__(self, team: Team, room: int):
        self._team = team
        self._scratch = [_Scratch(room) for _ in range(team.threads)]

    def __call__(
        self, utterances: Sequence[np.ndarray], beam: int, floor: float, most: int, grammar: Grammar
    ) -> list[list[Reading]]:
        """The likeliest texts of each utterance, the best first; none where the grammar forbids all that was kept.

        Parameters
        ----------
        utterances : float32 [T, C] each, C-contiguous: log-probabilities of the classes; T may be 0
        beam : prefixes kept at each step, >= 1
        floor : labels whose log-probability is not above it do not extend a prefix at that step
        most : texts wanted of each utterance, >= 1; there may be fewer

        ValueError where an argument breaks these rules, or a value is no log-probability (NaN, or above 0).
        """
        C = len(grammar.tokens)
        check_grammar(grammar, C)
        for number, log_probs in enumerate(utterances):
            check_array(f"utterance {number}", log_probs, (len(log_probs), C), (np.float32,))
        if beam < 1 or most < 1:
            raise ValueError(f"beam and most must be at least 1, not {beam} and {most}")
        found: list[list[Reading]] = [[] for _ in utterances]
        shares = min(self._team.threads, len(utterances))
        longest_first = sorted(range(len(utterances)), key=lambda number: -len(utterances[number]))
        run = partial(self._share, utterances, beam, floor, min(most, beam), _typed(grammar), found)
        self._team.run([partial(run, index, longest_first[index::shares]) for index in range(shares)])
        return found

    def _share(self, utterances, beam, floor, most, grammar, found, index, mine) -> None:
        """The utterances that one thread searches."""
        C = len(grammar.tokens)
        scratch = self._scratch[index]
        scratch.reserve(beam, C)
        for number in mine:
            log_probs = _array(utterances[number], np.float32).reshape(-1)
            T = len(utterances[number])
            t = 0
            while (t := search(log_probs, C, t, T, beam, np.float32(floor), grammar, scratch.workspace)) < T:
                if t == INVALID:
                    raise ValueError(f"utterance {number} holds values that are no log-probabilities")
                scratch.make_room(beam)
            found[number] = _read(T, most, grammar, scratch.workspace)


def check_grammar(grammar: Grammar, classes: int) -> None:
    """ValueError where a grammar is for other labels than 0 .. classes - 1."""
    if not 0 <= grammar.space < classes:
        raise ValueError(f"the space must be a label in 0..{classes - 1}, not {grammar.space}")
    check_array("the grammar's tokens", grammar.tokens, (classes,), (np.int32,))
    check_array("the grammar's patterns", grammar.patterns.next, (None, classes), (np.int32,))


def _typed(grammar: Grammar) -> Grammar:
    """The same with the very types that the kernels are compiled for: arrays that may be written (as any array of
    ours is), and Python's numbers."""
    tree, patterns = grammar.tree, grammar.patterns
    return Grammar(
        int(grammar.space), int(grammar.level), bool(grammar.closed),
        float(grammar.weight), float(grammar.bonus), float(grammar.outside),
        Tree(
            _array(tree.first, np.int32), _array(tree.label, np.int32), _array(tree.word, np.int32),
            _array(tree.best, np.float32),
        ),
        _typed_automaton(grammar.model),
        _typed_automaton(grammar.spelling),
        _array(grammar.tokens, np.int32),
        Patterns(
            _array(patterns.next, np.int32), _array(patterns.held, np.float64), _array(patterns.won, np.float64),
            int(patterns.start),
        ),
    )  # fmt: skip


def _typed_automaton(model: Automaton) -> Automaton:
    return Automaton(
        _array(model.arc_begin, np.int64), _array(model.arc_token, np.int32),
        _array(model.arc_log_prob, np.float32), _array(model.arc_next, np.int32),
        _array(model.backoff, np.float32), _array(model.backoff_state, np.int32),
        int(model.start), int(model.end), int(model.unknown), float(model.floor),
    )  # fmt: skip


def _array(array: np.ndarray, dtype: type) -> np.ndarray:
    return np.require(array, dtype, ["C", "A", "W"])


def _read(T: int, most: int, grammar: Grammar, workspace: Workspace) -> list[Reading]:
    """What a search that has seen all steps has found."""
    width = max(T, 1)
    sizes, scores = np.empty(most, np.int32), np.empty((most, 2))
    labels, firsts, stops = (np.empty((most, width), np.int32) for _ in range(3))
    peaks = np.empty((most, width), np.float32)
    count = results(T, most, grammar, workspace, sizes, labels, firsts, stops, peaks, scores)
    return [
        Reading(
            labels[n, :size].copy(), firsts[n, :size].copy(), stops[n, :size].copy(), peaks[n, :size].copy(),
            float(scores[n, 0]), float(scores[n, 1]),
        )
        for n, size in enumerate(sizes[:count].tolist())
    ]  # fmt: skip


class _Scratch:
    """One thread's workspace, grown when it must."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._beam, self._classes = 0, 0
        self.workspace: Workspace

    def reserve(self, beam: int, classes: int) -> None:
        """Room for so many slots and classes, and some for nodes and entries."""
        if beam <= self._beam and classes <= self._classes:
            return
        K, C = max(beam, self._beam), max(classes, self._classes)
        self._beam, self._classes = K, C
        room = max(self._room, 4 * K)
        slots = {name: np.empty((2, K), np.int32) for name in ("node", "entry", "run_before", "run_first")}
        masses = {name: np.empty((2, K)) for name in ("blank", "spoken", "mass", "path_blank", "path_label")}
        candidates = {name: np.empty(K * C, np.int32) for name in ("origin", "extension", "order")}
        self.workspace = Workspace(
            counts=np.zeros(5, np.int64),
            **{name: np.empty(room, np.int32) for name in _NODE_FIELDS + _ENTRY_FIELDS},
            added=np.empty(room),
            spelled=np.empty(room),
            lent=np.empty(room),
            end_added=np.empty(room),
            peak=np.empty(room, np.float32),
            **slots,
            **masses,
            run_peak=np.empty((2, K), np.float32),
            closed=np.empty(K, np.int32),
            **candidates,
            score=np.empty(K * C),
            gain=np.empty(K * C),
            stay_blank=np.empty(K),
            stay_spoken=np.empty(K),
            active=np.empty(C, np.int32),
            covered=np.zeros((K, C), np.int64),
        )

    def make_room(self, beam: int) -> None:
        """Drop what is not needed; double what is still more than half full, so that this happens seldom."""
        compact(self.workspace)
        nodes, entries = self.workspace.counts[:2].tolist()
        larger: dict[str, np.ndarray] = {}
        for used, names in (
            (nodes, (*_NODE_FIELDS, "added", "spelled", "lent", "end_added")),
            (entries, (*_ENTRY_FIELDS, "peak")),
        ):
            room = len(getattr(self.workspace, names[0]))
            if 2 * (used + 2 * beam) > room:
                larger |= {name: np.resize(getattr(self.workspace, name), 2 * room) for name in names}
        self.workspace = self.workspace._replace(**larger)
