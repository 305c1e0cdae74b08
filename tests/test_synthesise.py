"""Synthetic speech: what is said is what the transcript has, and a run goes on where it stopped. Needs no engine."""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import asr
from asr.audio import Audio
from asr.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
RNG = np.random.default_rng(7)
sys.path.append(str(ROOT / "scripts"))

import synthesise  # noqa: E402
from synthesis import phrases, sound, voices  # noqa: E402
from synthesis.accents import ACCENTS, MANDARIN, Accent  # noqa: E402
from synthesis.phrases import Inventor, Sentences, cardinal, ordinal, transcribe, year  # noqa: E402

# An engine with two voices, found as `flite` on PATH: a hum as long as the text asks for, and a line for each call.
FLITE = """#!{python}
import math, struct, sys, wave
if "-lv" in sys.argv:
    print("Voices available: low high")
    sys.exit()
options = dict(zip(sys.argv[1:], sys.argv[2:]))
open({calls!r}, "a").write(options["-t"] + chr(10))
if "never" in options["-t"]:
    sys.exit("no such word")
with wave.open(options["-o"], "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
    hum = [int(9000 * math.sin(t / 5)) for t in range(700 * len(options["-t"]))]
    file.writeframes(struct.pack(f"<{{len(hum) + 8000}}h", *[0] * 4000, *hum, *[0] * 4000))
"""

TEXT = """"Come in," said the miller's daughter.
The miller said he was in.
Mr. Hall said he was in.
The daughter said come in - at once.
He was in the mill at once, the daughter said.
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the fake engine alone installed: the file where it keeps its calls."""
    if os.name == "nt":
        pytest.skip("a script is no program on Windows")
    path = tmp_path / "calls"
    program = tmp_path / "bin" / "flite"
    program.parent.mkdir()
    program.write_text(FLITE.format(python=sys.executable, calls=str(path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    voices._flite_voices.cache_clear()
    return path


def run(
    folder: Path,
    count: int,
    named: str | None = "flite:low,flite:high=3",
    seed: int = 1,
    made_up: float = 0.3,
    kinds: str | None = None,
) -> list[dict[str, object]]:
    """The manifest after a run over TEXT."""
    (folder / "text").write_text(TEXT)
    synthesise.main([folder / "text"], folder / "out", count, made_up, kinds, named, None, 1, seed)
    return [json.loads(line) for line in (folder / "out" / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ('"Well - I\'d say so!" cried the half-drowned man.', "well i'd say so cried the half drowned man"),
        ("A cat, I think.", "a cat i think"),
        ("Dr. Smith left.", None),
        ("King George V died.", None),
        ("The USA won.", None),
        ("At 9 he left.", None),
        ("Hm, no.", None),
        ("'Tis late.", None),
        ("Caf\u00e9 au lait", None),
        ("...", None),
    ],
)
def test_a_sentence_is_taken_only_where_it_is_read_as_written(sentence: str, text: str | None) -> None:
    assert transcribe(sentence) == text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (cardinal(0), "zero"),
        (cardinal(13), "thirteen"),
        (cardinal(40), "forty"),
        (cardinal(207), "two hundred seven"),
        (cardinal(1000), "one thousand"),
        (cardinal(4950), "forty nine hundred fifty"),
        (cardinal(9099), "nine thousand ninety nine"),
        (ordinal(1), "first"),
        (ordinal(12), "twelfth"),
        (ordinal(23), "twenty third"),
        (ordinal(30), "thirtieth"),
        (year(1900), "nineteen hundred"),
        (year(1905), "nineteen oh five"),
        (year(1984), "nineteen eighty four"),
        (year(2000), "two thousand"),
        (year(2009), "two thousand nine"),
        (year(2012), "twenty twelve"),
    ],
)
def test_numbers_in_words(words: list[str], said: str) -> None:
    assert " ".join(words) == said


def test_phrases_are_spoken_as_their_transcripts_say() -> None:
    invent = Inventor(["cathy", "bob"], np.random.default_rng(0))
    made = [invent() for _ in range(300)]
    for phrase in made:
        assert phrase.spoken.replace(",", "").rstrip(".").lower() == phrase.text
        assert "A " not in phrase.spoken  # an article
    texts = {phrase.text for phrase in made}
    assert {"c a t h y", "b o b"} <= texts
    assert all(any(text.split()[0] == word for text in texts) for word in ("enter", "january", "oh", "twenty"))


def test_kinds_of_phrases_are_chosen(tmp_path: Path, calls: Path) -> None:
    said = [str(entry["text"]) for entry in run(tmp_path, 12, made_up=1, kinds="digit=3,date=1")]
    single = [text for text in said if text in ("oh", *phrases.DIGITS)]
    assert 0 < len(said) - len(single) < len(single)
    assert all(text.split()[0] in phrases.MONTHS for text in said if text not in single)
    with pytest.raises(UsageError, match="--kinds 'time': the kinds of phrases are spelling, "):
        run(tmp_path, 1, kinds="digit,time")
    with pytest.raises(UsageError, match="--kinds 'digit=0': the share must be a number above 0"):
        run(tmp_path, 1, kinds="digit=0")


def test_sentences_have_common_words_and_come_once_before_any_comes_twice() -> None:
    lines = [f"he said the number {word} again" for word in ["one", "two", "three", "one", "two", "three", "four"]]
    source = Sentences([f"{line}, he did {'so ' * count}" for count, line in enumerate(lines)], min_count=2)
    texts = {phrase.text for phrase in source.phrases}
    assert len(texts) == 6
    assert not any("four" in text for text in texts)
    drawn = [phrase.text for phrase in islice(Sentences(TEXT.splitlines(), 1).draw(np.random.default_rng(3)), 8)]
    assert set(drawn) <= {transcribe(line) for line in TEXT.splitlines()}
    with pytest.raises(UsageError, match="no sentence of the texts has 3 to 14 words, each 5 times in them; name more"):
        Sentences(TEXT.splitlines(), min_count=5)


def test_names_are_spelled_where_a_text_has_some() -> None:
    assert Sentences(["We saw Anna and anna saw us.", "We saw Anna."], 1).names == ["anna"]
    assert Sentences(["We saw it all."], 1).names == ["all", "it", "saw", "we"]


def test_speech_is_trimmed_levelled_and_has_the_noise_of_a_room() -> None:
    hum = np.float32(0.99) * np.sin(np.arange(8000) / 5, dtype=np.float32)
    audio = Audio(np.concatenate([np.zeros(12000, np.float32), hum, np.zeros(100, np.float32)]), 8000)
    for seed in range(20):
        made = sound.finish(audio, 1.0, np.random.default_rng(seed))
        levels = sound.frame_levels(made)
        loud = np.flatnonzero(levels > 0.1 * levels.max())
        assert len(loud) == pytest.approx(100, abs=2)
        assert 0.08 < loud[0] / 100 < 0.32
        assert 0.08 < (len(levels) - 1 - loud[-1]) / 100 < 0.32
        assert -32.1 < 20 * np.log10(np.sqrt(np.mean(levels[loud] ** 2))) < -17.9
        assert levels.min() > 0
        assert np.abs(made).max() <= 0.9
    assert len(sound.finish(Audio(np.zeros(500, np.float32), 8000), 1.1, np.random.default_rng(0))) == 0
    assert len(sound.finish(audio, 1.25, np.random.default_rng(0))) < len(
        sound.finish(audio, 1, np.random.default_rng(0))
    )


def test_a_corpus_that_opens_and_a_run_that_goes_on(calls: Path, tmp_path: Path) -> None:
    manifest = run(tmp_path, 12)
    assert len(manifest) == len(calls.read_text().splitlines()) == 12
    utterances = asr.open_corpus(f"nemo:{tmp_path / 'out'}")
    assert [utterance.text for utterance in utterances] == [entry["text"] for entry in manifest]
    for utterance, entry in zip(utterances, manifest, strict=True):
        assert utterance.read().duration == pytest.approx(entry["duration"], abs=1e-4)
        assert set(utterance.text) <= set(" '" + phrases.LETTERS)
    assert {str(entry["voice"]).split("*")[0] for entry in manifest} == {"flite:low", "flite:high"}
    assert not any(utterance.speaker for utterance in utterances)  # so none is held out beside speakers who live

    assert run(tmp_path, 12) == manifest
    assert len(calls.read_text().splitlines()) == 12  # nothing is spoken again
    (tmp_path / "out" / str(manifest[5]["audio_filepath"])).unlink()
    assert run(tmp_path, 15)[:12] == manifest
    assert len(calls.read_text().splitlines()) == 12 + 1 + 3
    assert run(tmp_path, 12, seed=2) != manifest
    assert run(tmp_path, 12) == manifest


def test_what_cannot_be_said_is_left_out(calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "bin" / "flite"
    program.write_text(program.read_text().replace("700 * len", "20 * len"))
    assert run(tmp_path, 4) == []
    assert "0 utterances" in capsys.readouterr().out


def test_errors_are_one_sentence(calls: Path, tmp_path: Path) -> None:
    with pytest.raises(asr.AsrError, match=r"voice flite:low failed: no such word; leave it out"):
        voices.speak("never", "flite:low", voices.Manner())
    with pytest.raises(UsageError, match="flite has no voice 'alto'; it has: low, high"):
        voices.speak("ever", "flite:alto", voices.Manner())
    with pytest.raises(UsageError, match="espeak-ng is not installed; apt-get install espeak-ng"):
        voices.choose("flite:low,espeak-ng:en-us")
    for wrong in ("slt", "sam:low", "flite:"):
        with pytest.raises(UsageError, match=f"{wrong!r}: write ENGINE:VOICE"):
            voices.choose(wrong)
    with pytest.raises(UsageError, match="share must be a number above 0"):
        voices.choose("flite:low=-1")
    assert voices.choose("flite:low=2,flite:slt") == {"flite:low": 2, "flite:slt": voices.USUAL["flite:slt"]}


@pytest.mark.parametrize(
    ("found", "phonemes", "said"),
    [
        ("θ", "θˈɪŋk wɪð", "sˈɪŋk wɪð"),
        ("v", "vˈɛɹi ʌv", "wˈɛɹi ʌw"),
        ("(?<![aeɔ])[ɪᵻ]", "kɪk kaɪt bɔɪ", "kik kaɪt bɔɪ"),  # not the second half of a diphthong
        ("(?<![ao])ʊ", "fˈʊl nˈaʊ", "fˈul nˈaʊ"),
        ("(?<!d)ʒ", "mˈɛʒɚ dʒˈɑb", "mˈɛɹɚ dʒˈɑb"),  # nor of an affricate
        ("iː?", "sˈiː mˈi", "sˈɪ mˈɪ"),
        ("d(?=[\\s,.!?]|$)", "bæd, dˈɑkt wˈɜːld", "bæt, dˈɑkt wˈɜːlt"),
        ("([ptkbdɡg])(?=[\\s,.!?]|$)", "bɪɡ kæt", "bɪɡə kætə"),
        ("[ptkbdɡg](?=[\\s,.!?]|$)", "ænd kæts", "æn kæts"),
        ("[ˈˌ]", "ˌI θˈɪŋk", "I θɪŋk"),
        (r"(?<=\w)\s", "tu bi", "tu, bi"),
    ],
)
def test_rules_of_an_accent(found: str, phonemes: str, said: str) -> None:
    (rule,) = (rule for rule in MANDARIN if rule.found == found and rule.apply(phonemes, 1, RNG) == said)
    assert rule.apply(phonemes, 0, RNG) == phonemes
    half = rule.apply(" ".join([phonemes] * 500), 0.5, RNG)
    assert half not in (" ".join([phonemes] * 500), " ".join([said] * 500))


def test_every_rule_of_an_accent_finds_its_place_in_english() -> None:
    english = (
        "θɪŋk ðə vɛɹi ɛv iz mɛʒəɹ siː kæt fʊl kʌp sˈAm sɔ sɪŋ mɪn fˈʊl kˈɑɹ lɪv nˈI ɪf bɛd tʌb bɪɡ kæts plˈɪz wɜːɚ"
    )
    for rules in ACCENTS.values():
        for rule in rules:
            assert rule.apply(english, 1, RNG) != english, rule


def test_a_speaker_has_one_accent() -> None:
    phonemes = "ðə wˈɜɹld ɪz fˈʊl ʌv ˈOld θˈɪŋz " * 20
    strong, other, none = (Accent("mandarin", *how)(phonemes) for how in ((1.0, 1), (1.0, 2), (0.0, 1)))
    assert strong == Accent("mandarin", 1.0, 1)(phonemes)
    assert len({strong, other, phonemes}) == 3
    assert none == phonemes
    assert len(strong.split()) == len(phonemes.split())


def test_an_engine_that_takes_phonemes_has_the_accent(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    class English:
        sample_rate = 24000

        def phonemize(self, text: str) -> list[str]:
            return [text]

        def from_phonemes(self, phonemes: str, speed: float, seed: int) -> np.ndarray:
            heard.append(phonemes)
            return np.zeros(10, np.float32)

    monkeypatch.setattr(voices, "_hibari", English)
    accent = Accent("mandarin", 1.0, 3)
    for manner in (voices.Manner(), voices.Manner(accent=accent)):
        voices.speak("θɪŋk ðæt", "hibari:heart", manner)
    assert heard == ["θɪŋk ðæt", accent("θɪŋk ðæt")]
    assert heard[0] != heard[1]


def test_an_accent_is_drawn_for_each_utterance_and_names_another_file() -> None:
    plain, foreign = (
        list(islice(synthesise.plan(Sentences(TEXT.splitlines(), 1), {"hibari:heart": 1.0}, 0.0, 1, accent=accent), 4))
        for accent in (None, "mandarin")
    )
    assert plain[0].phrase == foreign[0].phrase
    assert plain[0].entry(0)["audio_filepath"] != foreign[0].entry(0)["audio_filepath"]
    assert len({line.manner.accent for line in foreign}) == 4
    assert "accent" not in synthesise.asdict(plain[0], dict_factory=synthesise._given)["manner"]


def test_what_cannot_have_an_accent(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="flite takes no phonemes, so it can have no accent; leave it out"):
        voices.choose("flite:low", "mandarin")
    with pytest.raises(UsageError, match="--accent 'martian' is none of: mandarin"):
        voices.choose(None, "martian")
    monkeypatch.setattr(voices.Hibari, "packages", ("no_such_package",))
    monkeypatch.setattr(voices.Piper, "packages", ("no_such_package",))
    monkeypatch.setattr(voices.Kokoro, "packages", ("no_such_package",))
    with pytest.raises(UsageError, match=r"no engine is installed .* hibari: pip install hibari-tts"):
        voices.choose(None, "mandarin")


def test_without_any_engine_the_simplest_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices.Engine, "is_installed", lambda engine: False)
    with pytest.raises(UsageError, match=r"no engine is installed .* flite: apt-get install flite"):
        voices.choose(None)
