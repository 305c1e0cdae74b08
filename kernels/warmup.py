"""Every kernel run once on small arrays, so that it is compiled, and kept, before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from kernels.beam import empty_grammar, open_beam_search
from kernels.cells import CELLS
from kernels.interface import Backend, RecurrentShape
from kernels.jit import cache_folder, compilations

__all__ = ["Report", "cache_folder", "compilations", "warm_up"]

Report = Callable[[str, int, int], None]
Operation = Callable[[], object]
Use = Callable[[Backend, RecurrentShape, list[int]], None]

T, D, H, C = 5, 3, 4, 6  # steps, inputs, hidden units, classes
BATCHES = ([5], [5, 3, 2])  # lengths: one utterance, and several that end one after the other


def warm_up(backend: Backend, cells: Sequence[str], report: Report) -> None:
    """Use every operation of a backend once, so that afterwards no training or transcription compiles anything.

    Parameters
    ----------
    cells : names in `kernels.cells.CELLS`; the kernels of other cells are left out
    report : told the name of each operation before it runs, its number from 1 on, and how many there are

    Raises ValueError for an unknown cell.
    """
    unknown = [cell for cell in cells if cell not in CELLS]
    if unknown:
        raise ValueError(f"unknown cell {unknown[0]!r}; choose from {', '.join(CELLS)}")
    operations = [*_elementwise(backend), *_output(backend), ("beam search", use_beam_search)]
    for cell in cells:
        operations += _recurrent(backend, cell)
    for number, (name, run) in enumerate(operations, 1):
        report(name, number, len(operations))
        run()


def _elementwise(backend: Backend) -> Iterator[tuple[str, Operation]]:
    x = backend.zeros((T, 2, D))
    lengths = np.array([T, T - 2], np.int32)
    weights, gradient, velocity = (backend.zeros((T * D,)) for _ in range(3))
    yield "stack frames", partial(backend.stack_frames, x, lengths, 2, backend.empty((-(-T // 2), 2, 2 * D)))
    yield "log-softmax", partial(backend.log_softmax, x, backend.empty((T, 2, D)))
    yield "agreement of pairs", partial(backend.agree, x, np.array([T, T], np.int32), 0.2, backend.zeros((T, 2, D)))
    yield "likeliest classes", partial(backend.best, x)
    yield "dropout", partial(backend.dropout, x, x, 0.5, 1)
    yield "axpy", partial(backend.axpy, 0.5, weights, gradient)
    yield "norm", partial(backend.norm, weights)
    yield "SGD step", partial(backend.sgd_step, weights, gradient, velocity, 0.1, 0.9, 1.0)


def _output(backend: Backend) -> Iterator[tuple[str, Operation]]:
    yield "dense layer", partial(_dense, backend)
    yield "CTC loss", partial(_ctc, backend, 1.0, True)
    yield "CTC loss alone", partial(_ctc, backend, 1.0, False)
    yield "CTC loss of sharp posteriors", partial(_ctc, backend, 1e4, True)  # beyond what linear space can hold


def _dense(backend: Backend) -> None:
    layer = backend.dense(D, C)
    layer.pack(backend.zeros((C, D)), backend.zeros((C,)))
    x, out = backend.zeros((T, 2, D)), backend.zeros((T, 2, C))
    layer.forward(x, out)
    weight, bias = backend.empty((C, D)), backend.empty((C,))
    for x_gradient in (None, backend.empty(x.shape)):
        layer.backward(x, out, weight, bias, x_gradient)


def _ctc(backend: Backend, sharpness: float, with_gradient: bool) -> None:
    host = np.zeros((T, 2, C), np.float32)
    host[:, :, 0] = sharpness
    labels, lengths, label_lengths = np.ones((2, 2), np.int32), np.array([T, 3], np.int32), np.array([2, 1], np.int32)
    gradient = backend.empty(host.shape) if with_gradient else None
    backend.ctc()(backend.to_device(host), lengths, labels, label_lengths, gradient)


def use_beam_search() -> None:
    """On the CPU, whatever the backend is; with so little room that it is used up."""
    log_probs = np.full((40, C), -8.0, np.float32)
    log_probs[np.arange(40), np.arange(40) % C] = -0.1
    open_beam_search(threads=1, room=1)([log_probs], 2, -9.0, 1, empty_grammar(C))


def _recurrent(backend: Backend, cell: str) -> Iterator[tuple[str, Operation]]:
    """Both shapes of layer, since a backend may treat a single direction or a single utterance in its own way."""
    shapes = [RecurrentShape(cell, D, H, bidirectional) for bidirectional in (True, False)]
    yield f"{cell} inference", partial(_each, _infer, backend, shapes)
    yield f"{cell} training", partial(_each, _train, backend, shapes)


def _each(use: Use, backend: Backend, shapes: list[RecurrentShape]) -> None:
    for shape in shapes:
        for lengths in BATCHES:
            use(backend, shape, lengths)


def _infer(backend: Backend, shape: RecurrentShape, lengths: list[int]) -> None:
    layer = backend.recurrent(shape)
    layer.pack({name: backend.zeros(size) for name, size in shape.parameter_shapes().items()})
    x, out = backend.zeros((T, len(lengths), D)), backend.empty((T, len(lengths), shape.outputs))
    layer.infer(x, np.array(lengths, np.int32), out)


def _train(backend: Backend, shape: RecurrentShape, lengths: list[int]) -> None:
    layer = backend.recurrent(shape)
    weights = {name: backend.zeros(size) for name, size in shape.parameter_shapes().items()}
    gradients = {name: backend.empty(size) for name, size in shape.parameter_shapes().items()}
    steps = np.array(lengths, np.int32)
    x, out = backend.zeros((T, len(lengths), D)), backend.empty((T, len(lengths), shape.outputs))
    layer.pack(weights)
    layer.forward(x, steps, out)
    for x_gradient in (None, backend.empty(x.shape)):
        layer.backward(x, steps, out, backend.zeros(out.shape), gradients, x_gradient)
