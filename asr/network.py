"""The acoustic network: stacked recurrent layers and a dense output turn frames into log-probabilities.

    frames [T, B, D] -> stack -> [T', B, D stack] -> (recurrent layer -> dropout) x layers -> dense -> [T', B, C]

T' = ceil(T / stack). Training adds the CTC loss at the end and goes the same way back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asr.config import require
from asr.parameters import Parameters
from kernels.cells import CELLS
from kernels.interface import Array, Backend, DenseLayer, RecurrentShape

Target = tuple[np.ndarray, np.ndarray]  # labels int32 [B, S] and their lengths int32 [B]


@dataclass(frozen=True)
class NetworkSettings:
    """What of a network's shape is a choice.

    cell : a name in `kernels.cells.CELLS`
    layers, hidden : recurrent layers, and units of each per direction
    bidirectional : a second direction reads each utterance from its end
    stack : frames put side by side into one step of the network
    dropout : share of each recurrent layer's outputs set to 0 while training (Srivastava et al., 2014)
    recurrent_dropout : share of each layer's recurrent weights set to 0, others in each update (Merity et al., 2018)
    intermediate : weight of a second loss while training, of what a dense layer of its own reads in the outputs of the
        middle layer (intermediate CTC; Lee and Watanabe, ICASSP 2021); 0: none
    intermediate_after : the layer that it reads instead, counted from 1, up to the last; 0: the middle one
    consistency : weight of what draws two hearings of each utterance together while training, each with changes to its
        frames and dropped outputs of its own (consistency-regularised CTC; Yao et al., ICLR 2025): how far apart their
        posteriors are (Kullback-Leibler), at both outputs; 0: an utterance is heard once
    """

    cell: str = "lstm"
    layers: int = 3
    hidden: int = 256
    bidirectional: bool = True
    stack: int = 3
    dropout: float = 0.5
    recurrent_dropout: float = 0.0
    intermediate: float = 0.0
    intermediate_after: int = 0
    consistency: float = 0.0

    def __post_init__(self) -> None:
        require(self.cell in CELLS, f"cell: {self.cell!r} is none of {', '.join(CELLS)}")
        require(self.layers >= 1, f"layers: {self.layers} is below 1")
        require(self.hidden >= 1, f"hidden: {self.hidden} is below 1")
        require(self.stack >= 1, f"stack: {self.stack} is below 1")
        for name in ("dropout", "recurrent_dropout"):
            require(0 <= getattr(self, name) < 1, f"{name}: {getattr(self, name)} is not within [0, 1)")
        require(self.intermediate >= 0, f"intermediate: {self.intermediate} is below 0")
        within = 0 <= self.intermediate_after <= self.layers
        require(within, f"intermediate_after: {self.intermediate_after} is not within 0..{self.layers}")
        require(self.consistency >= 0, f"consistency: {self.consistency} is below 0")
        somewhere = self.layers >= 2 or self.intermediate_after > 0
        require(not self.intermediate or somewhere, "intermediate: a single layer has no middle; leave it 0")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(NetworkSettings):
    """The shape of a network.

    inputs : values per frame
    outputs : characters and the blank
    middle : labels and the blank of the middle layer's dense output; 0: it has none
    """

    inputs: int
    outputs: int
    middle: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.inputs >= 1, f"inputs: {self.inputs} is below 1")
        require(self.outputs >= 2, f"outputs: {self.outputs} is below 2")
        require(self.middle == 0 or self.middle >= 2, f"middle: {self.middle} is neither 0 nor 2 or more")

    @property
    def middle_reads(self) -> int:
        """Which layer's outputs the middle layer's dense output reads, counted from 1."""
        return self.intermediate_after or self.layers // 2

    def recurrent_shapes(self) -> list[RecurrentShape]:
        """The recurrent layers, from the frames up."""
        shapes: list[RecurrentShape] = []
        inputs = self.inputs * self.stack
        for _ in range(self.layers):
            shapes.append(RecurrentShape(self.cell, inputs, self.hidden, self.bidirectional))
            inputs = shapes[-1].outputs
        return shapes


class Network:
    """A network's parameters on a backend.

    `parameters`, `gradient` and `velocity` are flat vectors of one layout, on the backend's device. After
    changing `parameters` by other means than `step`, call `pack`.
    """

    def __init__(self, config: NetworkConfig, parameters: Parameters, backend: Backend):
        if parameters.layout != self.layout(config):
            raise ValueError("these parameters belong to a network of another shape")
        self.config = config
        self.backend = backend
        self.parameters = self._resident(parameters)
        self._layers = [backend.recurrent(shape) for shape in config.recurrent_shapes()]
        self._dense = backend.dense(self._layers[-1].shape.outputs, config.outputs)
        self._middle = backend.dense(self._layers[-1].shape.outputs, config.middle) if config.middle else None
        self._ctc = backend.ctc()
        self._arrays: dict[str, Array] = {}
        self.pack()

    @cached_property
    def gradient(self) -> Parameters:
        return self._resident(self.parameters.like())

    @cached_property
    def velocity(self) -> Parameters:
        return self._resident(self.parameters.like())

    @cached_property
    def _thin(self) -> Parameters:
        """Room for the recurrent weights with some dropped."""
        names = [name for name in self.parameters if name.endswith("weight_hh")]
        return self._resident(Parameters({name: self.parameters.layout[name] for name in names}))

    @staticmethod
    def layout(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight: `layer0.forward.weight_ih` ... `output.weight`, `output.bias`, and those of
        the middle layer's output, `middle.weight`, `middle.bias`."""
        layout: dict[str, tuple[int, ...]] = {}
        shapes = config.recurrent_shapes()
        for index, shape in enumerate(shapes):
            layout |= {f"layer{index}.{name}": size for name, size in shape.parameter_shapes().items()}
        for name, outputs in (("output", config.outputs), ("middle", config.middle)):
            if outputs:
                layout |= {f"{name}.weight": (outputs, shapes[-1].outputs), f"{name}.bias": (outputs,)}
        return layout

    @classmethod
    def initial(cls, config: NetworkConfig, rng: np.random.Generator) -> Parameters:
        """Weights to start training from.

        Input and output weights Xavier-uniform for each gate (Glorot and Bengio, AISTATS 2010), recurrent weights
        orthogonal for each gate (Saxe et al., ICLR 2014), biases 0, but 1 for the LSTM's forget gate.
        """
        parameters = Parameters(cls.layout(config))
        forget = CELLS[config.cell].forget_gate
        H = config.hidden
        for name, weight in parameters.items():
            if name.endswith("weight_hh"):
                for gate in weight.reshape(-1, H, H):
                    gate[:] = _orthogonal(H, rng)
            elif name.endswith("weight_ih"):
                for gate in weight.reshape(-1, H, weight.shape[1]):
                    gate[:] = _xavier(gate.shape, rng)
            elif name in ("output.weight", "middle.weight"):
                weight[:] = _xavier(weight.shape, rng)
            elif name.endswith("bias_ih") and forget is not None:
                weight[forget * H : (forget + 1) * H] = 1.0
        return parameters

    def restore(self, weights: np.ndarray, velocity: np.ndarray) -> None:
        """Go on from these flat float32 vectors of the host, which from now on belong to the network."""
        self.parameters = self._resident(Parameters(self.parameters.layout, weights))
        self.velocity = self._resident(Parameters(self.parameters.layout, velocity))
        self.pack()

    def weights(self) -> np.ndarray:
        """The flat vector of all weights on the host: on the CPU the very same, elsewhere a copy."""
        return self.backend.to_host(self.parameters.vector)

    def pack(self) -> None:
        """Hand the weights to the backend."""
        for index, layer in enumerate(self._layers):
            layer.pack(self.parameters.under(f"layer{index}"))
        self._dense.pack(self.parameters["output.weight"], self.parameters["output.bias"])
        if self._middle:
            self._middle.pack(self.parameters["middle.weight"], self.parameters["middle.bias"])

    @contextmanager
    def _thinned(self, seed: int) -> Iterator[None]:
        """Within, the backend has the recurrent weights with some dropped; behind it, `gradient` has theirs dropped."""
        rate = self.config.recurrent_dropout
        if not rate:
            yield
            return
        thin = self._thin
        for number, name in enumerate(thin):
            self.backend.dropout(self.parameters[name], thin[name], rate, _weight_seed(seed, number))
        for index, layer in enumerate(self._layers):
            layer.pack(self.parameters.under(f"layer{index}") | thin.under(f"layer{index}"))
        try:
            yield
            for number, name in enumerate(thin):
                self.backend.dropout(self.gradient[name], self.gradient[name], rate, _weight_seed(seed, number))
        finally:
            self.pack()

    def steps(self, lengths: np.ndarray) -> np.ndarray:
        """Network steps for so many frames: ceil(lengths / stack), int32."""
        return (-(-lengths // self.config.stack)).astype(np.int32)

    def log_probs(self, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Natural log-probabilities, float32 `[T', B, C]`, a new array.

        Parameters
        ----------
        frames : float32 [T, B, D]; what stands beyond a length is not read
        lengths : int32 [B], frames of each utterance, longest first, each at least 1

        Values beyond an utterance's `steps` mean nothing.
        """
        log_probs = self.backend.empty((-(-frames.shape[0] // self.config.stack), len(lengths), self.config.outputs))
        self._infer(frames, lengths, log_probs)
        return self.backend.to_host(log_probs)

    def best(self, frames: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest label of each step, int32 `[T', B]`, and its log-probability, float32 `[T', B]`.

        Arguments as in `log_probs`, of which this is the maximum and its place; no more of it leaves the device.
        """
        return self.backend.best(self._posteriors(frames, lengths))

    def losses(
        self, frames: np.ndarray, lengths: np.ndarray, labels: np.ndarray, label_lengths: np.ndarray
    ) -> np.ndarray:
        """CTC loss of each utterance, float64 `[B]`, without dropout; arguments as in `loss_and_gradient`."""
        return self._ctc(self._posteriors(frames, lengths), self.steps(lengths), labels, label_lengths, None)

    def losses_and_best(
        self, frames: np.ndarray, lengths: np.ndarray, labels: np.ndarray, label_lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `losses` and `best` give, from one way through the network."""
        log_probs = self._posteriors(frames, lengths)
        losses = self._ctc(log_probs, self.steps(lengths), labels, label_lengths, None)
        return losses, *self.backend.best(log_probs)

    def loss_and_gradient(
        self,
        frames: np.ndarray,
        lengths: np.ndarray,
        labels: np.ndarray,
        label_lengths: np.ndarray,
        seed: int,
        middle: Target | None = None,
    ) -> np.ndarray:
        """CTC loss of each utterance, float64 `[B]`; the gradient of their sum is left in `gradient`.

        Parameters
        ----------
        frames, lengths : as in `log_probs`; with `config.consistency` columns 2i and 2i + 1 are two hearings of one
            utterance, else ValueError
        labels, label_lengths : int32 [B, S] and [B]; labels from 1 to C - 1
        seed : decides what dropout drops
        middle : labels, from 1 to `config.middle` - 1, and label lengths for the middle layer; None: the same. Its loss
            is in the gradient, `config.intermediate` times, but not in what is returned

        An utterance whose labels do not fit its length has loss infinity and adds nothing to the gradient but what
        draws its hearings together.
        """
        with self._thinned(seed):
            return self._loss_and_gradient(frames, lengths, (labels, label_lengths), middle, seed)

    def _loss_and_gradient(
        self, frames: np.ndarray, lengths: np.ndarray, target: Target, middle: Target | None, seed: int
    ) -> np.ndarray:
        x, steps = self._stack(frames, lengths)
        inputs, outputs = [x], []
        for index, layer in enumerate(self._layers):
            size = (*x.shape[:2], layer.shape.outputs)
            out = self._array(f"out{index}", size)
            layer.forward(x, steps, out)
            x = out
            if self.config.dropout:
                x = self._array(f"dropped{index}", size)
                self.backend.dropout(out, x, self.config.dropout, _layer_seed(seed, index))
            inputs.append(x)
            outputs.append(out)
        d_out = self._array(f"d_out{len(outputs) % 2}", x.shape)  # two arrays, taken in turn
        losses = self._read_off("output", self._dense, x, steps, target, d_out)
        for index in range(len(outputs) - 1, -1, -1):
            if self._middle and index + 1 == self.config.middle_reads:
                self._add_intermediate(self._middle, inputs[index + 1], steps, middle or target, d_out)
            if self.config.dropout:
                self.backend.dropout(d_out, d_out, self.config.dropout, _layer_seed(seed, index))
            d_x = self._array(f"d_out{index % 2}", inputs[index].shape) if index else None
            gradients = self.gradient.under(f"layer{index}")
            self._layers[index].backward(inputs[index], steps, outputs[index], d_out, gradients, d_x)
            d_out = d_x
        return losses

    def _read_off(self, name: str, dense: DenseLayer, x: Array, steps: Array, target: Target, d_x: Array) -> np.ndarray:
        """The losses of what a dense layer reads in `x`; their derivatives go to its gradient and to `d_x`."""
        weight, bias = self.gradient[f"{name}.weight"], self.gradient[f"{name}.bias"]
        logits = self._array("logits", (*x.shape[:2], *bias.shape))
        dense.forward(x, logits)
        dlogits = self._array("dlogits", logits.shape)
        losses = self._ctc(logits, steps, *target, dlogits)
        if self.config.consistency:
            self.backend.agree(logits, steps, self.config.consistency, dlogits)
        dense.backward(x, dlogits, weight, bias, d_x)
        return losses

    def _add_intermediate(self, dense: DenseLayer, x: Array, steps: Array, target: Target, d_x: Array) -> None:
        """The gradient of the middle layer's loss, by its weight; to `d_x`, of its outputs `x`, it is added."""
        share, d_middle = self.config.intermediate, self._array("d_middle", x.shape)
        self._read_off("middle", dense, x, steps, target, d_middle)
        self.backend.axpy(share, d_middle, d_x)
        for gradient in self.gradient.under("middle").values():
            self.backend.axpy(share - 1, gradient, gradient)

    def _posteriors(self, frames: np.ndarray, lengths: np.ndarray) -> Array:
        """Log-probabilities `[T', B, C]` in a work array on the device."""
        T = -(-frames.shape[0] // self.config.stack)
        log_probs = self._array("posteriors", (T, len(lengths), self.config.outputs))
        self._infer(frames, lengths, log_probs)
        return log_probs

    def _infer(self, frames: np.ndarray, lengths: np.ndarray, log_probs: Array) -> None:
        """Frames to log-probabilities on the device, without dropout."""
        x, steps = self._stack(frames, lengths)
        for index, layer in enumerate(self._layers):
            # two arrays are enough, taken in turn: nothing is kept for a way back
            out = self._array(f"infer{index % 2}", (*x.shape[:2], layer.shape.outputs))
            layer.infer(x, steps, out)
            x = out
        self._dense.forward(x, log_probs)
        self.backend.log_softmax(log_probs, log_probs)

    def norm(self) -> float:
        """The Euclidean norm of `gradient`."""
        return self.backend.norm(self.gradient.vector)

    def step(self, rate: float, momentum: float, scale: float, weight_decay: float = 0.0) -> None:
        """One step of SGD with Nesterov momentum, with `scale` times the gradient."""
        self.backend.sgd_step(
            self.parameters.vector, self.gradient.vector, self.velocity.vector, rate, momentum, scale, weight_decay
        )
        self.pack()

    def _resident(self, parameters: Parameters) -> Parameters:
        """The parameters where the backend computes: on the CPU the same object."""
        vector = self.backend.resident(parameters.vector)
        return parameters if vector is parameters.vector else Parameters(parameters.layout, vector)

    def _stack(self, frames: np.ndarray, lengths: np.ndarray) -> tuple[Array, Array]:
        """The first layer's input on the device, and its lengths in steps."""
        steps = self.steps(lengths)
        T, B, D = frames.shape
        x = self.backend.to_device(frames)
        if self.config.stack == 1:
            return x, steps
        out = self._array("stacked", (-(-T // self.config.stack), B, D * self.config.stack))
        self.backend.stack_frames(x, lengths, self.config.stack, out)
        return out, steps

    def _array(self, name: str, shape: tuple[int, ...]) -> Array:
        """A work array of this name, made anew only when it must grow, after the smaller one was given back."""
        size = int(np.prod(shape))
        if name not in self._arrays or self._arrays[name].shape[0] < size:
            self._arrays.pop(name, None)
            self._arrays[name] = self.backend.empty((size,))
        return self._arrays[name][:size].reshape(shape)


def _layer_seed(seed: int, layer: int) -> int:
    return seed * 1024 + layer


def _weight_seed(seed: int, number: int) -> int:
    return seed * 1024 + 512 + number


def _xavier(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    limit = np.sqrt(6.0 / sum(shape))
    return rng.uniform(-limit, limit, shape).astype(np.float32)


def _orthogonal(size: int, rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return (q * np.sign(np.diag(r))).astype(np.float32)  # the signs make the distribution uniform
