"""Arrays and texts in one `.safetensors` file, by safetensors (imported nowhere else): no code in it, whole or refused.

Its metadata are the texts, among them `format`, which tells our kinds of files from each other and from everybody
else's, and `checksum`, a CRC-32 of texts and values. Names, types and shapes are for the reader to check.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from asr.errors import ModelError
from asr.files import write_atomically

Tensors = Mapping[str, np.ndarray]
Texts = Mapping[str, str]


def write(path: Path, kind: str, tensors: Tensors, texts: Texts) -> None:
    """Replace the file at `path`, whole or not at all; the same content makes the same bytes. OSError if it cannot be.

    kind : the `format`
    tensors : C-contiguous arrays
    """
    from safetensors.numpy import save

    texts = {"format": kind, **texts}
    texts["checksum"] = _checksum(tensors, texts)
    write_atomically(path, _sorted(save(dict(tensors), texts)))


def read(path: Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and texts. ModelError when the file cannot be read, is of another `kind`, or is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb"):  # its errors say more than safetensors' do
            pass
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            found = texts.get("format", "unknown")
            if found != kind:  # before its tensors, which may be anybody's, and large
                raise ModelError(f"{path}: not a file of format {kind}, but {found}; name another file")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    except (SafetensorError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: not a readable safetensors file ({error}); it is damaged or of another kind"
        ) from error
    if texts.pop("checksum", None) != _checksum(tensors, texts):
        raise ModelError(f"{path}: damaged: its checksum is wrong; get the file again")
    return tensors, texts


def _sorted(content: bytes) -> bytes:
    """The file with its texts in the alphabet's order; safetensors writes them in a new order each time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def _checksum(tensors: Tensors, texts: Texts) -> str:
    checksum = zlib.crc32(repr(sorted(texts.items())).encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(tensors[name].data, checksum)
    return f"{checksum:08x}"
