"""Decoding with what is known of texts: a search over many readings, with a language model, a lexicon, hot words.

The score of a text is the logarithm of its probability by the sound, summed over all CTC paths that spell it, plus

    for each word   lm_weight ln P(word | words before) + word_bonus
    at the end      lm_weight ln P(end | words before)
    each blank      - blank_penalty, within each path
    hot words       their boosts

(shallow fusion). With a model of characters the same is added for each character. A word that the model lacks may be
spelled all the same, unless a lexicon is given: it is charged ln P(<unk>) and the logarithm of how likely a word is
spelled so (`asr.language.spelling`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr.alphabet import BLANK, Alphabet
from asr.config import require
from asr.decoding import greedy, hotwords
from asr.decoding.hotwords import HotWord
from asr.decoding.hypothesis import Hypothesis, Symbol, compose
from asr.decoding.lexicon import some, spelling_tree, unspellable
from asr.errors import UsageError
from asr.language import NgramModel
from asr.language.ngram import SPECIAL
from asr.language.spelling import spelling_model
from kernels.beam import (
    LABELS,
    NO_MODEL,
    UNLISTED,
    WORDS,
    Automaton,
    Grammar,
    Reading,
    empty_automaton,
    open_beam_search,
)

log = logging.getLogger("asr")

MOST = 1 << 16  # readings kept: far more than find anything else, in 36 bytes for each and label, for each thread
IMPOSSIBLE = -1000.0  # in place of ln 0, so that a weight of 0 makes 0 of it


@dataclass(frozen=True)
class BeamOptions:
    """How to search, and what words are worth.

    Parameters
    ----------
    beam : within 1 and MOST, readings kept at each step
    lm_weight : >= 0, of the language model against the sound
    word_bonus : natural logarithm, for each word (or character, with a model of characters); the language model makes
        long texts unlikely, and this balances it
    blank_penalty : natural logarithm, taken off the blank's at each step: where a network does not know a voice it is
        too sure of blanks, and leaves the language model little to choose from
    nbest : >= 1, readings wanted of each utterance
    floor : natural logarithm; labels less likely than this at a step are not tried there
    """

    beam: int = 32
    lm_weight: float = 0.5
    word_bonus: float = 0.0
    blank_penalty: float = 0.0
    nbest: int = 1
    floor: float = -9.0

    def __post_init__(self) -> None:
        require(1 <= self.beam <= MOST, f"beam: {self.beam} is not within 1 and {MOST}")
        require(0 <= self.lm_weight < math.inf, f"lm_weight: {self.lm_weight} is not a number from 0 on")
        require(math.isfinite(self.word_bonus), f"word_bonus: {self.word_bonus} is not a finite number")
        require(0 <= self.blank_penalty < math.inf, f"blank_penalty: {self.blank_penalty} is not a number from 0 on")
        require(1 <= self.nbest <= self.beam, f"nbest: {self.nbest} is not within 1 and the beam, {self.beam}")
        require(self.floor < 0, f"floor: {self.floor} is not below 0")


class BeamDecoder:
    """Prefix beam search for one alphabet and what is known of its texts.

    Parameters
    ----------
    alphabet : of the log-probabilities
    options : beam, weights
    language : of words or of characters, by its `level`
    lexicon : the only words that may be recognised, normalised; None: any word may be spelled
    hotwords : to be preferred
    threads : None: all cores that this process may use

    UsageError where they do not fit each other: no word of the model or lexicon can be spelled, or one of the lexicon
    or of the hot words cannot. Words of the model that cannot be spelled, and hot words outside the lexicon, are named
    in a message.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        options: BeamOptions | None = None,
        language: NgramModel | None = None,
        lexicon: Sequence[str] | None = None,
        hotwords: Sequence[HotWord] = (),
        threads: int | None = None,
    ):
        self.alphabet = alphabet
        self.language = language
        self._grammar = _grammar(alphabet, language, lexicon, hotwords)
        self._search = open_beam_search(threads)
        self._language = f"a language model of {language.level}s of order {language.order}" if language else ""
        self._known = [f"a lexicon of {_counted(len(lexicon), 'word')}"] if lexicon is not None else []
        self._known += [_counted(len(hotwords), "hot word")] if hotwords else []
        self.options = options or BeamOptions()

    def describe(self) -> str:
        """One line for a person."""
        options = self.options
        language = [f"{self._language} with weight {options.lm_weight:g}"] if self._language else []
        bonus = [f"word bonus {options.word_bonus:g}"] if options.word_bonus else []
        penalty = [f"blank penalty {options.blank_penalty:g}"] if options.blank_penalty else []
        return ", ".join([f"beam {options.beam}", *language, *bonus, *penalty, *self._known])

    def with_options(self, options: BeamOptions) -> BeamDecoder:
        """The same with other options; both share their memory, so that one thread at a time may use them."""
        other = object.__new__(BeamDecoder)
        other.__dict__.update(self.__dict__, options=options)
        return other

    def decode_each(
        self, utterances: Sequence[np.ndarray], step_seconds: float, names: Sequence[str] | None = None
    ) -> list[list[Hypothesis]]:
        """The `nbest` likeliest texts of each utterance, the best first; at least one.

        Parameters
        ----------
        utterances : float [T, C] each, natural log-probabilities of the blank and the alphabet's characters
        step_seconds : > 0, seconds from one row to the next
        names : of the utterances, for messages

        Where no reading is left that the lexicon allows, the likeliest path is read as it is, and a message says so.
        UsageError where an array does not fit the alphabet or holds values that are no log-probabilities.
        """
        arrays = [np.ascontiguousarray(utterance, np.float32) for utterance in utterances]
        for array in arrays:
            if array.ndim != 2 or array.shape[1] != self.alphabet.size:
                size = self.alphabet.size
                raise UsageError(f"this alphabet decodes log-probabilities [T, {size}], not {list(array.shape)}")
        options = self.options
        if options.blank_penalty:
            arrays = [_penalised(array, options.blank_penalty) for array in arrays]
        grammar = self._grammar._replace(weight=options.lm_weight, bonus=options.word_bonus)
        try:
            found = self._search(arrays, options.beam, options.floor, options.nbest, grammar)
        except ValueError as error:
            raise UsageError(f"these cannot be decoded: {error}") from error
        result = []
        for number, (array, readings) in enumerate(zip(arrays, found, strict=True)):
            if not readings:
                name = names[number] if names else f"utterance {number}"
                log.warning("%s: no words of the lexicon fit, so the likeliest labels are taken as they are", name)
            result.append(
                [self._hypothesis(reading, step_seconds) for reading in readings]
                or [greedy.decode(array, self.alphabet, step_seconds)]
            )
        return result

    def _hypothesis(self, reading: Reading, step_seconds: float) -> Hypothesis:
        characters = self.alphabet.decode(reading.labels)
        places = zip(reading.first.tolist(), reading.stop.tolist(), reading.peak.tolist(), strict=True)
        symbols = [Symbol(character, *place) for character, place in zip(characters, places, strict=True)]
        return compose(symbols, step_seconds, reading.score)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _penalised(log_probs: np.ndarray, penalty: float) -> np.ndarray:
    """With a blank that is less likely than it was."""
    changed = log_probs.copy()
    changed[:, BLANK] -= penalty
    return changed


def _grammar(
    alphabet: Alphabet, language: NgramModel | None, lexicon: Sequence[str] | None, hot: Sequence[HotWord]
) -> Grammar:
    """All that is known of texts, as arrays; the weights are put in later."""
    space = alphabet.characters.find(" ") + 1
    if not space and (lexicon is not None or (language and language.level == "word")):
        raise UsageError("this alphabet has no space, so that no words can be told apart; use a model of characters")
    patterns = hotwords.patterns(hot, alphabet)
    known = _word_numbers(alphabet, language)
    spoken = {word: UNLISTED for hotword in hot for word in hotword.phrase.split()}
    if lexicon is None:
        words = {**spoken, **known}
    else:
        _check_lexicon(alphabet, lexicon)
        words = {word: known.get(word, UNLISTED) for word in lexicon}
        missing = [word for word in spoken if word not in words]
        if missing:
            log.warning("hot words outside the lexicon can never be recognised: %s; add them to it", some(missing))
    model = empty_automaton() if language is None else _automaton(language)
    spelling = spelling_model(known, alphabet.characters.replace(" ", "")) if known and lexicon is None else None
    alone = _alone(model, np.array([*words.values(), UNLISTED], np.int64))
    return Grammar(
        space=space,
        level=NO_MODEL if language is None else WORDS if language.level == "word" else LABELS,
        closed=lexicon is not None,
        weight=0.0,
        bonus=0.0,
        outside=float(alone[-1]),
        tree=spelling_tree(words, alphabet, alone[:-1]),
        model=model,
        spelling=empty_automaton() if spelling is None else _automaton(spelling),
        tokens=_tokens(alphabet, language) if spelling is None else _numbers(alphabet, spelling),
        patterns=patterns,
    )


def _word_numbers(alphabet: Alphabet, language: NgramModel | None) -> Mapping[str, int]:
    """The words of a model that can be spelled, with their numbers."""
    if language is None or language.level != "word":
        return {}
    words = {word: number for word, number in language.ids.items() if word not in SPECIAL}
    strange = unspellable(words, alphabet)
    if len(strange) == len(words):
        raise UsageError(
            f"this language model is for another alphabet: none of its {len(words)} words, such as {some(strange)}, "
            f"can be spelled with {alphabet.characters!r}; use one made from texts like the model's"
        )
    if strange:
        share = f"{len(strange)} of the language model's {len(words)} words"
        log.warning("%s cannot be spelled with this alphabet and are never recognised: %s", share, some(strange))
    for word in strange:
        del words[word]
    return words


def _check_lexicon(alphabet: Alphabet, lexicon: Sequence[str]) -> None:
    strange = unspellable(lexicon, alphabet)
    if strange:
        raise UsageError(
            f"words of the lexicon cannot be spelled with {alphabet.characters!r}: {some(strange)}; remove them"
        )
    if not lexicon or not all(lexicon) or any(" " in word for word in lexicon):
        raise UsageError("a lexicon holds at least one word, and each entry is one word")


def _tokens(alphabet: Alphabet, language: NgramModel | None) -> np.ndarray:
    """The number of each label in a model of characters."""
    if language is None or language.level == "word":
        return np.full(alphabet.size, -1, np.int32)
    strange = [character for character in alphabet.characters if character not in language.ids]
    if all(character in strange for character in alphabet.characters if character != " "):
        raise UsageError(
            f"this language model is for another alphabet: it has none of the characters {alphabet.characters!r}; "
            "use one made from texts like the model's"
        )
    if strange:
        log.warning("the language model lacks characters of this alphabet, which become unlikely: %s", some(strange))
    return _numbers(alphabet, language)


def _numbers(alphabet: Alphabet, model: NgramModel) -> np.ndarray:
    """The number of each label among a model's words; -1: it lacks it, or the label is the blank."""
    tokens = np.full(alphabet.size, -1, np.int32)
    tokens[BLANK + 1 :] = [model.ids.get(character, -1) for character in alphabet.characters]
    return tokens


def _alone(model: Automaton, words: np.ndarray) -> np.ndarray:
    """The log-probability of each word, whatever was before; of UNLISTED ones that of unknown words."""
    empty = slice(*model.arc_begin[:2])  # the arcs of the empty history, one for each word
    numbers = np.where(words == UNLISTED, model.unknown, words)
    arcs = np.searchsorted(model.arc_token[empty], numbers)
    known = np.append(model.arc_log_prob[empty], np.float32(model.floor))
    return np.where(numbers < 0, model.floor, known[arcs])


def _automaton(language: NgramModel) -> Automaton:
    """The language model's automaton, as the kernel reads it."""
    known = language.automaton()
    return Automaton(
        known.arc_begin,
        known.arc_word,
        np.maximum(known.arc_log_prob, np.float32(IMPOSSIBLE)),
        known.arc_next,
        np.maximum(known.backoff_log_prob, np.float32(IMPOSSIBLE)),
        known.backoff_state,
        known.start,
        known.end_word,
        known.unknown_word,
        -math.log(len(language.words) + 1),
    )
