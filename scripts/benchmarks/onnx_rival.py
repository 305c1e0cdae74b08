"""onnxruntime's side of each task: its own LSTM operator, in a model made here."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr.network import NetworkConfig
from benchmarks.jobs import Job, figures, layer_data, library, load_batches, load_network, stacked, within

GATES = [0, 3, 1, 2]  # ours are input, forget, cell, output; ONNX has input, output, forget, cell


def open_session(model: Any, threads: int) -> Any:
    onnxruntime = library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def lstm_weights(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """W [2, 4 H, D], R [2, 4 H, H] and B [2, 8 H] of ONNX's LSTM operator."""

    def both(kind: str) -> np.ndarray:
        arrays = [weights[f"{direction}.{kind}"] for direction in ("forward", "backward")]
        return np.stack([array.reshape(4, -1, *array.shape[1:])[GATES].reshape(array.shape) for array in arrays])

    return {
        "W": both("weight_ih"),
        "R": both("weight_hh"),
        "B": np.concatenate([both("bias_ih"), both("bias_hh")], axis=1),
    }


def infer_layer(threads: int, cell: str, sizes: list[int]) -> Job:
    """Its output is [T, 2, B, H]; bringing that into [T, B, 2 H] is left out in its favour."""
    onnx = library("onnx")
    data = layer_data(cell, sizes)
    T, B, D, H = sizes
    initializers = [onnx.numpy_helper.from_array(a, name) for name, a in lstm_weights(data.weights).items()]
    node = onnx.helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], hidden_size=H, direction="bidirectional")
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [onnx.helper.make_tensor_value_info("X", kind, [T, B, D])],
        [onnx.helper.make_tensor_value_info("Y", kind, [T, 2, B, H])],
        initializers,
    )
    session = open_session(make_model(onnx, graph), threads)

    def run(part: int) -> Any:
        return session.run(None, {"X": data.x})[0]

    return Job(run, figures(run(0)))


def infer_network(threads: int, folder: str) -> Job:
    """The same batches, stacked beforehand."""
    onnx = library("onnx")
    config, weights = load_network(folder)
    session = open_session(_network(onnx, config, weights), threads)
    batches = [stacked(batch["frames"], batch["lengths"], config.stack) for batch in load_batches(folder)]

    def run(part: int) -> Any:
        x, steps = batches[part]
        return session.run(None, {"X": x, "lengths": steps})[0]

    return Job(run, figures(within(run(0), batches[0][1])), len(batches))


def _network(onnx: Any, config: NetworkConfig, weights: dict[str, np.ndarray]) -> Any:
    """X [T, B, D] and lengths [B] -> log-probabilities [T, B, C]."""
    make, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    width = config.recurrent_shapes()[0].outputs
    constants = {"merged": np.array([0, 0, width])}
    nodes, x = [], "X"
    for layer in range(config.layers):
        prefix = f"layer{layer}."
        own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        constants |= {f"{name}{layer}": array for name, array in lstm_weights(own).items()}
        inputs = [x, f"W{layer}", f"R{layer}", f"B{layer}", "lengths"]
        apart, side, x = f"apart{layer}", f"side{layer}", f"out{layer}"
        nodes += [
            make("LSTM", inputs, [apart], hidden_size=config.hidden, direction="bidirectional"),
            make("Transpose", [apart], [side], perm=[0, 2, 1, 3]),
            make("Reshape", [side, "merged"], [x]),
        ]
    constants |= {"weight": np.ascontiguousarray(weights["output.weight"].T), "bias": weights["output.bias"]}
    nodes += [
        make("MatMul", [x, "weight"], ["product"]),
        make("Add", ["product", "bias"], ["logits"]),
        make("LogSoftmax", ["logits"], ["Y"], axis=-1),
    ]
    info, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    inputs = [
        info("X", kinds.FLOAT, ["T", "B", config.inputs * config.stack]),
        info("lengths", kinds.INT32, ["B"]),
    ]
    outputs = [info("Y", kinds.FLOAT, ["T", "B", config.outputs])]
    stored = [tensor(array, name) for name, array in constants.items()]
    return make_model(onnx, onnx.helper.make_graph(nodes, "network", inputs, outputs, stored))


def make_model(onnx: Any, graph: Any) -> Any:
    """In versions that every onnxruntime of the last years reads."""
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


TASKS: dict[str, Any] = {"infer layer": infer_layer, "infer network": infer_network}
