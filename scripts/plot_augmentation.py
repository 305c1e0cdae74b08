"""The pictures of docs/augmentation.md: recordings in samples/, before and after each alteration.

    python scripts/plot_augmentation.py [NAME...]

Each picture `docs/images/augment-NAME.png` shows the spectrogram (32 ms windows, 80 dB) and below it the features that
a network sees: 20 normalised cepstral coefficients, the first at the bottom, blue below and red above the mean. What
is printed is how far the features are from those of the recording, root mean square, in standard deviations.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.signal import spectrogram

from asr.audio import Audio
from asr.backends import open_backend
from asr.corpora import Utterance, open_corpus
from asr.features import FeatureConfig, extract
from asr.model import Model
from asr.training.augment import alter, copy_frames, vary
from asr.training.config import PLAIN, AugmentConfig, Copy, CorpusConfig, TrainingConfig
from asr.training.pieces import cut_pieces
from asr.training.progress import Quiet
from asr.training.strings import Joined

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
FEATURES = FeatureConfig(coefficients=20)
COPIES = {
    "speed": [Copy(speed=0.87), Copy(speed=1.14)],
    "pad": [Copy(pad=0.5), Copy(pad=1.0)],
    "hop": [Copy(hop=0.87), Copy(speed=0.87, hop=1.14)],
    "noise": [Copy(snr=12.0, noise="white"), Copy(snr=12.0, noise="coloured"), Copy(snr=12.0, noise="speech")],
    "reverb": [Copy(reverb=0.3), Copy(reverb=0.8)],
    "band": [Copy(band="narrow"), Copy(band="telephone"), Copy(band="telephone", snr=18.0)],
    "stop": [Copy(stop=0.7), Copy(stop=1.5)],
    "level": [Copy(level=-20.0), Copy(level=-60.0), Copy(level=20.0)],
}
Panel = tuple[str, Audio, np.ndarray]  # title, sound, frames [T, D]


def main(names: list[str]) -> None:
    for name in names or [*COPIES, *MADE]:
        panels = MADE[name]() if name in MADE else copies(COPIES[name])
        path = IMAGES / f"augment-{name}.png"
        save(draw(panels), path)
        print(path.relative_to(ROOT), f"{path.stat().st_size / 1000:.0f} kB")
        plain = panels[0][2]
        for label, _, frames in panels[1:]:
            if len(frames) == len(plain):
                print(f"  {label}: {np.sqrt(np.mean((frames - plain) ** 2)):.2f}")


def copies(wanted: list[Copy]) -> list[Panel]:
    """A recording, and copies of it."""
    utterances = samples()
    utterance, sound = utterances["an4-melvin"], utterances["an4-melvin"].read(FEATURES.rate)
    voices = [other.read(FEATURES.rate).samples for name, other in utterances.items() if name != "an4-melvin"]
    made = []
    for copy in [PLAIN, *wanted]:
        frames = copy_frames(sound, utterance, copy, FEATURES, 0.0, voices)
        made.append((title(copy), alter(sound, utterance, copy, 0.0, voices), frames))
    return made


def strings() -> list[Panel]:
    """Two recordings of one speaker, and the string of them."""
    parts = [samples()[name] for name in ("kathleen-farmer", "kathleen-children")]
    joined = Joined("joined", parts[0].audio, "", parts=tuple(parts), pauses=(0.2, 0.3, 0.1))
    named = [(parts[0], "first"), (parts[1], "second"), (joined, "joined: pauses of 0.2, 0.3 and 0.1 s")]
    sounds = [(name, utterance.read(FEATURES.rate)) for utterance, name in named]
    return [(name, sound, extract(sound, FEATURES)) for name, sound in sounds]


def pieces() -> list[Panel]:
    """A recording, and what it is cut into."""
    whole = dataclasses.replace(samples()["kathleen-farmer"], corpus="samples")
    config = TrainingConfig(init="en", corpora=(CorpusConfig("samples", pieces=1.0),))
    cut = cut_pieces([whole], config, Model.load("en"), open_backend("cpu"), Quiet())
    sounds = [(utterance.text, utterance.read(FEATURES.rate)) for utterance in (whole, *cut)]
    return [(text, sound, extract(sound, FEATURES)) for text, sound in sounds]


def changed_frames() -> list[Panel]:
    """A recording whose frames are changed as they are put into a batch."""
    sound = samples()["an4-melvin"].read(FEATURES.rate)
    plain = extract(sound, FEATURES)
    settings = {
        "gain = offset = 0.1": AugmentConfig(gain=0.1, offset=0.1),
        "noise = 0.2": AugmentConfig(noise=0.2),
        "masks = 2, mask_frames = 30": AugmentConfig(masks=2, mask_frames=30),
    }
    changed = [(name, sound, vary(plain, config, np.random.default_rng(4))) for name, config in settings.items()]
    return [("as recorded", sound, plain), *changed]


MADE = {"strings": strings, "pieces": pieces, "frames": changed_frames}


def samples() -> dict[str, Utterance]:
    return {utterance.id: utterance for utterance in open_corpus(f"pairs:{ROOT / 'samples'}")}


def title(copy: Copy) -> str:
    """The settings that differ from those of a plain copy."""
    fields = [field.name for field in dataclasses.fields(copy)]
    used = [f"{name} = {getattr(copy, name)}" for name in fields if getattr(copy, name) != getattr(PLAIN, name)]
    return ", ".join(used) or "as recorded"


def draw(panels: list[Panel]) -> Figure:
    figure, axes = plt.subplots(
        2,
        len(panels),
        figsize=(3.2 * len(panels), 3.8),
        layout="constrained",
        height_ratios=(3, 2),
        squeeze=False,
        sharex="row",
        sharey="row",
    )
    for column, (name, sound, frames) in enumerate(panels):
        axes[0, column].set_title(name, fontsize=10)
        draw_spectrogram(axes[0, column], sound)
        draw_cepstra(axes[1, column], frames)
    axes[0, 0].set_ylabel("kHz")
    axes[1, 0].set_ylabel("MFCC")
    axes[0, 0].set_xlim(0, max(sound.duration for _, sound, _ in panels))
    axes[1, 0].set_xlim(0, max(len(frames) for _, _, frames in panels))
    return figure


def draw_spectrogram(axes: Axes, sound: Audio) -> None:
    _, _, power = spectrogram(sound.samples, sound.rate, nperseg=512, noverlap=352)
    decibels = 10 * np.log10(np.maximum(power, power.max() * 1e-8))
    extent = (0, sound.duration, 0, sound.rate / 2000)
    axes.imshow(decibels, origin="lower", aspect="auto", cmap="magma", extent=extent, vmin=decibels.max() - 80)
    axes.set_xlabel("s", labelpad=0)


def draw_cepstra(axes: Axes, frames: np.ndarray) -> None:
    cepstra = frames[:, : FEATURES.coefficients].T
    extent = (0, len(frames), 0, FEATURES.coefficients)
    axes.imshow(cepstra, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-3, vmax=3, extent=extent)
    axes.set_xlabel("frame", labelpad=0)


def save(figure: Figure, path: Path) -> None:
    """As PNG of 128 colours, a third of the size."""
    raw = io.BytesIO()
    figure.savefig(raw, dpi=72)
    Image.open(raw).convert("RGB").quantize(128).save(path, optimize=True)
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
