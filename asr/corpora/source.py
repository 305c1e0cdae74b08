"""What every reader does: text files read line by line, audio files found, and spoilt corpora refused.

Folders are listed once instead of asking the system about each file, so that a corpus of 100,000 utterances on a
network disk opens in seconds; no audio file is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.audio import SUFFIXES, walk_files
from asr.corpora.utterance import Utterance
from asr.errors import CorpusError

# Lossless kinds first: where a folder has one recording twice, under one name, the better one is read.
AUDIO_SUFFIXES = (".flac", ".wav", *sorted(SUFFIXES - {".flac", ".wav"}))


@dataclass(frozen=True)
class Place:
    """A line of a file, or all of it (line 0), for messages."""

    path: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}" if self.line else str(self.path)


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 with its byte order mark; line ends \\n, byte order marks removed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}; check the corpus's path") from error
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        place = Place(path, data.count(b"\n", 0, error.start) + 1)
        raise CorpusError(
            f"{place}: not {encoding.upper()} (byte 0x{data[error.start]:02x}); convert the file to UTF-8"
        ) from error
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> Iterator[tuple[Place, str]]:
    """The lines of a text file that are not blank, each with its place."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line and not line.isspace():
            yield Place(path, number), line


def read_table(path: Path, fields: int, form: str) -> dict[str, tuple[Place, list[str]]]:
    """A file of lines `KEY FIELD...`, as Kaldi's: key -> its place and the other fields.

    fields : of a line, the key among them; the last takes the rest of the line
    form : of a line, for messages; a field in brackets at its end may be absent

    Raises CorpusError for a line that has too few, and for a key that stands twice.
    """
    fewest = fields - form.endswith("]")
    table: dict[str, tuple[Place, list[str]]] = {}
    for place, line in read_lines(path):
        key, *others = line.strip().split(None, fields - 1)
        if len(others) + 1 < fewest:
            raise malformed(place, form, line)
        if key in table:
            raise CorpusError(f"{place}: {key} stands here a second time, first in line {table[key][0].line}")
        table[key] = place, others
    return table


def malformed(place: Place, form: str, line: str) -> CorpusError:
    """The error for a line that is not of the form that its layout has."""
    return CorpusError(f"{place}: not of the form {form!r}: {line if len(line) <= 80 else line[:77] + '...'!r}")


def walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder at and under this one, sorted by name, with the sorted names of its files; hidden ones left out."""
    try:
        yield from walk_files(folder)
    except OSError as error:
        raise CorpusError(f"{error.filename}: cannot be read: {error.strerror}; check its permissions") from error


class Files:
    """Which files exist: each folder is listed once."""

    def __init__(self) -> None:
        self._listings: dict[str, frozenset[str]] = {}

    def with_suffix(self, stem: str, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> str | None:
        """The first of the paths `stem` + suffix that exists."""
        folder, name = os.path.split(stem)
        listing = self._listing(folder)
        return next((stem + suffix for suffix in suffixes if name + suffix in listing), None)

    def first(self, name: str, folders: Iterable[str]) -> str | None:
        """The first of the paths folder/name that exists; an absolute name stands for itself."""
        paths = [os.path.join(folder, name) for folder in folders]  # noqa: PTH118  a Path for each try is slow
        listed = next((path for path in paths if self._lists(path)), None)
        return listed or next((path for path in paths if os.path.isfile(path)), None)  # some systems ignore case

    def _lists(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._listing(folder)

    def _listing(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            try:
                with os.scandir(folder or ".") as entries:
                    self._listings[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except OSError:
                self._listings[folder] = frozenset()
        return self._listings[folder]


class Gathering:
    """The utterances of a corpus as a reader finds them. Refuses ids that stand twice, missing audio, an empty corpus.

    source : what the corpus was read from, for messages
    """

    def __init__(self, source: Path):
        self.source = source
        self.files = Files()
        self._utterances: dict[str, Utterance] = {}
        self._missing: list[tuple[Place, str]] = []

    def add(self, utterance: Utterance, place: Place) -> None:
        """Take one more. Raises CorpusError where its id has come before."""
        if utterance.id in self._utterances:
            raise CorpusError(f"{place}: a second utterance with the id {utterance.id}; ids must be unique")
        self._utterances[utterance.id] = utterance

    def locate(self, name: str, folders: Sequence[Path], place: Place) -> Path:
        """The audio file of this name in the first folder that has it. A missing one is noted for `utterances`."""
        found = self.files.first(name, map(str, folders))
        if found is None:
            self._missing.append((place, str(folders[0] / name)))
        return Path(found or name)

    def locate_stem(self, stem: str, place: Place, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> Path:
        """The audio file stem.*, where any audio suffix will do. A missing one is noted for `utterances`."""
        found = self.files.with_suffix(stem, suffixes)
        if found is None:
            self._missing.append((place, f"{stem}.* ({' '.join(suffixes)})"))
        return Path(found or stem)

    def utterances(self) -> list[Utterance]:
        """All of them, in order. Raises CorpusError where audio is missing, or where there is none."""
        if self._missing:
            place, audio = self._missing[0]
            more = f" (and {len(self._missing) - 1:,} more are missing)" if len(self._missing) > 1 else ""
            raise CorpusError(f"{place}: there is no audio file {audio}{more}; check the corpus's path and its audio")
        if not self._utterances:
            raise CorpusError(f"{self.source}: this corpus holds no utterance")
        return list(self._utterances.values())


def manifest(path: Path, split: str | None, suffixes: Sequence[str], default: str = "train") -> Path:
    """The file that lists a corpus: `path` itself, or in the folder `path` SPLIT.suffix.

    Without a split it is `default`.suffix, or else the only file with such a suffix. Raises CorpusError, naming
    the splits that there are.
    """
    if path.is_file():
        if split:
            raise CorpusError(f"{path}: a file has no splits, and {split!r} was asked for; leave it away")
        return path
    files = sorted(file for file in folder_files(path) if file.suffix.lower() in suffixes)
    chosen = [file for file in files if file.stem == (split or default)]
    if not split and not chosen and len(files) == 1:
        return files[0]
    if not chosen:
        kinds = " or ".join(suffixes)
        raise CorpusError(f"{path}: no file {split or default} ({kinds}) here{choices(file.stem for file in files)}")
    return chosen[0]


def folder_files(path: Path) -> list[Path]:
    """The files of a folder, hidden ones left out. Raises CorpusError when it is no folder."""
    try:
        return [file for file in path.iterdir() if not file.name.startswith(".") and file.is_file()]
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}; check the corpus's path") from error


def subfolder(path: Path, split: str | None) -> Path:
    """The folder of a split, for layouts where it is a folder's name. Raises CorpusError, naming the folders."""
    folder = path / split if split else path
    if not folder.is_dir():
        names = [entry.name for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
        raise CorpusError(f"{folder}: there is no such folder{choices(names)}")
    return folder


def choices(names: Iterable[str]) -> str:
    """The end of a message: what could be chosen."""
    names = sorted({name for name in names if not name.startswith(".")})
    return f"; choose one of: {', '.join(names)}" if names else "; check the corpus's path"
