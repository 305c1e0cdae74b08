"""Speech recognition you can own: train it on your recordings, read all of it, run it fast.

    recognizer = asr.load("en")
    print(recognizer.transcribe("speech.wav").text)

Everything heavy is imported on first use, so `import asr` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.corpora import open_corpus, split_by_speaker
    from asr.errors import AsrError
    from asr.evaluation import evaluate
    from asr.model import Model
    from asr.recognizer import Recognizer, load
    from asr.training import load_config, train
    from asr.transcript import Transcript

__version__ = "0.1.0"


def _check_kernels() -> None:
    """Explain another package's module `kernels`, which may even fail as it is imported."""
    place, cause = None, None
    try:
        import kernels

        place = kernels.__file__
        if getattr(kernels, "PROJECT", None) == "asr-from-sound":
            return
    except ImportError as error:
        cause = error
    raise ImportError(
        f"the module `kernels` found ({place or cause}) is another package's, not the one that comes with asr: "
        "install asr in a virtual environment of its own, without the package named `kernels`"
    ) from cause


_check_kernels()

_HOMES = {
    "AsrError": "asr.errors",
    "Model": "asr.model",
    "Recognizer": "asr.recognizer",
    "Transcript": "asr.transcript",
    "evaluate": "asr.evaluation",
    "load": "asr.recognizer",
    "load_config": "asr.training",
    "open_corpus": "asr.corpora",
    "split_by_speaker": "asr.corpora",
    "train": "asr.training",
}

__all__ = [
    "AsrError",
    "Model",
    "Recognizer",
    "Transcript",
    "__version__",
    "evaluate",
    "load",
    "load_config",
    "open_corpus",
    "split_by_speaker",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'asr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
