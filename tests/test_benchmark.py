"""The benchmark: it compares what computes the same, names what is missing, and stays within its time."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tones

from asr.errors import UsageError
from kernels import BackendUnavailableError, open_backend
from kernels.cpu import peak

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

from benchmarks import cases, compare, cuda_cases, decoding, jobs, report, speech, worker  # noqa: E402
from benchmarks.processes import Contender, ContenderError, Process  # noqa: E402

KEYS = {"case", "ours_ms", "rival", "rival_ms", "ratio", "gflops", "peak_fraction"}
TORCH = importlib.util.find_spec("torch") is not None
ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
KENLM, PYCTCDECODE, FLASHLIGHT = (
    importlib.util.find_spec(name) is not None for name in ("kenlm", "pyctcdecode", "flashlight")
)


def benchmark(*arguments: object, before: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, with a folder before all others that modules are found in."""
    paths = [str(path) for path in (before, ROOT) if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def rows(*arguments: object) -> list[dict[str, Any]]:
    done = benchmark(*arguments, "--rounds", 1, "--json", "-")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert found
    assert all(row.keys() >= KEYS for row in found)
    assert [row["case"] for row in found if row["failed"]] == []
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tones")
    tones.make(folder, utterances=40)
    return f"pairs:{folder}"


@pytest.fixture(scope="module")
def arpa(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model as `decode` makes one where none is named, of the tones' texts and of others."""
    folder = tmp_path_factory.mktemp("words")
    (folder / "text.txt").write_text(
        "A bad cab, a dead cafe; a bed.\nFeed a bad cab!\nA dead bed, a cafe, a cab.\n" * 3
    )
    decoding.write_language(folder / "words.arpa", corpus, folder / "text.txt")
    return folder / "words.arpa"


@pytest.mark.skipif(not TORCH, reason="PyTorch is a rival, not needed otherwise")
def test_a_training_step_is_compared_with_one_that_gives_the_same() -> None:
    (row,) = rows("recurrence", "--cases", "rnn_tanh 500,16,39,256 train")
    assert row["rival"] == "torch"
    assert row["ratio"] == pytest.approx(row["rival_ms"] / row["ours_ms"])
    assert row["clock"] == "cpu"
    assert row["difference"] < 1e-5
    products = 2 * 500 * 16 * 2 * 256 * (2 * (39 + 256) + 256)  # forward and weights' gradient, states' gradient
    assert row["gflops"] == pytest.approx(products / row["ours_ms"] / 1e6)
    assert row["peak_fraction"] == pytest.approx(row["gflops"] / row["peak_gflops"])
    assert 0 < row["peak_fraction"] < 1.1


def test_a_rival_that_is_not_installed_is_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('hidden', name='torch')\n")
    done = benchmark("ctc", "--cases", "ctc 500,16,29,60", "--seconds", 1, "--json", "-", before=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("torch is not installed") == 1
    for row in json.loads(done.stdout):
        assert row["ours_ms"] > 0
        assert row["rival"] is row["ratio"] is row["met"] is None


@pytest.mark.skipif(not TORCH, reason="PyTorch is a rival, not needed otherwise")
def test_updates_come_to_the_same_loss_as_pytorch_s(corpus: str) -> None:
    (row,) = rows("train-step", "--corpus", corpus, "--updates", 2, "--cases", "epoch*packed")
    assert row["rival"] == "torch"
    assert row["difference"] < 1e-3
    assert row["gflops"] > 0


def test_transcription_is_compared_with_the_sound_and_with_the_network_elsewhere(corpus: str) -> None:
    found = rows("transcribe", "--corpus", corpus, "--files", 10, "--cases", "file?", "--cases", "networ?")
    files = next(row for row in found if row["case"] == "files")
    assert files["rival"] == "real time"
    assert files["ratio"] == pytest.approx(files["rival_ms"] / files["ours_ms"])
    assert files["ratio"] > 1
    elsewhere = {row["rival"]: row["difference"] for row in found if row["case"] == "network"}
    assert ("onnxruntime" in elsewhere) == ONNX
    assert ("torch" in elsewhere) == TORCH
    assert max([difference for difference in elsewhere.values() if difference is not None], default=0) < 1e-4


DECODED = ("sound alone, beam 8", "3-gram, beam 32", "3-gram and lexicon, beam 1")


def test_decoders_are_compared_with_the_sound_and_with_those_installed(corpus: str, arpa: Path) -> None:
    asked = [option for case in DECODED for option in ("--cases", case.replace("beam", "bea?"))]
    found = rows("decode", "--corpus", corpus, "--files", 6, "--lm", arpa, *asked)
    ours = {row["case"]: row for row in found if row["rival"] == "real time"}
    assert tuple(ours) == DECODED
    for row in ours.values():
        assert row["clock"] == "cpu"
        assert row["ratio"] == pytest.approx(row["rival_ms"] / row["ours_ms"])
        assert re.fullmatch(r"WER [0-9.]+%", row["note"])
    assert [row["target"] for row in ours.values()] == [None, 500.0, None]
    rivals = {(row["case"], row["rival"]) for row in found}
    assert ((DECODED[0], "pyctcdecode") in rivals) == PYCTCDECODE
    assert ((DECODED[1], "pyctcdecode") in rivals) == (PYCTCDECODE and KENLM)
    assert ((DECODED[0], "flashlight") in rivals) == FLASHLIGHT
    assert ((DECODED[2], "flashlight") in rivals) == (FLASHLIGHT and KENLM)


def test_other_decoders_need_not_be_installed(corpus: str, arpa: Path, tmp_path: Path) -> None:
    for name in ("pyctcdecode", "flashlight"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('hidden', name='{name}')\n")
    asked = ["--cases", "sound alone, beam 100*", "--cases", "hot words, beam 3* 2 threads"]
    done = benchmark("decode", "--corpus", corpus, "--files", 4, "--lm", arpa, *asked, "--json", "-", before=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\w+) is not installed.*pip install (.*)", done.stderr) == [
        ("pyctcdecode", "--no-deps pyctcdecode pygtrie kenlm"),
        ("flashlight", "flashlight-text kenlm"),
    ]
    found = {(row["case"], row["rival"]): row for row in json.loads(done.stdout)}
    assert list(found) == [
        ("sound alone, beam 100", "real time"),
        ("hot words, beam 32 2 threads", "real time"),
        ("hot words, beam 32 2 threads", "ours"),
        ("sound alone, beam 100 memory", None),
    ]
    assert found["sound alone, beam 100 memory", None]["ours_mb"] > 0


def test_decoding_names_the_corpus_that_is_not_there(tmp_path: Path) -> None:
    done = benchmark("decode", "--corpus", f"an4:{tmp_path / 'nowhere'}")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "nowhere" in line


def test_decoders_get_the_same(corpus: str, arpa: Path, tmp_path: Path) -> None:
    spoken = speech.utterances([corpus], 3)
    decoding.write_decoding(tmp_path, spoken, "en", arpa)
    data = decoding.load_decoding(str(tmp_path))
    assert data.references == [utterance.text for utterance in spoken]
    assert data.seconds == [utterance.read().duration for utterance in spoken]
    steps = [seconds / data.step_seconds for seconds in data.seconds]
    assert [len(rows) for rows in data.log_probs] == pytest.approx(steps, abs=2)
    for log_probs in data.log_probs:
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-5)
    assert {"a", "bad", "cafe"} <= set(data.lexicon)
    assert not {"<s>", "</s>", "<unk>"} & set(data.lexicon)
    assert all(word in " ".join(data.references).split() for word in data.hotwords)
    job = data.job(lambda utterances: ["" for _ in utterances])
    assert (job.parts, job.note) == (3, "WER 100.0%")
    assert sum(job.sound) == pytest.approx(sum(data.seconds))


def test_a_path_of_labels_becomes_text() -> None:
    assert decoding.collapsed([0, 2, 2, 0, 2, 1, 1, 0, 1, 3, 0], " ab") == "aa b"
    assert decoding.collapsed([], " ab") == ""


def test_features_are_librosa_s(corpus: str) -> None:
    (row,) = rows("features", "--corpus", corpus, "--files", 8)
    assert row["rival"] == "librosa"
    assert row["difference"] < 1e-3


def test_starts_are_timed_and_may_not_compile() -> None:
    found = {row["case"]: row for row in rows("startup", "--cases", "import asr", "--cases", "*help")}
    assert found.keys() == {"import asr", "asr --help"}
    assert all(row["ours_ms"] > 0 and row["note"] == "0 kernels compiled" for row in found.values())
    assert found["import asr"]["rival_ms"] == 300


def test_time_is_bounded_and_what_is_left_out_is_named() -> None:
    done = benchmark("recurrence", "--cases", "tile*", "--seconds", 0.1, "--markdown")
    assert done.returncode == 0, done.stderr
    heading, rule, *lines = done.stdout.splitlines()
    assert heading.startswith("| case | rival | ours ms |")
    assert set(rule) <= set("| -:")
    assert [line.split(" | ")[0] for line in lines] == ["| tile 16 lanes"]
    assert "no time left for tile 8 lanes; tile 4 lanes" in done.stderr


def test_an_unknown_case_is_wrong_usage() -> None:
    done = benchmark("ctc", "--cases", "cct")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ctc 500,16,29,60" in done.stderr


def test_patterns_choose_by_name() -> None:
    names = [case.name for case in cases.chosen(cases.recurrence(1), ["lstm*128 train", "gru"])]
    assert names == ["lstm 500,16,39,128 train", "lstm 500,16,256,128 train", "gru 500,16,39,256 train"]
    assert len(cases.chosen(cases.recurrence(1), [])) == len({case.name for case in cases.recurrence(1)})
    with pytest.raises(UsageError, match="transformer"):
        cases.chosen(cases.recurrence(1), ["lstm", "transformer"])


def test_a_target_is_met_or_not() -> None:
    row = report.Row("case", 1.0, "rival", 2.0, 2.0, gflops=70.0, peak_fraction=0.7)
    assert row.met is None
    assert replace(row, target=2.0).met is True
    assert replace(row, target=2.1).met is False
    assert replace(row, target=2.0, peak_target=0.75).met is False
    assert replace(row, target=1.0, failed="another result").met is False


def test_medians_are_of_each_part() -> None:
    contestant = compare.Contestant.__new__(compare.Contestant)
    contestant.timings = {0: [(1.0, 0.5, 0.1), (9.0, 8.0, 0.3), (2.0, 0.6, 0.2)], 1: [(10.0, 5.0, 1.0)], 2: []}
    assert contestant.seconds("wall", [0, 1]) == 12.0
    assert contestant.seconds("cpu", [0]) == 0.6
    assert contestant.seconds("device", [0, 1]) == 1.2


@pytest.mark.parametrize("command", ["recurrence", "ctc", "train-step"])
def test_without_a_gpu_its_benchmarks_say_what_is_missing(command: str) -> None:
    with contextlib.suppress(BackendUnavailableError):
        pytest.skip(f"there is a GPU: {open_backend('cuda').describe()}")
    done = benchmark(command, "--device", "cuda")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert re.search("benchmark: .*(driver|GPU).*install", line)


TINY = {"train layer": {"cell": "lstm", "sizes": [2, 1, 2, 1]}, "infer layer": {"cell": "gru", "sizes": [2, 1, 1, 1]}}


def test_tasks_on_a_device_compute_what_they_do_on_the_cpu() -> None:
    """On CUDA's simulator, which has no clock."""
    here, there = Process(Contender("ours")), Process(Contender("ours", 1, (("NUMBA_ENABLE_CUDASIM", "1"),)))
    try:
        assert "simulator" in there.ask(do="open", device="cuda")["device"]
        for task, arguments in (TINY | {"ctc": {"sizes": [3, 1, 3, 1]}}).items():
            expected = here.prepare(task, arguments)
            found = there.prepare(task, arguments | {"device": "cuda", "tf32": False})
            assert found["check"] == pytest.approx(expected["check"], rel=1e-5), task
            assert found["flops"] == expected["flops"]
    finally:
        here.close()
        there.close()


def test_tf32_is_a_choice_on_a_gpu_alone() -> None:
    done = benchmark("ctc", "--tf32")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--tf32 needs --device cuda" in done.stderr


def test_what_runs_on_a_device_is_timed_by_its_clock_with_all_its_repeats() -> None:
    runs: list[int] = []

    def timed(function: Callable[[], object]) -> float:
        function()
        return 30.0 * len(runs)  # ms

    process = worker.Worker("ours")
    process.hold(jobs.Job(runs.append, timed=timed))
    ((wall, cpu, device),) = process.time(part=7, repeat=4, warm=False)["timings"]
    assert runs == [7] * 4
    assert device == pytest.approx(0.030)
    assert wall >= 0 <= cpu


def test_the_cases_on_a_gpu_are_those_with_targets() -> None:
    names = {case.name: case.rivals[0].target for case in cuda_cases.recurrence(tf32=False)}
    assert names["lstm 500,16,39,256 train cuda"] == 1.0
    assert names["lstm 500,16,512,256 infer cuda"] == 1.2
    assert names["gru 500,16,39,256 train cuda"] is None
    every = [*cuda_cases.recurrence(True), *cuda_cases.ctc(True), *cuda_cases.train_step(True, "")]
    assert all(case.name.endswith(" cuda tf32") and case.arguments["tf32"] for case in every)


def test_the_synthetic_batch_has_an4_s_sizes(tmp_path: Path) -> None:
    speech.write_synthetic(tmp_path)
    (batch,) = jobs.load_batches(str(tmp_path))
    config, _ = jobs.load_network(str(tmp_path))
    assert (config.layers, config.hidden, config.inputs * config.stack, config.outputs) == (3, 256, 120, 29)
    assert batch["frames"].shape == (510, 16, 60)
    assert batch["lengths"][0] == 510
    assert (np.diff(batch["lengths"]) <= 0).all()
    assert batch["labels"].min() >= 1


def test_a_failure_in_a_contender_s_process_is_told_and_survived() -> None:
    process = Process(Contender("ours"))
    try:
        with pytest.raises(ContenderError, match="unknown cell 'transformer'"):
            process.prepare("train layer", {"cell": "transformer", "sizes": [1, 1, 1, 1]})
        assert process.prepare("ctc", {"sizes": [5, 2, 4, 2]})["parts"] == 1
        assert len(process.ask(do="time", part=0, repeat=3, warm=True)["timings"]) == 3
        memory = process.ask(do="memory")
        assert 1 < memory["now"] <= memory["peak"]
    finally:
        process.close()


def test_rivals_get_the_frames_as_we_stack_them() -> None:
    rng = np.random.default_rng(1)
    frames, lengths = rng.standard_normal((7, 3, 2)).astype(np.float32), np.array([7, 5, 1], np.int32)
    for b, length in enumerate(lengths):
        frames[length:, b] = 0
    ours = np.empty((3, 3, 6), np.float32)
    open_backend("reference").stack_frames(frames, lengths, 3, ours)
    theirs, steps = jobs.stacked(frames, lengths, 3)
    assert steps.tolist() == [3, 2, 1]
    np.testing.assert_array_equal(jobs.within(theirs, steps), jobs.within(ours, steps))


def test_the_bare_tile_comes_near_the_peak_but_not_above() -> None:
    tile = peak.BareTile()
    tile.run()
    speeds, peaks = [], []
    for _ in range(20):
        peaks.append(peak.measure(0.002))
        begun = time.thread_time_ns()
        tile.run()
        speeds.append(tile.flops / (time.thread_time_ns() - begun))
    assert 0.3 < max(speeds) / max(peaks) < 1.15  # wide: the machine may be busy


def test_the_model_of_a_gpu_needs_none() -> None:
    done = benchmark("model", "--machine", "A100 SXM")
    assert done.returncode == 0, done.stderr
    assert "108 multiprocessors" in done.stdout
    assert "| 500,16,39,256 |" in done.stdout
    done = benchmark("model", "--machine", "abacus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the model knows H100 SXM" in done.stderr


def test_tables_go_between_their_marks(tmp_path: Path) -> None:
    document = tmp_path / "speed.md"
    document.write_text("# Speed\n\n<!-- machine -->\nold\n<!-- end of machine -->\n\nThe end.\n")
    done = benchmark("tables", document, "--only", "machine")
    assert done.returncode == 0, done.stderr
    before, machine, after = re.split(r"<!-- (?:end of )?machine -->", document.read_text())
    assert (before, after) == ("# Speed\n\n", "\n\nThe end.\n")
    assert "lanes" in machine
    assert "old" not in machine
    done = benchmark("tables", document, "--only", "ctc")
    assert done.returncode == 2
    assert "ctc" in done.stderr


def test_the_document_has_a_place_for_every_table() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    names = ("machine", "recurrence", "ctc", "train-step", "transcribe", "features", "decode", "startup", "cuda-model")
    assert [name for name in names if not report.marked(text, name)] == []
