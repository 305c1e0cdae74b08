"""The functions of `kernels.scalar`, `kernels.cells` and `kernels.mixing`, compiled for the device.

No equation is written again: each function's code is taken as it is, and the names that it calls are bound to
the device's twins. Two primitives have code of their own: a GPU's NaN has all bits set below its sign, and a division
that rounds correctly is a subroutine there.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from kernels import cells, mixing, scalar
from kernels.cuda.device import SIMULATED, device_function, libdevice
from kernels.cuda.memory import reciprocal

_ONE = np.int32(np.float32(1.0).view(np.int32))


def scale_by_low_bits(p, t):
    """`scalar.scale_by_low_bits` by a multiplication: a NaN in p and t stays one, whatever its bits. Added to p's
    exponent, those of a GPU's NaN (0x7fffffff) would make a number of it."""
    power = np.int32((libdevice.float_as_int(t) << np.int32(23)) + _ONE)
    return p * libdevice.int_as_float(power)


def _twin(function: Callable[..., Any], names: dict[str, Any]) -> Any:
    """The same code, with its global names looked up in `names`."""
    return device_function(FunctionType(function.__code__, names, function.__name__))


_SCALAR = dict(vars(scalar))
if not SIMULATED:
    _SCALAR |= {"scale_by_low_bits": device_function(scale_by_low_bits), "reciprocal": reciprocal}
for _name in ("select", "exp2", "sigmoid", "tanh"):
    _SCALAR[_name] = _twin(getattr(scalar, _name), _SCALAR)
EXP2, SIGMOID, TANH = (_SCALAR[_name] for _name in ("exp2", "sigmoid", "tanh"))

_CELLS = dict(vars(cells)) | {name: _SCALAR[name] for name in ("select", "sigmoid", "tanh")}
FORWARD = {name: _twin(cell.forward, _CELLS) for name, cell in cells.CELLS.items()}
BACKWARD = {name: _twin(cell.backward, _CELLS) for name, cell in cells.CELLS.items()}

_MIXING = dict(vars(mixing))
_MIXING["mix"] = _twin(mixing.mix, _MIXING)
stays = _twin(mixing.stays, _MIXING)
