"""Our side of each task."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from asr.audio import Audio, read
from asr.errors import AsrError
from asr.features import FeatureConfig, extract
from asr.network import Network, NetworkConfig
from asr.parameters import Parameters
from asr.transcript import Transcript
from benchmarks.jobs import (
    CHECKED_STEPS,
    CLIP,
    FEATURE_PARTS,
    MOMENTUM,
    NARROW_INPUT,
    RATE,
    Job,
    Timer,
    figures,
    layer_data,
    load_batches,
    load_network,
    load_sounds,
    loss_data,
    spread,
    within,
)
from kernels import open_backend
from kernels.cells import CELLS
from kernels.interface import Backend


def layer_flops(cell: str, rows: int, D: int, H: int, train: bool, input_gradient: bool = False) -> float:
    """Of a bidirectional layer's matrix products: a multiply and an add for each weight, row and pass."""
    weights = 2 * CELLS[cell].gates * H
    forward = 2.0 * rows * weights * (D + H)
    if not train:
        return forward
    backward = 2.0 * rows * weights * (H + (D if input_gradient else 0))
    return 2 * forward + backward  # the weights' gradient has as many as the way forward


def network_flops(config: NetworkConfig, rows: int, train: bool) -> float:
    """Of a network over so many steps."""
    shapes = config.recurrent_shapes()
    recurrent = sum(
        layer_flops(config.cell, rows, shape.inputs, shape.hidden, train, input_gradient=index > 0)
        for index, shape in enumerate(shapes)
    )
    return recurrent + 2.0 * rows * shapes[-1].outputs * config.outputs * (3 if train else 1)


def open_device(device: str, threads: int, tf32: bool) -> tuple[Backend, Timer | None]:
    """A backend, and its own clock where it has one. `tf32` lets large products round their operands to TF32."""
    os.environ["ASR_CUDA_TF32"] = "1" if tf32 else "0"
    backend: Any = open_backend(device, threads)
    return backend, None if device == "cpu" else backend.device.milliseconds


def train_layer(threads: int, cell: str, sizes: list[int], device: str = "cpu", tf32: bool = False) -> Job:
    """Packing the weights, forward, backward through time: what a layer costs in a training step."""
    data = layer_data(cell, sizes)
    backend, timed = open_device(device, threads, tf32)
    layer = backend.recurrent(data.shape)
    weights = {name: backend.to_device(weight) for name, weight in data.weights.items()}
    x, out_gradient = backend.to_device(data.x), backend.to_device(data.out_gradient)
    lengths = np.full(sizes[1], sizes[0], np.int32)
    out = backend.empty(data.out_gradient.shape)
    gradients = {name: backend.empty(weight.shape) for name, weight in data.weights.items()}
    dx = backend.empty(data.x.shape) if sizes[2] > NARROW_INPUT else None

    def run(part: int) -> None:
        layer.pack(weights)
        layer.forward(x, lengths, out)
        layer.backward(x, lengths, out, out_gradient, gradients, dx)

    run(0)
    checked = [out, gradients["forward.weight_hh"], gradients["backward.weight_ih"], *([] if dx is None else [dx])]
    T, B, D, H = sizes
    flops = layer_flops(cell, T * B, D, H, train=True, input_gradient=dx is not None)
    return Job(run, figures(*map(backend.to_host, checked)), flops=[flops], timed=timed)


def infer_layer(threads: int, cell: str, sizes: list[int], device: str = "cpu", tf32: bool = False) -> Job:
    data = layer_data(cell, sizes)
    backend, timed = open_device(device, threads, tf32)
    layer = backend.recurrent(data.shape)
    layer.pack({name: backend.to_device(weight) for name, weight in data.weights.items()})
    x = backend.to_device(data.x)
    lengths = np.full(sizes[1], sizes[0], np.int32)
    out = backend.empty(data.out_gradient.shape)

    def run(part: int) -> None:
        layer.infer(x, lengths, out)

    run(0)
    flops = layer_flops(cell, sizes[0] * sizes[1], sizes[2], sizes[3], train=False)
    return Job(run, figures(backend.to_host(out)), flops=[flops], timed=timed)


def bare_tile(threads: int) -> Job:
    from kernels.cpu.peak import BareTile

    tile = BareTile()
    tile.run()
    return Job(lambda part: tile.run(), flops=[tile.flops])


def ctc(threads: int, sizes: list[int], device: str = "cpu", tf32: bool = False) -> Job:
    """Log-softmax, loss and gradient by the logits."""
    data = loss_data(sizes)
    T, B, _, S = sizes
    backend, timed = open_device(device, threads, tf32)
    loss = backend.ctc()
    lengths, label_lengths = np.full(B, T, np.int32), np.full(B, S, np.int32)
    logits, gradient = backend.to_device(data.logits), backend.empty(data.logits.shape)

    def run(part: int) -> np.ndarray:
        return loss(logits, lengths, data.labels, label_lengths, gradient)

    return Job(run, figures(run(0), backend.to_host(gradient)), timed=timed)


def train_network(threads: int, folder: str, packed: bool, device: str = "cpu", tf32: bool = False) -> Job:
    """One update for each batch: forward, CTC, backward through time, clipping, Nesterov's step."""
    batches = load_batches(folder)
    backend, timed = open_device(device, threads, tf32)
    network = _network(folder, backend)

    def run(part: int) -> float:
        batch = batches[part]
        losses = network.loss_and_gradient(
            batch["frames"], batch["lengths"], batch["labels"], batch["label_lengths"], seed=1
        )
        scale = 1 / int(batch["label_lengths"].sum())
        norm = network.norm() * scale
        network.step(RATE, MOMENTUM, scale * min(1.0, CLIP / norm))
        return float(losses.sum()) * scale

    losses = [run(step % len(batches)) for step in range(CHECKED_STEPS)]
    flops = [network_flops(network.config, int(network.steps(batch["lengths"]).sum()), train=True) for batch in batches]
    return Job(run, losses[-1:] if packed else (), len(batches), flops, timed=timed)


def infer_network(threads: int, folder: str) -> Job:
    batches = load_batches(folder)
    network = _network(folder, open_backend("cpu", threads))

    def run(part: int) -> np.ndarray:
        return network.log_probs(batches[part]["frames"], batches[part]["lengths"])

    steps = [network.steps(batch["lengths"]) for batch in batches]
    flops = [network_flops(network.config, int(rows.sum()), train=False) for rows in steps]
    return Job(run, figures(within(run(0), steps[0])), len(batches), flops)


def _network(folder: str, backend: Backend) -> Network:
    config, weights = load_network(folder)
    parameters = Parameters(Network.layout(config))
    for name, weight in weights.items():
        parameters[name][:] = weight
    return Network(config, parameters, backend)


def transcribe_files(threads: int, model: str, listing: str) -> Job:
    """From files to texts: reading, features, network, greedy decoding."""
    from asr.recognizer import GROUP_FILES, load

    files = json.loads(Path(listing).read_text())
    recognizer = load(model, "cpu", threads)
    groups = spread(len(files), -(-len(files) // GROUP_FILES))

    def sound(file: list[Any]) -> Audio:
        path, start, end = file
        return read(path, recognizer.model.features.rate, start, end)

    def run(part: int) -> list[str]:
        results = recognizer.transcribe_each([files[i] for i in groups[part]], sound)
        return [_text(result) for _, result in results]

    durations = [sum(sound(files[i]).duration for i in group) for group in groups]
    return Job(run, (), len(groups), sound=durations)


def _text(result: Transcript | AsrError) -> str:
    if isinstance(result, AsrError):
        raise result
    return result.text


def features(threads: int, listing: str) -> Job:
    """Frames of recordings that are in memory already."""
    config = FeatureConfig()
    sounds = load_sounds(listing, config.rate)
    groups = spread(len(sounds), FEATURE_PARTS)

    def run(part: int) -> list[np.ndarray]:
        return [extract(sounds[i], config) for i in groups[part]]

    sound = [sum(sounds[i].duration for i in group) for group in groups]
    return Job(run, figures(np.concatenate(run(0))), len(groups), sound=sound)


def decode(threads: int, folder: str, beam: int, floor: float, language: bool, lexicon: bool, hot: bool) -> Job:
    """Posteriors to texts."""
    from asr.alphabet import Alphabet
    from asr.decoding.beam import BeamDecoder, BeamOptions
    from asr.decoding.hotwords import HotWord
    from asr.language import read_arpa
    from benchmarks.decoding import LM_WEIGHT, WORD_BONUS, load_decoding

    logging.getLogger("asr").setLevel(logging.ERROR)  # each round would tell again what no word fits
    data = load_decoding(folder)
    decoder = BeamDecoder(
        Alphabet(data.characters),
        BeamOptions(beam, LM_WEIGHT, WORD_BONUS if language else 0.0, floor=floor),
        read_arpa(data.arpa) if language else None,
        data.lexicon if lexicon else None,
        [HotWord(word) for word in data.hotwords] if hot else (),
        threads,
    )
    return data.job(lambda log_probs: [found[0].text for found in decoder.decode_each(log_probs, data.step_seconds)])


def nothing(threads: int) -> Job:
    """Only the import, for its memory."""
    open_backend("cpu", threads)
    return Job(lambda part: None)


TASKS: dict[str, Any] = {
    "nothing": nothing,
    "train layer": train_layer,
    "infer layer": infer_layer,
    "bare tile": bare_tile,
    "ctc": ctc,
    "train network": train_network,
    "infer network": infer_network,
    "transcribe files": transcribe_files,
    "features": features,
    "decode": decode,
}
