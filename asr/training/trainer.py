"""Training: batches, loss and gradient, clip, step; then development data, metrics, checkpoint; again.

`asr.training.folder` says what a run leaves behind.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from asr.alphabet import Alphabet
from asr.backends import fitting, open_backend
from asr.config import to_table
from asr.corpora.utterance import Utterance
from asr.errors import DeviceError, ModelError, TrainingError, UsageError
from asr.files import write_atomically
from asr.model import Model
from asr.network import Network
from asr.parameters import Parameters
from asr.training import checkpoint
from asr.training.batches import Batch, ahead, epoch_batches
from asr.training.beginning import blended, first_network, like
from asr.training.cache import FeatureCache
from asr.training.checkpoint import State
from asr.training.communicator import Alone, Communicator
from asr.training.config import LanguageConfig, TrainingConfig, load_config, save_config
from asr.training.dataset import Dataset, choose_alphabet, prepare_dev, prepare_train, with_prior
from asr.training.development import DevScore, score_development
from asr.training.folder import (
    BEFORE,
    BEST,
    CHECKPOINT,
    CONFIG,
    DEV,
    LAST,
    METRICS,
    MODEL,
    PIECES,
    TRAIN,
    check_folder,
    list_utterances,
)
from asr.training.interruption import Interruption
from asr.training.language import Sources, carrying, gather, require_tunable
from asr.training.pieces import cut_pieces, read_pieces, write_pieces
from asr.training.progress import Progress, automatic
from asr.training.pronunciations import load_pronunciations
from asr.training.schedule import rate
from asr.training.streams import stream
from asr.training.strings import with_strings
from kernels.interface import Backend

CHECKPOINT_SECONDS = 180.0  # between checkpoints within an epoch


def train(
    config: TrainingConfig,
    train: Sequence[Utterance],
    dev: Sequence[Utterance],
    out: str | Path,
    backend: Backend | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    *,
    trained_on: Sequence[str] = (),
    licence: str = "",
    transcripts: Sequence[str] | None = None,
    texts: Sequence[str | Path] = (),
    cache: str | Path | None = None,
    communicator: Communicator | None = None,
) -> Model:
    """Train a model and leave it, with its metrics, in the run folder `out`.

    Parameters
    ----------
    config : settings; with `resume`, those that the run began with
    train, dev : utterances to learn from, and to measure by; `dev` may be empty
    out : a new or empty folder; with `resume`, one where a run was stopped, that of `config.before` in it or its own
    backend : the machine; default: the best there is
    resume : go on where the run in `out` stopped; the end is the same, bit for bit, as if it had not. Only what
        comes after training may differ (`language`, `blend`, `half`), and `batches.size`, for a device whose memory
        was full: the epoch that was stopped then begins anew
    progress : told of the run; default: a display on a terminal, else lines on stderr
    trained_on, licence : for the model's provenance: the corpora's notations, the licence of their audio
    transcripts : for the final language model (`config.language`), those of held-out speakers of the same corpora among
        them; default: those of `train`
    texts : files with one sentence a line, compressed or not, for the language model too
    cache : folder of computed features; default: the user's cache folder
    communicator : adds up the gradient over machines; default: this one alone

    Returns the model that `config.keep` chooses. Ctrl-C finishes the update, saves and raises KeyboardInterrupt.
    Raises UsageError for a folder or settings that do not fit, TrainingError when no utterance can be used or
    nothing can be written any more, DeviceError, with a checkpoint left, when the device's memory is full.
    """
    folder, progress, backend = Path(out), progress or automatic(), backend or open_backend()
    said = load_pronunciations(config.pronunciations) if config.pronunciations else None
    start = config.init
    if config.before and not start:
        start = str(folder / BEFORE / MODEL)
        if not os.path.isfile(folder / CONFIG):  # this run is still to begin
            if not (resume and os.path.isdir(folder / BEFORE)):
                check_folder(folder, config, resume)
            gather(config, train, transcripts, texts, choose_alphabet(train, config.text))  # what is wrong is told now
            if not os.path.isfile(start):
                first = dataclasses.replace(config.before, language=LanguageConfig())
                progress.message(f"{folder / BEFORE}: the run that comes first")
                options = {"trained_on": trained_on, "licence": licence, "cache": cache, "communicator": communicator}
                _train_first(first, train, dev, folder / BEFORE, backend, resume, progress, **options)
            resume = False
    init = Model.load(start) if start else None
    if init:
        config = like(init, config)
    check_folder(folder, config, resume, spared=BEFORE if start and not config.init else "")
    progress.message(f"device: {backend.describe()}")
    if init:
        progress.message(f"the run begins with {start}, and keeps its features, alphabet and network")
    cut = folder / PIECES
    if resume and cut.is_file():
        pieces = read_pieces(cut, train)
    else:
        pieces = cut_pieces(train, config, init, backend, progress)
    train = with_strings([*train, *pieces], config, progress)
    measured = with_prior(config.features, train)
    features = FeatureCache(measured, config.augment.snr_spread, progress, Path(cache) if cache else None)
    alphabet = choose_alphabet(train, config.text)
    sources = gather(config, train, transcripts, texts, alphabet)
    if sources:
        require_tunable(sources, config.language, [utterance.text for utterance in dev])
    data = prepare_train(train, alphabet, config, features, backend.threads, said)
    held_out = prepare_dev(dev, alphabet, config, features, backend.threads)
    if dev and not held_out.examples:
        raise TrainingError(f"none of the {len(dev)} development utterances can be used; the messages above say why")
    if dev:
        progress.message(_watched_by(held_out, data))
    if sources:  # some may have been left out
        require_tunable(sources, config.language, [example.text for example in held_out.examples])
    provenance = {"trained_on": list(trained_on), "licence": licence, "config": to_table(config), "seed": config.seed}
    network = first_network(config, alphabet.size, said.size if said else alphabet.size, init, backend, folder)
    run = Run(config, alphabet, data, held_out, folder, network, progress, provenance, communicator or Alone())
    if resume:
        run.load()
    run.describe(pieces)
    with Interruption() as interruption:
        run.go(interruption)
    return run.finish(sources, init)


class Run:
    """One training run: the loop and what it carries from update to update."""

    def __init__(
        self,
        config: TrainingConfig,
        alphabet: Alphabet,
        data: Dataset,
        dev: Dataset,
        folder: Path,
        network: Network,
        progress: Progress,
        provenance: dict[str, Any],
        communicator: Communicator,
    ):
        self.config = config
        self.alphabet = alphabet
        self.data = data
        self.dev = dev
        self.folder = folder
        self.progress = progress
        self.provenance = provenance
        self.communicator = communicator
        self.state = State(data=f"{data.fingerprint()} {dev.fingerprint()}")
        self.network = network
        self.per_epoch = -(-data.size // config.batches.size)
        self._saved = time.monotonic()

    def go(self, interruption: Interruption) -> None:
        """From where the state is to the last epoch."""
        epochs = self.config.schedule.epochs
        done = self.state.epoch * self.per_epoch + self.state.batch
        total = epochs * self.per_epoch
        self.progress.begin(f"training on {len(self.data.examples)} utterances, {total} updates", total, done)
        try:
            while self.state.epoch < epochs:
                self._train_epoch(interruption)
                self._end_epoch()
            if interruption.requested is not None:  # behind the last update
                self._stop(interruption)
        except DeviceError:
            self._save_checkpoint()
            raise
        finally:
            self.progress.end()

    def finish(self, sources: Sources | None, init: Model | None) -> Model:
        """The final model, also written to the run folder; it carries a language model where there are sources.

        init : what the run began with, if that was a model
        """
        model = Model.load(self.folder / (BEST if self.config.keep == "best" and self.state.best else LAST))
        model = dataclasses.replace(model, provenance={**model.provenance, "config": self.provenance["config"]})
        if self.config.blend and init:
            model = self._blended(model, init)
        if self.config.half:
            model = model.halved()
        try:
            if sources:
                told = self._told_of("development data, for the language model")
                model = carrying(model, sources, self.config, self.dev, self.network.backend, self.progress, told)
        except KeyboardInterrupt:
            self.progress.message(f"stopped; resume goes on from {self.folder}")
            raise
        with self._writing():
            model.save(self.folder / MODEL, half=self.config.half)
        return model

    def _blended(self, model: Model, init: Model) -> Model:
        """The model with its share of what the run began with, and the scores of that."""
        model = blended(model, init, self.config.blend)
        told = self._told_of("development data, for the blend")
        network = Network(model.network, model.parameters, self.network.backend)
        score = score_development(network, self.dev, self.alphabet, self.config.batches.size, told)
        if score is None:
            return model
        rates = [f"{name} {value:.2%}" for name, value in (("CER", score.cer), ("WER", score.wer)) if value is not None]
        share = f"with {self.config.blend:.0%} of the weights that the run began with"
        self.progress.message(f"{share}: {', '.join([f'dev loss {score.loss:.3f}', *rates])}")
        return dataclasses.replace(model, provenance={**model.provenance, "scores": score.known()})

    def describe(self, pieces: Sequence[Utterance]) -> None:
        """Say in the run folder what run this is: its settings, the utterances that it uses, and their `pieces`.

        The settings come first: what is a run can be resumed, and without a checkpoint pieces are cut anew.
        """
        with self._writing():
            save_config(self.config, self.folder / CONFIG)
            if pieces:
                write_pieces(pieces, self.folder / PIECES)
            list_utterances(self.data, self.folder / TRAIN, self.progress)
            list_utterances(self.dev, self.folder / DEV, self.progress)

    def load(self) -> None:
        """Go back to the checkpoint in the run folder; where the run was stopped before its first, begin."""
        if not (self.folder / CHECKPOINT).exists():
            return
        state, weights, velocity = checkpoint.load(self.folder / CHECKPOINT)
        if state.data != self.state.data or weights.shape != self.network.parameters.vector.shape:
            raise UsageError(
                f"{self.folder}: this run was trained on other data, or begun by another version; "
                "resume with the corpora that it began with"
            )
        self.state = state
        self.network.restore(weights, velocity)
        size = load_config(self.folder / CONFIG).batches.size
        if size != self.config.batches.size:
            self._change_batches(-(-self.data.size // size))

    def _change_batches(self, per_epoch: int) -> None:
        """Where there were so many batches, the epoch that was stopped begins anew, unless all of it was learnt."""
        if self.state.batch == per_epoch:
            self.state.batch = self.per_epoch
        else:
            self.state.begin_epoch()
        self._save_checkpoint()  # before the settings: whatever is stopped now, the two belong together

    def _train_epoch(self, interruption: Interruption) -> None:
        epoch, state = self.state.epoch, self.state
        batches = epoch_batches(self.data.lengths(epoch), self.config.batches, self.config.seed, epoch)
        numbered = list(enumerate(batches))[state.batch :]
        begun = time.monotonic() - state.seconds
        for batch in ahead(lambda item: self._batch(epoch, *item), numbered):
            self._update(batch)
            state.seconds = time.monotonic() - begun
            self.progress.advance(1, f"epoch {epoch + 1}/{self.config.schedule.epochs}", self._note())
            if interruption.requested is not None:
                self._save_checkpoint()
                self._stop(interruption)
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self._save_checkpoint()

    def _stop(self, interruption: Interruption) -> None:
        self.progress.message(f"stopped; resume goes on from {self.folder}")
        interruption.stop()

    def _batch(self, epoch: int, number: int, indices: np.ndarray) -> Batch:
        hearings = 2 if self.config.network.consistency else 1
        return self.data.varied_batch(indices, self.config.augment, self.config.seed, epoch, number, hearings)

    def _update(self, batch: Batch) -> None:
        """One step on the loss per character of a batch, or none where loss or gradient is not finite."""
        state, optimizer = self.state, self.config.optimizer
        number = state.epoch * self.per_epoch + state.batch
        seed = int(stream(self.config.seed, "dropout", state.epoch, state.batch).integers(1 << 31))
        with fitting(f"{self.folder}: epoch {state.epoch + 1}, update {state.batch + 1}", lambda: self._told(batch)):
            losses = self.network.loss_and_gradient(*batch.arrays, seed, (batch.middle, batch.middle_lengths))
            counts = np.array([batch.label_lengths.sum(), np.count_nonzero(~np.isfinite(losses))], np.float64)
            self.communicator.sum(self.network.gradient.vector)
            self.communicator.sum(counts)  # so that all machines scale alike, and skip together
            scale = 1 / max(1.0, counts[0])
            norm = self.network.norm() * scale
        state.batch += 1
        state.frames += int(batch.lengths.sum())
        if counts[1] or not np.isfinite(norm):
            state.skipped += 1
            self.progress.message(_skipped(batch, losses, state))
            return
        factor = min(1.0, optimizer.clip / norm) if norm else 1.0
        learning_rate = rate(number, self.per_epoch, optimizer.rate, self.config.schedule)
        self.network.step(learning_rate, optimizer.momentum, scale * factor, optimizer.weight_decay)
        state.loss += float(losses.sum())
        state.characters += int(batch.label_lengths.sum())
        state.norms.append(norm)

    def _told(self, batch: Batch) -> str:
        """Of a batch that does not fit into the device's memory, and what to do."""
        remedy = f"--set batches.size={batch.size // 2}" if batch.size > 1 else "--device cpu"
        return f"{batch.describe(self.config.features.hop)}; go on with --resume {remedy}"

    def _note(self) -> str:
        state = self.state
        loss = state.loss / max(1, state.characters)
        return f"loss {loss:.3f}  {state.frames / max(state.seconds, 1e-9):,.0f} frames/s"

    def _end_epoch(self) -> None:
        """Development score, metrics, models, checkpoint."""
        self._check_alive()
        begun = time.monotonic()
        score = self._score_development()
        record = self._record(score, time.monotonic() - begun)
        if score and (not self.state.best or score.rank() < _score_of(self.state.history[self.state.best - 1]).rank()):
            self.state.best = self.state.epoch + 1
        self.state.next_epoch(record)
        weights = self.network.weights()
        self._save_models(weights)
        self._save_checkpoint(weights)
        self.progress.epoch(record, self.config.schedule.epochs)

    def _score_development(self) -> DevScore | None:
        told = self._told_of(f"development data of epoch {self.state.epoch + 1}")
        return score_development(self.network, self.dev, self.alphabet, self.config.batches.size, told)

    def _told_of(self, what: str) -> Callable[[Batch], AbstractContextManager[None]]:
        """What is entered with a batch of this, so that memory that is full is told of."""
        return lambda batch: fitting(f"{self.folder}: {what}", lambda: self._told(batch))

    def _check_alive(self) -> None:
        if self.state.norms and np.isfinite(self.network.backend.norm(self.network.parameters.vector)):
            return
        raise TrainingError(
            f"{self.folder}: training diverged in epoch {self.state.epoch + 1}: loss, gradient or weights are no "
            f"longer finite; start another run with a smaller optimizer.rate (it was {self.config.optimizer.rate:g})"
        )

    def _record(self, score: DevScore | None, dev_seconds: float) -> dict[str, Any]:
        state, schedule = self.state, self.config.schedule
        last = (state.epoch + 1) * self.per_epoch - 1
        return {
            "epoch": state.epoch + 1,
            "updates": self.per_epoch + (state.history[-1]["updates"] if state.history else 0),
            "rate": rate(last, self.per_epoch, self.config.optimizer.rate, schedule),
            "train_loss": state.loss / state.characters if state.characters else None,
            "gradient_norm": float(np.median(state.norms)) if state.norms else None,
            "dev_loss": score.loss if score else None,
            "dev_cer": score.cer if score else None,
            "dev_wer": score.wer if score else None,
            "frames_per_second": state.frames / max(state.seconds, 1e-9),
            "seconds": state.seconds + dev_seconds,
            "skipped": state.skipped,
        }

    def _save_models(self, weights: np.ndarray) -> None:
        state = self.state
        record = state.history[-1]
        model = self._model(weights, _score_of(record).known())
        lines = "".join(json.dumps(record) + "\n" for record in state.history)
        with self._writing():
            model.save(self.folder / LAST)
            if state.best == state.epoch:
                model.save(self.folder / BEST)
            write_atomically(self.folder / METRICS, lines.encode())

    def _save_checkpoint(self, weights: np.ndarray | None = None) -> None:
        """Leave a checkpoint; `weights` are the network's, where they are on the host already."""
        weights = self.network.weights() if weights is None else weights
        velocity = self.network.backend.to_host(self.network.velocity.vector)
        with self._writing():
            checkpoint.save(self.folder / CHECKPOINT, self.state, weights, velocity)
        self._saved = time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A full disk ends the run; what was written before stays whole."""
        try:
            yield
        except (OSError, ModelError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise TrainingError(
                f"{self.folder}: the run cannot be saved ({reason}); make room and go on with --resume"
            ) from error

    def _model(self, weights: np.ndarray, scores: dict[str, float]) -> Model:
        from asr import __version__

        date = time.strftime("%Y-%m-%d")
        made = {"epochs": self.state.epoch, "scores": scores, "version": __version__, "date": date}
        parameters = Parameters(self.network.parameters.layout, weights)
        return Model(self.data.cache.config, self.alphabet, self.network.config, parameters, self.provenance | made)


def _train_first(
    config: TrainingConfig,
    utterances: Sequence[Utterance],
    dev: Sequence[Utterance],
    folder: Path,
    backend: Backend,
    resume: bool,
    progress: Progress,
    **options: Any,
) -> None:
    """The run before a run, without a language model; it may have been stopped before it wrote anything."""
    begun = os.path.isfile(folder / CONFIG) or os.path.isdir(folder / BEFORE)
    train(config, utterances, dev, folder, backend, resume and begun, progress, **options)


def _watched_by(held_out: Dataset, data: Dataset) -> str:
    """How much development data there are, and whether their speakers are strangers."""
    speakers, trained = (
        {(example.utterance.corpus, example.utterance.speaker) for example in each.examples}
        for each in (held_out, data)
    )
    both = len(speakers & trained)
    if any(not speaker for _, speaker in speakers | trained):
        who = "some speakers are not named, so that those may be in training too"
    elif both:
        who = f"of {len(speakers)} speakers, {both} of whom are in training too"
    else:
        who = f"of {len(speakers)} speaker{'s' if len(speakers) > 1 else ''}, none of whom is in training"
    return f"development data: {len(held_out.examples)} utterance{'s' if len(held_out.examples) > 1 else ''}; {who}"


def _score_of(record: Mapping[str, Any]) -> DevScore:
    """What a line of the metrics says."""
    return DevScore(record["dev_loss"], record["dev_cer"], record["dev_wer"])


def _skipped(batch: Batch, losses: np.ndarray, state: State) -> str:
    bad = [name for name, loss in zip(batch.ids, losses, strict=True) if not np.isfinite(loss)]
    names = ", ".join(dict.fromkeys(bad or batch.ids))
    named = names if bad else f"none, but the gradient is not; batch of {names}"
    return f"epoch {state.epoch + 1}, batch {state.batch}: update skipped, since the loss is not finite for {named}"
