"""The quick CTC against the float64 reference over drawn cases of the kinds that break linear-space arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import SIMULATED, fresh

from kernels import open_backend
from kernels.interface import Backend

KINDS = ("plain", "blank-dominated", "sharp", "repeated", "barely enough", "confident", "faint")


def draw(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """logits [T, B, C], lengths, labels, label_lengths of a small batch of one kind."""
    B, C = int(rng.integers(1, 5)), int(rng.integers(2, 40))
    S = int(rng.integers(1, 25))
    labels = rng.integers(1, C, (B, S)).astype(np.int32)
    if kind == "repeated":
        labels = np.repeat(labels[:, : (S + 2) // 3], 3, axis=1)[:, :S]
    label_lengths = rng.integers(0, S + 1, B).astype(np.int32)
    needed = [
        int(n + (row[1:n] == row[: n - 1]).sum() if n > 1 else n) for row, n in zip(labels, label_lengths, strict=True)
    ]
    spare = 0 if kind == "barely enough" else int(rng.integers(0, 60))
    lengths = np.maximum(1, np.array(needed) + spare).astype(np.int32)
    order = np.argsort(-lengths, kind="stable")
    lengths, labels, label_lengths = lengths[order], np.ascontiguousarray(labels[order]), label_lengths[order]
    T = int(lengths[0])
    logits = rng.standard_normal((T, B, C)).astype(np.float32)
    if kind == "blank-dominated":
        logits[:, :, 0] += 15
    elif kind == "sharp":
        logits *= 100
    elif kind == "faint":
        logits[:, :, 1:] -= 90  # labels below float32's smallest probability: only log space can tell them
    elif kind == "confident":
        for b in range(B):  # a path through the labels stands out
            for t in range(T):
                s = t * int(label_lengths[b]) // T
                logits[t, b, labels[b, s] if label_lengths[b] and t % 2 else 0] += 30
    return logits, lengths, labels, label_lengths


def agrees(case: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], fast: Backend) -> None:
    logits = case[0]
    gradient, expected_gradient = fresh(fast, logits.shape), np.empty(logits.shape)
    losses = fast.ctc()(fast.to_device(logits), *case[1:], gradient)
    expected = open_backend("reference").ctc()(logits.astype(np.float64), *case[1:], expected_gradient)
    np.testing.assert_allclose(losses, expected, rtol=2e-6, atol=2e-5)
    np.testing.assert_allclose(fast.to_host(gradient), expected_gradient, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_cases(fast: Backend, kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(1 if SIMULATED else 30):
        agrees(draw(kind, rng), fast)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_drawn_cases(kind: str) -> None:
    fast = open_backend("cpu", threads=2)
    rng = np.random.default_rng(100 + KINDS.index(kind))
    for _ in range(700):
        agrees(draw(kind, rng), fast)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_very_long_utterance(scale: float) -> None:
    """5000 frames and 1000 labels."""
    rng = np.random.default_rng(5)
    T, S, C = 5000, 1000, 30
    logits = (rng.standard_normal((T, 1, C)) * scale).astype(np.float32)
    labels = rng.integers(1, C, (1, S)).astype(np.int32)
    case = logits, np.array([T], np.int32), labels, np.array([S], np.int32)
    agrees(case, open_backend("cpu", threads=1))


def test_ordinary_cases_need_no_log_space() -> None:
    ctc = open_backend("cpu", threads=1).ctc()
    rng = np.random.default_rng(6)
    for kind in ("plain", "blank-dominated", "repeated", "barely enough"):
        for _ in range(30):
            logits, *rest = draw(kind, rng)
            ctc(logits, *rest, np.empty_like(logits))
    assert ctc.log_space == 0
