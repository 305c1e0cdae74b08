"""Sound to frames: mel-frequency cepstral coefficients and their deltas, by librosa (imported nowhere else)."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, wraps
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from asr.audio import Audio
from asr.config import require
from asr.errors import AudioError, UsageError
from asr.files import cache_folder

# Deviations below this are rounding, not signal: digital silence becomes zeros, not noise. Speech has 0.1 and more.
SMALLEST_DEVIATION = 1e-3
BLOCK = 4096  # frames (41 s) whose spectrum is held at a time: an hour's would take a gigabyte
AROUND = 5.0  # seconds to each side of a frame whose loudest one tells if it is speech: speakers differ in loudness
LOUDNESS_RANGE = 80.0  # dB below the loudest mel value at which all others are floored

_loading = threading.Lock()


@dataclass(frozen=True)
class FeatureConfig:
    """How frames are computed.

    rate : Hz, of the samples
    window, hop : seconds, a frame's length and the step from frame to frame
    coefficients : cepstral coefficients per frame, the first included (Davis and Mermelstein, 1980)
    deltas : highest order of time derivative put beside them: 0, 1 or 2 (Furui, 1986)
    delta_width : frames over which a derivative is fitted, odd and at least 3
    filters, low, high : number of mel filters (Slaney's scale) and the band they cover, Hz
    preemphasis : a in y[n] = x[n] - a x[n-1]; 0 for none
    window_shape : a window known to scipy
    normalise : "utterance" brings each dimension of an utterance to mean 0 and variance 1; "speech" brings its frames
        of speech there and all others along, so that it makes no difference how much quiet is around speech
    speech_range : dB that a frame's mean over the mel bands may be below that of the loudest within 5 s, and twice that
        below the loudest of all, and still be speech
    normalise_seconds : mean and variance for a frame are those of so much sound around it (sliding: Viikki and Laurila,
        1998), so that each speaker in a long recording has his own; 0: those of the whole recording
    prior_frames : so many frames of average speech count beside an utterance's own in its mean and variance (after
        Gauvain and Lee, 1994): in a word that is little but a vowel, its own mean would take the vowel away
    prior_mean, prior_deviation : average speech in each dimension; `measure` finds them
    """

    rate: int = 16000
    window: float = 0.025
    hop: float = 0.010
    coefficients: int = 13
    deltas: int = 2
    delta_width: int = 9
    filters: int = 40
    low: float = 60.0
    high: float = 7600.0
    preemphasis: float = 0.97
    window_shape: Literal["hamming", "hann", "blackman", "boxcar"] = "hamming"
    normalise: Literal["utterance", "speech", "none"] = "utterance"
    speech_range: float = 20.0
    normalise_seconds: float = 0.0
    prior_frames: int = 0
    prior_mean: tuple[float, ...] = ()
    prior_deviation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require(self.rate >= 1000, f"rate: {self.rate} Hz is below 1000")
        require(self.window_samples >= 16, f"window: {self.window} s is shorter than 16 samples")
        require(1 <= self.hop_samples <= self.window_samples, f"hop: {self.hop} s is not within (0, window]")
        require(self.filters >= 1, f"filters: {self.filters} is below 1")
        require(
            1 <= self.coefficients <= self.filters,
            f"coefficients: {self.coefficients} is not within 1 and the {self.filters} filters",
        )
        require(0 <= self.deltas <= 2, f"deltas: {self.deltas} is none of 0, 1, 2")
        require(
            self.delta_width >= 3 and self.delta_width % 2 == 1,
            f"delta_width: {self.delta_width} is not an odd number of at least 3",
        )
        require(
            0 <= self.low < self.high <= self.rate / 2,
            f"low, high: the band {self.low} to {self.high} Hz does not fit into 0 to {self.rate / 2:.0f} Hz",
        )
        require(0 <= self.preemphasis < 1, f"preemphasis: {self.preemphasis} is not within [0, 1)")
        require(self.speech_range > 0, f"speech_range: {self.speech_range} dB is not above 0")
        require(
            self.normalise_seconds == 0 or self.normalise_seconds >= 1,
            f"normalise_seconds: {self.normalise_seconds} s is neither 0 nor at least 1",
        )
        require(self.prior_frames >= 0, f"prior_frames: {self.prior_frames} is below 0")
        for name in ("prior_mean", "prior_deviation"):
            given = len(getattr(self, name))
            require(given in (0, self.dimension), f"{name}: {given} values, not {self.dimension}, one a dimension")

    @property
    def dimension(self) -> int:
        """Values per frame."""
        return self.coefficients * (1 + self.deltas)

    @property
    def window_samples(self) -> int:
        return round(self.window * self.rate)

    @property
    def transform_samples(self) -> int:
        """Of the Fourier transform: the power of two that holds a window."""
        return 1 << (self.window_samples - 1).bit_length()

    @property
    def hop_samples(self) -> int:
        return round(self.hop * self.rate)


def extract(audio: Audio, config: FeatureConfig) -> np.ndarray:
    """Frames of one utterance, float32 `[T, dimension]`, T = 1 + samples // hop; frame t is centred at t hops.

    Raises AudioError when the sound is shorter than one window, UsageError when it has another rate; either names
    the sound. Digital silence gives finite frames.
    """
    frames, speech = _frames(_checked(audio, config), config)
    if config.normalise != "none":
        frames = _normalised(frames, speech, config)
    return np.ascontiguousarray(frames, np.float32)


def _checked(audio: Audio, config: FeatureConfig) -> Audio:
    if audio.rate != config.rate:
        raise UsageError(f"{audio.name}: the features are for {config.rate} Hz, not {audio.rate} Hz; read it so")
    if len(audio.samples) < config.window_samples:
        raise AudioError(
            f"{audio.name}: {audio.duration * 1000:.1f} ms of sound is less than one window "
            f"({config.window * 1000:g} ms); leave it out"
        )
    return audio


def _frames(audio: Audio, config: FeatureConfig) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[T, dimension]` before normalisation, and which of them count in it, bool `[T]`."""
    cepstra = _cepstra(audio.samples, config)
    if config.normalise != "speech":
        return _with_deltas(cepstra, config), np.ones(cepstra.shape[1], bool)
    level = cepstra[0] / np.sqrt(config.filters)  # by the orthonormal DCT: the mean of the bands, in dB
    return _with_deltas(cepstra, config), _is_speech(level, config)


def _is_speech(level: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Which frames are near the loudest around them, and not far below the loudest of all: bool `[T]`."""
    from scipy.ndimage import maximum_filter1d

    around = maximum_filter1d(level, 2 * round(AROUND / config.hop) + 1)
    speech: np.ndarray = level >= np.maximum(around, level.max() - config.speech_range) - config.speech_range
    return speech


def _cepstra(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """MFCC `[coefficients, T]`: DCT-II of the log power of mel bands, floored 80 dB below the loudest."""
    librosa = _librosa()
    # recordings have an average only where all are as loud
    loudness = np.max if config.prior_frames else 1.0
    decibels = librosa.power_to_db(_mel_power(samples, config), ref=loudness, top_db=LOUDNESS_RANGE)
    cepstra: np.ndarray = librosa.feature.mfcc(S=decibels, n_mfcc=config.coefficients, dct_type=2, norm="ortho")
    return cepstra


def _mel_power(samples: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Power in mel bands, float32 `[filters, T]`; frame 0 is centred at the first sample, with zeros before it."""
    size, hop = config.transform_samples, config.hop_samples
    emphasised = np.pad(np.asarray(samples, np.float32), size // 2)
    inside = emphasised[size // 2 : size // 2 + len(samples)]
    inside[1:] -= np.float32(config.preemphasis) * samples[:-1]
    mel = _mel_filters(config.rate, size, config.filters, config.low, config.high)
    blocks = []
    for first in range(0, 1 + len(samples) // hop, BLOCK):
        spectra = _librosa().stft(
            emphasised[first * hop : (first + BLOCK - 1) * hop + size],
            n_fft=size,
            win_length=config.window_samples,
            hop_length=hop,
            window=config.window_shape,
            center=False,
        )
        blocks.append(mel @ np.abs(spectra) ** 2)
    return np.concatenate(blocks, axis=1)


@lru_cache(maxsize=8)
def _mel_filters(rate: int, size: int, filters: int, low: float, high: float) -> Any:
    """Slaney's triangles, sparse float32 `[filters, 1 + size / 2]`.

    Sparse is quicker, and its products are the same bits whatever threads a BLAS would have used.
    """
    from scipy.sparse import csr_matrix

    return csr_matrix(_librosa().filters.mel(sr=rate, n_fft=size, n_mels=filters, fmin=low, fmax=high))


def _with_deltas(cepstra: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """`[coefficients, T]` -> `[T, dimension]`; beyond its ends an utterance is taken to stay as it is there."""
    orders = [
        _librosa().feature.delta(cepstra, width=config.delta_width, order=order, mode="nearest")
        for order in range(1, config.deltas + 1)
    ]
    return np.concatenate([cepstra, *orders]).T


def measure(sounds: Iterable[Audio], config: FeatureConfig) -> FeatureConfig:
    """`config` with the average of these recordings: the mean of all frames that count in normalisation, and their
    deviation, each frame taken from the mean of its own recording. Raises what `extract` does, ValueError without a
    recording."""
    count, total, squares = 0, np.zeros(config.dimension), np.zeros(config.dimension)
    for sound in sounds:
        frames, speech = _frames(_checked(sound, config), config)
        counted = frames[speech]
        count += len(counted)
        total += counted.sum(axis=0, dtype=np.float64)
        squares += len(counted) * counted.var(axis=0, dtype=np.float64)
    if not count:
        raise ValueError("no recording to measure")
    mean, deviation = total / count, np.sqrt(squares / count)
    return replace(config, prior_mean=_rounded(mean), prior_deviation=_rounded(deviation))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)


def _normalised(frames: np.ndarray, counted: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """`frames` `[T, dimension]` by mean and deviation of those `counted` (bool `[T]`), of all or around each."""
    width = round(config.normalise_seconds / config.hop) or len(frames)
    if width >= len(frames):
        own = frames[counted]
        mean, deviation = own.mean(axis=0, dtype=np.float64), own.std(axis=0, dtype=np.float64)
        return _standardised(frames, mean, deviation, len(own), config)
    blocks = []
    for first in range(0, len(frames), BLOCK):
        last = min(first + BLOCK, len(frames))
        # each window has its full width, so that those at the ends are not in their middle
        starts = np.clip(np.arange(first, last) - width // 2, 0, len(frames) - width)
        span = slice(starts[0], starts[-1] + width)
        number, mean, deviation = _sliding(frames[span], counted[span], starts - starts[0], width)
        blocks.append(_standardised(frames[first:last], mean, deviation, number, config))
    return np.concatenate(blocks)


def _sliding(
    frames: np.ndarray, counted: np.ndarray, starts: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many frames are counted in each window of `width` frames from `starts` on; their mean and deviation."""
    centre = frames.mean(axis=0, dtype=np.float64)  # squares of what is left of it are small enough to be subtracted
    values = np.where(counted[:, None], frames - centre, 0.0)

    def sums(of: np.ndarray) -> np.ndarray:
        running = np.concatenate([np.zeros_like(of[:1]), np.cumsum(of, axis=0)])
        total: np.ndarray = running[starts + width] - running[starts]
        return total

    number = sums(counted[:, None].astype(np.float64))
    mean = sums(values) / np.maximum(number, 1)
    variance = sums(values**2) / np.maximum(number, 1) - mean**2
    return number, mean + centre, np.sqrt(np.maximum(variance, 0.0))


def _standardised(
    frames: np.ndarray, mean: np.ndarray, deviation: np.ndarray, number: np.ndarray | int, config: FeatureConfig
) -> np.ndarray:
    """`frames` less the mean and over the deviation, where the prior's frames count beside the `number` of these."""
    if config.prior_frames:
        mean, deviation = _with_prior(mean, deviation, number, config)
    standardised: np.ndarray = (frames - mean) / np.where(deviation < SMALLEST_DEVIATION, np.inf, deviation)
    return standardised


def _with_prior(
    mean: np.ndarray, deviation: np.ndarray, number: np.ndarray | int, config: FeatureConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of an utterance's frames and those of the prior together."""
    if not config.prior_mean or not config.prior_deviation:
        raise UsageError("features: prior_frames is set, but average speech was not measured; train the model anew")
    own, prior = number / (number + config.prior_frames), config.prior_frames / (number + config.prior_frames)
    apart = mean - config.prior_mean
    variance = own * deviation**2 + prior * np.square(config.prior_deviation) + own * prior * apart**2
    return mean - prior * apart, np.sqrt(variance)


@cache
def _librosa() -> Any:
    """librosa, and all that we call of it, loaded.

    It compiles a dozen universal functions as it is loaded, none of which cepstra need: 10 s on a first start, 0.2 s
    on any other. They are made when first called instead. And it cannot be loaded where Numba finds no folder for
    compiled functions, as in an image whose user has no home: they go to our cache, or to a folder that is gone when
    the process ends.
    """
    import numba

    settings: Any = numba.config
    module: Any = numba
    with _loading:
        before = settings.CACHE_DIR, module.vectorize, module.guvectorize
        settings.CACHE_DIR = before[0] or _compiled_folder()
        module.vectorize, module.guvectorize = _when_called(module.vectorize), _when_called(module.guvectorize)
        try:
            import librosa

            _ = librosa.stft, librosa.power_to_db, librosa.filters.mel, librosa.feature.mfcc, librosa.feature.delta
        finally:
            settings.CACHE_DIR, module.vectorize, module.guvectorize = before
    return librosa


def _when_called(decorator: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's decorator of this name, but the function it makes is compiled by its first call."""

    def decorate(*args: Any, **options: Any) -> Callable[..., Any]:
        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            compiled = cache(lambda: decorator(*args, **options)(function))

            @wraps(function)
            def call(*values: Any, **keywords: Any) -> Any:
                return compiled()(*values, **keywords)

            return call

        return wrap

    return decorate


def _compiled_folder() -> str:
    folder = cache_folder(f"librosa-{version('librosa')}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        passing = tempfile.mkdtemp(prefix="asr-")
        atexit.register(shutil.rmtree, passing, ignore_errors=True)
        return passing
    return str(folder)
