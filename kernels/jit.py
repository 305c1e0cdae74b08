"""How kernels are compiled."""

from __future__ import annotations

from numba.extending import register_jitable

device_function = register_jitable
