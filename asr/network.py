"""The acoustic network: stacked bidirectional recurrent layers and a dense output, frames -> log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError
from asr.parameters import Parameters
from kernels.cells import CELLS
from kernels.interface import Backend, RecurrentShape
