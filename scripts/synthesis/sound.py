"""What an engine gives, made like a recording: one rate, quiet at both ends, a level, and the noise of a quiet room.

Digital silence is what no microphone gives, and a network would learn it as a mark of synthetic speech.
"""

from __future__ import annotations

import io

import numpy as np

from asr.audio import Audio, resample, speed

RATE = 16000  # Hz, of the files
FRAME = RATE // 100  # samples of which a level is taken
SILENT = 1e-2  # of the loudest frame's amplitude: below is not speech (-40 dB)
EDGE = (0.1, 0.3)  # seconds before and behind the speech, drawn
LEVEL = (-32.0, -18.0)  # dB of the speech below full scale, root mean square, drawn
PEAK = 0.9  # of full scale: no sample is beyond
NOISE = (-60.0, -42.0)  # dB below the speech, drawn
COLOUR = 0.9  # noise through 1/(1 - 0.9 / z) falls with frequency, as that of rooms


def finish(audio: Audio, shift: float, rng: np.random.Generator) -> np.ndarray:
    """A recording of the speech, float32 [N] at `RATE`; empty where there is no sound.

    shift : pitch and formants are multiplied by this, the duration is divided
    """
    samples = resample(speed(audio.samples, shift, audio.rate), audio.rate, RATE)
    samples = trim(samples, rng.uniform(*EDGE), rng.uniform(*EDGE))
    if not len(samples):
        return samples
    loud = frame_levels(samples)
    speech = np.sqrt(np.mean(loud[loud > SILENT * loud.max()] ** 2))
    samples = samples + speech * 10 ** (rng.uniform(*NOISE) / 20) * room_noise(len(samples), rng)
    gain = min(10 ** (rng.uniform(*LEVEL) / 20) / speech, PEAK / np.abs(samples).max())
    return np.asarray(gain * samples, np.float32)


def trim(samples: np.ndarray, before: float, behind: float) -> np.ndarray:
    """Speech with so many seconds of quiet before and behind it: cut, or put there."""
    levels = frame_levels(samples)
    if not levels.any():
        return samples[:0]
    speech = np.flatnonzero(levels > SILENT * levels.max())
    start = int(speech[0] * FRAME - before * RATE)
    end = int((speech[-1] + 1) * FRAME + behind * RATE)
    padded: np.ndarray = np.pad(samples[max(start, 0) : end], (max(-start, 0), max(end - len(samples), 0)))
    return padded


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """Root mean square of each 10 ms, the last of which may be shorter: float64 [frames]."""
    whole = np.pad(samples.astype(np.float64), (0, -len(samples) % FRAME))
    levels: np.ndarray = np.sqrt(np.mean(whole.reshape(-1, FRAME) ** 2, axis=1))
    return levels


def room_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Coloured noise of mean power 1: float64 [count]."""
    from scipy.signal import lfilter

    noise: np.ndarray = lfilter([np.sqrt(1 - COLOUR**2)], [1, -COLOUR], rng.standard_normal(count))
    return noise


def as_flac(samples: np.ndarray) -> bytes:
    """A FLAC file, 16 bits."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()
