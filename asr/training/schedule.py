"""The learning rate of each update, as a pure function."""

from __future__ import annotations

import math

from asr.training.config import ScheduleConfig


def rate(update: int, per_epoch: int, peak: float, config: ScheduleConfig) -> float:
    """The rate of update 0, 1, ...: a linear rise, `peak` held, half a cosine that ends at `final * peak`."""
    total = config.epochs * per_epoch
    warmup = min(config.warmup * per_epoch, total)
    hold = max(config.hold * total, warmup)
    done = update + 1
    if done < warmup:
        return peak * done / warmup
    if done <= hold:
        return peak
    progress = min((done - hold) / (total - hold), 1.0)
    return peak * (config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2)
