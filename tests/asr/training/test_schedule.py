"""The learning rate over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.training.config import ScheduleConfig
from asr.training.schedule import rate

PER_EPOCH = 54
RECIPE = ScheduleConfig(epochs=40, warmup=2, hold=0.4, final=0.01)


def at(epoch: float) -> float:
    """The rate of the last update before the end of so many epochs."""
    return rate(round(epoch * PER_EPOCH) - 1, PER_EPOCH, 0.4, RECIPE)


def test_the_recipe() -> None:
    assert at(1) == pytest.approx(0.2)
    assert at(1 / PER_EPOCH) == pytest.approx(0.4 / (2 * PER_EPOCH))
    assert [at(epoch) for epoch in (2, 10, 16)] == [0.4, 0.4, 0.4]
    assert at(28) == pytest.approx(0.202)  # half way down
    assert at(40) == pytest.approx(0.004)


@given(
    epochs=st.integers(1, 50),
    per_epoch=st.integers(1, 30),
    warmup=st.floats(0, 60),
    hold=st.floats(0, 1),
    final=st.floats(0.001, 1),
)
def test_it_rises_then_falls_within_bounds(
    epochs: int, per_epoch: int, warmup: float, hold: float, final: float
) -> None:
    config = ScheduleConfig(epochs, warmup, hold, final)
    rates = [rate(update, per_epoch, 0.5, config) for update in range(epochs * per_epoch)]
    top = rates.index(max(rates))
    assert all(0 < value <= 0.5 for value in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_other_lengths_keep_the_shape() -> None:
    half = ScheduleConfig(epochs=20, warmup=1, hold=0.4, final=0.01)
    whole = [rate(update, 10, 1.0, RECIPE) for update in range(400)]
    assert [rate(update, 10, 1.0, half) for update in range(200)] == pytest.approx(whole[1::2])
