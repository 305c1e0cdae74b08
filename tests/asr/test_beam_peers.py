"""The same posteriors and language model in pyctcdecode and in flashlight-text, where they are installed: where their
definitions agree with ours, so do the scores of the same texts.

They agree where spaces stand one at a time and between words only: pyctcdecode takes a space at the end for one more
word, and flashlight takes a word for finished at its space. So spaces are all but impossible, but at certain steps.
"""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_beam import ALPHABET, STEP, WORD_ARPA, posteriors

from asr.decoding.beam import BeamDecoder, BeamOptions
from asr.language import read_arpa, write_arpa

WEIGHT, BONUS = 0.6, 0.3
WIDE = BeamOptions(beam=3000, lm_weight=WEIGHT, word_bonus=BONUS, nbest=3000, floor=-1e30)
WORDS = ["a", "ab", "ba"]
NEVER = -50.0
SPACE = 1


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    """As KenLM wants it, with tabs."""
    (tmp_path / "spaced.arpa").write_text(WORD_ARPA)
    write_arpa(read_arpa(tmp_path / "spaced.arpa"), tmp_path / "words.arpa")
    return tmp_path / "words.arpa"


def spaced(seed: int, spaces: list[int]) -> np.ndarray:
    """Log-probabilities of 7 steps with a space at these steps for certain, and at no other."""
    log_probs = posteriors(seed, 7)
    log_probs[:, SPACE] = NEVER
    log_probs[spaces] = NEVER
    log_probs[spaces, SPACE] = 0.0
    return log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)


def test_pyctcdecode_gives_the_same_scores(arpa: Path) -> None:
    peer, kenlm = pytest.importorskip("pyctcdecode"), pytest.importorskip("kenlm")
    logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
    language = peer.LanguageModel(kenlm.Model(str(arpa)), WORDS, WEIGHT, BONUS, 0.0, True)
    theirs = peer.BeamSearchDecoderCTC(peer.Alphabet.build_alphabet(["", *ALPHABET.characters]), language)
    ours = BeamDecoder(ALPHABET, WIDE, read_arpa(arpa))
    compared = 0
    for seed in range(8):
        log_probs = spaced(seed, [3])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = theirs.decode_beams(log_probs, 100_000, beam_prune_logp=-1e9, token_min_logp=NEVER / 2)
        expected = {beam[0]: beam[-1] for beam in found}
        for each in ours.decode_each([log_probs], STEP)[0]:
            words = each.text.split()
            if len(words) == 2 and set(words) <= set(WORDS):
                assert each.score == pytest.approx(expected[each.text], abs=1e-3), each.text
                compared += 1
    assert compared == 8 * 9


def test_pyctcdecode_gives_the_same_scores_by_sound_alone() -> None:
    peer = pytest.importorskip("pyctcdecode")
    theirs = peer.build_ctcdecoder(["", *ALPHABET.characters])
    ours = BeamDecoder(ALPHABET, BeamOptions(3000, nbest=3000, floor=-1e30))
    for seed in range(4):
        log_probs = posteriors(seed, 6)
        found = theirs.decode_beams(log_probs, 100_000, beam_prune_logp=-1e9, token_min_logp=-1e9)
        expected = {beam[0]: beam[-1] for beam in found}
        assert {each.text: each.score for each in ours.decode_each([log_probs], STEP)[0]} == pytest.approx(expected)


def test_flashlight_gives_the_same_scores(arpa: Path) -> None:
    decoders: Any = pytest.importorskip("flashlight.lib.text.decoder")
    kenlm: Any = pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    dictionary: Any = pytest.importorskip("flashlight.lib.text.dictionary")
    tokens, words = dictionary.Dictionary(["_", *ALPHABET.characters]), dictionary.Dictionary(WORDS)
    language = kenlm.KenLM(str(arpa), words)
    trie = decoders.Trie(tokens.index_size(), SPACE)
    for word in WORDS:
        trie.insert([tokens.get_index(letter) for letter in word + " "], words.get_index(word), 0.0)
    options = decoders.LexiconDecoderOptions(
        beam_size=100_000, beam_size_token=100, beam_threshold=1e9, lm_weight=WEIGHT * math.log(10), word_score=BONUS,
        unk_score=-math.inf, sil_score=0.0, log_add=True, criterion_type=decoders.CriterionType.CTC,
    )  # fmt: skip
    theirs = decoders.LexiconDecoder(options, trie, language, SPACE, 0, -1, [], False)
    ours = BeamDecoder(ALPHABET, WIDE, read_arpa(arpa), WORDS)
    for seed in range(8):
        log_probs = spaced(seed, [3, 6])
        expected: dict[str, float] = {}
        for found in theirs.decode(log_probs.ctypes.data, *log_probs.shape):
            text = " ".join(words.get_entry(word) for word in found.words if word >= 0)
            expected[text] = float(np.logaddexp(expected.get(text, -math.inf), found.score))
        mine = {each.text: each.score for each in ours.decode_each([log_probs], STEP)[0]}
        both = {text for text in mine if len(text.split()) == 2}
        assert len(both) == 9
        assert {text: mine[text] for text in both} == pytest.approx({text: expected[text] for text in both}, abs=1e-3)
