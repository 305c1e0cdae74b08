"""The code for the vectors of other processors, run on this one: 4 lanes (SSE, NEON), 8 (AVX), 16 (AVX-512)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.cpu.target import LANES

HERE = Path(__file__).parent
# cells of four columns and of one; CTC, dense layers and softmax of all sizes
CASES = (
    "(test_recurrent and equals_the_reference and bidirectional and (gru or rnn_tanh)) or test_ctc or dense or softmax"
)
FILES = "test_recurrent.py", "test_ctc.py", "test_elementwise.py"


@pytest.mark.parametrize("lanes", [lanes for lanes in (4, 8, 16) if lanes != LANES])
def test_other_widths_equal_the_reference(lanes: int) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", CASES, *FILES]
    environment = os.environ | {"ASR_VECTOR_LANES": str(lanes), "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE)
    assert done.returncode == 0, done.stdout[-3000:]
