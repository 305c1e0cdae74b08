"""The meeting of blocks, on hardware: what one wrote before it, all others see after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

THREADS = 64


@pytest.fixture
def rounds(repeats: int) -> int:
    return 1000 if repeats >= 100 else 20


@pytest.fixture
def blocks(gpu: Any) -> int:
    """As many as the device certainly holds at once."""
    return min(int(gpu.device.limits.multiprocessors), 64)


def test_what_was_written_before_a_meeting_is_seen_after_it(gpu: Any, rounds: int, blocks: int) -> None:
    """In each round each block adds up what all wrote in the round before, and writes that and its number."""
    from meetings import SIGNATURE, relay

    device = gpu.device
    assert device.prepare(relay, SIGNATURE, THREADS, 0, cooperative=True) >= blocks
    exchange = device.upload(np.zeros((2 * blocks * THREADS,), np.int32))
    counters, wrong = (device.upload(np.zeros(1, np.int32)) for _ in range(2))
    device.launch(relay, blocks, THREADS, exchange, counters, wrong, rounds)
    assert device.download(wrong)[0] == 0
    assert device.download(counters)[0] == blocks * rounds
    last = device.download(exchange).reshape(2, blocks, THREADS)[rounds % 2]
    assert (last == np.arange(blocks)[:, None] + rounds).all()
