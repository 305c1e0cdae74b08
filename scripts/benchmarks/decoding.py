"""What the decoders get, made once: posteriors of real recordings, a language model as an ARPA file, words.

Every decoder reads them from the same folder, so that none depends on another's network or model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.alphabet import BLANK, normalise
from asr.corpora import Utterance, open_corpus
from asr.decoding.choice import GREEDY, DecodingChoice
from asr.language import read_arpa, write_arpa
from asr.language.build import BuildConfig, build
from asr.language.ngram import SPECIAL
from asr.language.texts import Text, Tokenizer, read_sentences
from asr.recognizer import load
from asr.scoring import score
from benchmarks.jobs import Job, spread

ORDER = 3
NGRAMS = 300_000  # kept of all orders together
WEIGHTS = (0.5, 0.5)  # of the transcripts and of the text
SEEN = 2  # a word must occur so often to be known
LM_WEIGHT, WORD_BONUS = 0.5, 1.5  # pyctcdecode's own
HOT_WORDS = 20  # the commonest of the recordings' own texts
HOT_LETTERS = 4  # a shorter word is no name to listen for
PARTS = 4


@dataclass(frozen=True)
class DecodingData:
    """Recordings as a decoder gets them.

    characters : of the alphabet; the blank is 0, they are 1, 2, ...
    step_seconds : from one row of posteriors to the next
    seconds : of each recording
    references : what was said
    log_probs : float32 [T, C] of each
    lexicon : the words of the language model that can be spelled
    hotwords : some words of the references
    arpa : the language model's file
    """

    characters: str
    step_seconds: float
    seconds: list[float]
    references: list[str]
    log_probs: list[np.ndarray]
    lexicon: list[str]
    hotwords: list[str]
    arpa: Path

    def job(self, decode: Callable[[Sequence[np.ndarray]], Sequence[str]]) -> Job:
        """Decoding it all, in parts. How well it is read stands in the note: being fast by searching less must show."""
        texts = decode(self.log_probs)
        groups = spread(len(self.log_probs), PARTS)
        return Job(
            lambda part: decode([self.log_probs[i] for i in groups[part]]),
            parts=len(groups),
            sound=[sum(self.seconds[i] for i in group) for group in groups],
            note=f"WER {score(self.references, texts).wer:.1%}",
        )


def write_language(path: Path, transcripts: str, text: Path) -> None:
    """A word model of a corpus' transcripts and of a text, pruned. UsageError, CorpusError where they do not do."""
    spoken = Text.read(transcripts, (utterance.text for utterance in open_corpus(transcripts)), Tokenizer())
    written = Text.read(str(text), read_sentences(text), Tokenizer())
    config = BuildConfig(ORDER, min_count=SEEN, weights=WEIGHTS, max_ngrams=NGRAMS)
    write_arpa(build([spoken, written], config).model, path)


def write_decoding(folder: Path, spoken: Sequence[Utterance], model: str, arpa: Path) -> None:
    """Everything of a `DecodingData`, with the posteriors of a model."""
    recognizer = load(model, "cpu", decoding=DecodingChoice(beam=GREEDY))
    sounds = [utterance.read(recognizer.model.features.rate) for utterance in spoken]
    references = [normalise(utterance.text) for utterance in spoken]
    alphabet = recognizer.model.alphabet
    words = Counter(word for text in references for word in text.split() if len(word) >= HOT_LETTERS)
    facts = {
        "characters": alphabet.characters,
        "step_seconds": recognizer.model.step_seconds,
        "seconds": [sound.duration for sound in sounds],
        "references": references,
        "lexicon": [word for word in read_arpa(arpa).words if word not in SPECIAL and not alphabet.outside(word)],
        "hotwords": [word for word, _ in words.most_common() if not alphabet.outside(word)][:HOT_WORDS],
        "arpa": str(arpa.resolve()),
    }
    (folder / "decoding.json").write_text(json.dumps(facts))
    np.savez(folder / "posteriors.npz", *[recognizer.log_probs(sound) for sound in sounds])


def load_decoding(folder: str) -> DecodingData:
    """What `write_decoding` has left in a folder."""
    facts = json.loads((Path(folder) / "decoding.json").read_text())
    with np.load(Path(folder) / "posteriors.npz") as arrays:
        log_probs = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
    return DecodingData(log_probs=log_probs, **facts | {"arpa": Path(facts["arpa"])})


def collapsed(labels: Sequence[int], characters: str) -> str:
    """The text of a CTC path."""
    spelled = [label for before, label in zip([BLANK, *labels], labels, strict=False) if label not in (before, BLANK)]
    return " ".join("".join(characters[label - 1] for label in spelled).split())
