"""What happens to speech between a mouth and a file, done to samples: rooms, noise, telephone lines, bad levels.

    pad           more quiet around it
    reverberate   a room
    add_noise     white, coloured, or other people's speech
    stop_band     a stretch of frequencies almost taken away
    narrow        nothing above 4 kHz
    telephone     a line of 300 to 3400 Hz in 8 bits
    set_level     recorded too loud, or too softly, in 16 bits

Each takes samples float32 `[N]` and gives as many, `pad` more; whatever is drawn comes from the generator given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr import audio

COLOUR = 0.9  # a in the coloured noise 1 / (1 - a z^-1), which falls with frequency as room noise does
QUIET = (30.0, 80.0)  # dB of speech over the noise of the room it is in
DIRECT = (0.0, 10.0)  # dB of the sound that comes straight from the mouth over that from the walls
EARLIEST = 0.002  # seconds after the direct sound when the first walls answer
NARROW_RATE = 8000  # Hz
TELEPHONE = (300.0, 3400.0)  # Hz
MU = 255  # of the law by which telephones round (ITU-T G.711)
MEL_RANGE = (100.0, 6000.0)  # Hz: a band that is stopped lies in here
STOPPED = 0.1  # what is left of it: 20 dB less; with nothing left, features would look at the floor of their logarithm


def pad(samples: np.ndarray, seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """With quiet before and behind, each `seconds` at most, and room noise from beginning to end."""
    before, behind = (int(rate * seconds * share) for share in rng.random(2) ** 2)
    noise = coloured(white(before + len(samples) + behind, rng))
    return add_noise(np.pad(samples, (before, behind)), noise, rng.uniform(*QUIET), samples)


def reverberate(samples: np.ndarray, seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """In a room where sound falls by 60 dB within `seconds`, as loud as before.

    Its response is the direct sound and noise that decays (Polack's model; Ko et al., ICASSP 2017).
    """
    from scipy.signal import fftconvolve

    tail = rng.standard_normal(max(1, round(seconds * rate)))
    tail *= 10 ** (-3 * np.arange(len(tail)) / len(tail))
    ratio = rng.uniform(*DIRECT)
    tail *= np.sqrt(10 ** (-ratio / 10) / np.sum(tail**2))
    response = np.concatenate([[1.0], np.zeros(round(EARLIEST * rate)), tail])
    return _as_loud(fftconvolve(samples.astype(np.float64), response)[: len(samples)], samples)


def add_noise(samples: np.ndarray, noise: np.ndarray, decibels: float, speech: np.ndarray | None = None) -> np.ndarray:
    """With the noise `[N]`, its mean power `decibels` below that of the louder half of the speech; where it is
    not given, of the samples."""
    speech = samples if speech is None else speech
    power = np.sort(np.square(speech, dtype=np.float64))[len(speech) // 2 :].mean()
    noise_power = np.mean(noise**2)
    if noise_power > 0:
        noise = noise * np.sqrt(power * 10 ** (-decibels / 10) / noise_power)
    mixed: np.ndarray = (samples + noise).astype(np.float32)
    return mixed


def white(count: int, rng: np.random.Generator) -> np.ndarray:
    """As much of every frequency."""
    return rng.standard_normal(count)


def coloured(noise: np.ndarray) -> np.ndarray:
    """y[n] = x[n] + a y[n-1]"""
    from scipy.signal import lfilter

    filtered: np.ndarray = lfilter([1.0], [1.0, -COLOUR], noise)
    return filtered


def babble(count: int, voices: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Several voices at once, equally loud, each from a place drawn on and over again when it ends."""
    total = np.zeros(count)
    for voice in voices:
        loudness = np.sqrt(np.mean(np.square(voice, dtype=np.float64)))
        if loudness > 0:
            total += np.resize(np.roll(voice, -int(rng.integers(len(voice)))), count) / loudness
    return total


def stop_band(samples: np.ndarray, octaves: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """20 dB less in a band as wide as `octaves`, drawn within 100 to 6000 Hz, without a shift in phase."""
    from scipy.fft import irfft, next_fast_len, rfft

    low, high = np.log2(MEL_RANGE)
    start = rng.uniform(low, max(low, high - octaves))
    size = next_fast_len(len(samples), real=True)
    spectrum = rfft(samples.astype(np.float64), size)
    frequencies = np.arange(len(spectrum)) * (rate / size)
    spectrum[(frequencies >= 2**start) & (frequencies < 2 ** (start + octaves))] *= STOPPED
    stopped: np.ndarray = irfft(spectrum, size)[: len(samples)].astype(np.float32)
    return stopped


def narrow(samples: np.ndarray, rate: int) -> np.ndarray:
    """As if recorded at 8 kHz: nothing above 4 kHz."""
    return _fit(audio.resample(audio.resample(samples, rate, NARROW_RATE), NARROW_RATE, rate), len(samples))


def telephone(samples: np.ndarray, rate: int) -> np.ndarray:
    """As heard over a line: at 8 kHz, 300 to 3400 Hz (Butterworth, order 4), each sample one of 255 steps."""
    from scipy.signal import butter, sosfilt

    line = audio.resample(samples, rate, NARROW_RATE)
    line = sosfilt(butter(4, TELEPHONE, "bandpass", fs=NARROW_RATE, output="sos"), line)
    loudest = np.abs(line).max(initial=0.0)
    if loudest > 0:
        line = loudest * _rounded(line / loudest)
    return _fit(audio.resample(line.astype(np.float32), NARROW_RATE, rate), len(samples))


def set_level(samples: np.ndarray, decibels: float) -> np.ndarray:
    """The highest peak `decibels` over the top of 16 bits, what is beyond it clipped; far below, few bits are left."""
    loudest = np.abs(samples).max(initial=0.0)
    if loudest == 0:
        return samples
    scaled = samples * np.float32(10 ** (decibels / 20) / loudest)
    levelled: np.ndarray = (np.round(np.clip(scaled, -1, 1) * 32767) / 32767).astype(np.float32)
    return levelled


def _rounded(values: np.ndarray) -> np.ndarray:
    """-1..1 to the nearest of 255 steps, which are finer near 0."""
    steps = np.round(np.sign(values) * np.log1p(MU * np.abs(values)) / np.log1p(MU) * 127) / 127
    rounded: np.ndarray = np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(MU)) / MU
    return rounded


def _as_loud(changed: np.ndarray, samples: np.ndarray) -> np.ndarray:
    power = np.mean(changed**2)
    if power > 0:
        changed = changed * np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / power)
    return changed.astype(np.float32)


def _fit(samples: np.ndarray, count: int) -> np.ndarray:
    """Resampling back may give a sample more or less."""
    return np.pad(samples[:count], (0, max(0, count - len(samples))))
