"""ARPA files: n-gram models as text, as SRILM, KenLM, IRSTLM, MITLM, CMU-Cambridge and others write and read them.

    \\data\\
    ngram 1=4
    ngram 2=2

    \\1-grams:
    -99     <s>     -0.3
    ...
    \\end\\

A line is log10 p, the words, and log10 of the back-off weight, which is 0 where it is left out; tabs or spaces between
them. What stands before \\data\\ is a comment. Files may be compressed by gzip, bzip2 or xz. They must be UTF-8.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np

from asr.alphabet import normalise
from asr.errors import ModelError
from asr.files import write_atomically
from asr.language import trie
from asr.language.ngram import END, NEVER, SPACE, SPACES, SPECIAL, START, NgramModel

LN10 = math.log(10)
ROUNDING = 1e-3  # a log10 probability this little above 0 is 0 of a toolkit that computes in float32
CHUNK = 1 << 16  # lines at a time
MAX_ORDER = 20

_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_Fields = list[list[bytes]]


@dataclass(frozen=True)
class _Section:
    """The n-grams of one order as the file has them.

    rows : int32 [M, n]
    log_prob, backoff : float64 [M], natural
    line : int64 [M], in the file
    """

    rows: np.ndarray
    log_prob: np.ndarray
    backoff: np.ndarray
    line: np.ndarray


def read_arpa(path: str | Path) -> NgramModel:
    """A model from an ARPA file.

    Words are normalised as texts are (`asr.alphabet.normalise`), so that a model in upper case serves; one whose
    normal form is another word of the file stays as written. `<s>`, `</s>` and `<unk>` may be in any case. A space of a
    character model is written `<space>` there and " " here.

    Raises ModelError, naming file and line, where the file cannot be read, is damaged, or is of another kind.
    """
    path = Path(path)
    try:
        with open_compressed(path) as file:
            words, sections = _Reader(path, file).read()
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise ModelError(f"{path}: the compressed file is damaged or cut off ({error}); get it again") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    return _assemble(path, words, sections)


def open_compressed(path: Path) -> IO[bytes]:
    """A file to read, decompressed if its first bytes are those of gzip, bzip2 or xz."""
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _COMPRESSED.items() if head.startswith(magic)), None)
    return cast(IO[bytes], opener(path) if opener else path.open("rb"))


class _Reader:
    """Goes through a file once; knows the line for messages."""

    def __init__(self, path: Path, file: IO[bytes]):
        self.path, self.file, self.line = path, file, 0
        self.ids: dict[bytes, int] = {}

    def read(self) -> tuple[list[str], list[_Section]]:
        counts = self._header()
        words: list[str] = []
        sections = []
        for order, count in enumerate(counts, start=1):
            if order > 1:
                self._expect(f"\\{order}-grams:", f"the header says there are {counts[order - 2]} {order - 1}-grams")
            if order == 1:
                words, section = self._unigrams(count)
            else:
                section = self._section(order, count)
            sections.append(section)
        self._expect("\\end\\", f"the header says there are {counts[-1]} {len(counts)}-grams")
        for _ in self.file:  # a compressed file's checksum stands at its end
            pass
        return words, sections

    def _header(self) -> list[int]:
        """The number of n-grams of each order; leaves the file behind the line of the unigrams."""
        for line in self._lines("\\data\\"):
            if line == b"\\data\\":
                break
            if self.line == 1 and (line.startswith(b"mmap lm") or b"\0" in line):
                self._fail("a binary file; give the ARPA file that it was made of")
        counts: list[int] = []
        for line in self._lines("\\1-grams:"):
            if line.startswith(b"\\"):
                break
            counts.append(self._count(line, len(counts) + 1))
        if line != b"\\1-grams:" or not counts:
            self._fail(f"{_shown(line)} where the number of n-grams or \\1-grams: belongs")
        return counts

    def _count(self, line: bytes, order: int) -> int:
        """Of a line `ngram ORDER=COUNT`."""
        name, _, count = line.removeprefix(b"ngram").partition(b"=")
        if not line.startswith(b"ngram") or name.strip() != str(order).encode() or not count.strip().isdigit():
            self._fail(f"{_shown(line)} where 'ngram {order}=COUNT' belongs")
        if order > MAX_ORDER:
            self._fail(f"the model's order is above {MAX_ORDER}; use one of a lower order")
        return int(count)

    def _lines(self, wanted: str) -> Iterator[bytes]:
        """Lines that are not blank, stripped. Fails at the file's end."""
        for line in self.file:
            self.line += 1
            stripped = line.removeprefix(b"\xef\xbb\xbf").strip()
            if stripped:
                yield stripped
        self._fail(f"the file ends without {wanted}; it is no ARPA file, or cut off")

    def _expect(self, wanted: str, why: str) -> None:
        line = next(self._lines(wanted))
        if line != wanted.encode():
            self._fail(f"{_shown(line)} where {wanted} belongs; {why}")

    def _unigrams(self, count: int) -> tuple[list[str], _Section]:
        tokens: list[bytes] = []
        section = self._section(1, count, tokens)
        words = [self._decode(token, int(line)) for token, line in zip(tokens, section.line, strict=True)]
        for word in (START, END):
            if word not in words:
                raise ModelError(f"{self.path}: the model has no {word}, so that it knows no sentences; give another")
        return words, section

    def _decode(self, token: bytes, line: int) -> str:
        try:
            return token.decode()
        except UnicodeDecodeError:
            self._fail(f"{_shown(token)} is not UTF-8; convert the file", line)

    def _section(self, order: int, count: int, tokens: list[bytes] | None = None) -> _Section:
        """So many n-grams. Unigrams are given numbers, and noted in `tokens`."""
        parts = [_Section(np.zeros((0, order), np.int32), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))]
        left = count
        while left:
            fields = [line.split() for line in islice(self.file, min(left, CHUNK))]
            if not fields:
                self._fail(f"the file ends where {left} more {order}-grams belong; it is cut off")
            lines = np.arange(self.line + 1, self.line + len(fields) + 1)
            self.line += len(fields)
            kept = np.fromiter(map(len, fields), np.int64, len(fields)) > 0
            if not kept.all():  # blank lines
                fields, lines = [line for line in fields if line], lines[kept]
            if fields:
                parts.append(self._parse(fields, lines, order, tokens))
            left -= len(fields)
        return _Section(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Section.__annotations__))

    def _parse(self, fields: _Fields, lines: np.ndarray, order: int, tokens: list[bytes] | None) -> _Section:
        count = np.fromiter(map(len, fields), np.int64, len(fields))
        wrong = np.flatnonzero((count != order + 1) & (count != order + 2))
        if len(wrong):
            self._malformed(fields[wrong[0]], int(lines[wrong[0]]), order)
        if (count == order + 2).any():
            for place in np.flatnonzero(count == order + 1).tolist():
                fields[place].append(b"0")  # the back-off weight that is left out
        columns = list(zip(*fields, strict=True))
        log_prob = self._numbers(columns[0], fields, lines, order)
        if len(above := np.flatnonzero(log_prob > ROUNDING * LN10)):
            self._fail(f"{_shown(columns[0][above[0]])} as log10 of a probability is above 0", int(lines[above[0]]))
        backoff = np.zeros(len(fields))
        if len(columns) == order + 2:
            backoff = self._numbers(columns[-1], fields, lines, order)
        if tokens is not None:
            self._number(columns[1], lines, tokens)
        rows = np.stack([self._ids(column, lines) for column in columns[1 : order + 1]], axis=1)
        return _Section(rows, np.minimum(log_prob, 0), backoff, lines)

    def _numbers(self, texts: Sequence[bytes], fields: _Fields, lines: np.ndarray, order: int) -> np.ndarray:
        """Of logarithms to base 10 the natural ones."""
        try:
            numbers = np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:
            place = next(place for place, text in enumerate(texts) if not _is_number(text))
            self._malformed(fields[place], int(lines[place]), order)
        bad = np.flatnonzero(np.isnan(numbers) | (numbers == np.inf))
        if len(bad):
            self._fail(f"{_shown(texts[bad[0]])} is not a finite number", int(lines[bad[0]]))
        return np.maximum(numbers * LN10, NEVER)

    def _number(self, texts: Sequence[bytes], lines: np.ndarray, tokens: list[bytes]) -> None:
        """Give numbers to the words of unigrams."""
        for text, line in zip(texts, lines, strict=True):
            word = _canonical(text)
            if word in self.ids:
                self._fail(f"the word {_shown(word)} stands here a second time", int(line))
            self.ids[word] = len(tokens)
            tokens.append(word)

    def _ids(self, texts: Sequence[bytes], lines: np.ndarray) -> np.ndarray:
        numbers = np.fromiter(map(self.ids.get, texts, repeat(trie.NONE)), np.int32, len(texts))
        for place in np.flatnonzero(numbers == trie.NONE).tolist():
            number = self.ids.get(_canonical(texts[place]))
            if number is None:
                self._fail(f"the word {_shown(texts[place])} is not among the unigrams", int(lines[place]))
            numbers[place] = number
        return numbers

    def _malformed(self, fields: list[bytes], line: int, order: int) -> NoReturn:
        if fields[0].startswith(b"\\"):
            self._fail(f"{_shown(fields[0])} where more {order}-grams belong, by the header's count", line)
        words = "WORD" if order == 1 else f"{order} WORDS"
        self._fail(f"{_shown(b' '.join(fields))} is not of the form 'NUMBER {words} [NUMBER]'", line)

    def _fail(self, what: str, line: int | None = None) -> NoReturn:
        raise ModelError(f"{self.path}, line {self.line if line is None else line}: {what}")


def _canonical(token: bytes) -> bytes:
    """The special words in their own case."""
    lower = token.lower()
    return lower if lower in {b"<s>", b"</s>", b"<unk>"} else token


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(text: bytes) -> str:
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text.decode(errors="replace"))
    return f"'{shown if len(shown) <= 60 else shown[:57] + '...'}'"


def _assemble(path: Path, words: list[str], sections: Sequence[_Section]) -> NgramModel:
    try:
        grams, places = trie.build(len(words), [section.rows for section in sections[1:]])
    except trie.RepeatedError as error:
        first, second = (int(sections[error.order - 1].line[row]) for row in error.rows)
        raise ModelError(f"{path}, line {second}: the same {error.order}-gram as in line {first}") from None
    log_probs, backoffs = [sections[0].log_prob], [sections[0].backoff]
    for section, place, order in zip(sections[1:], places[1:], grams[1:], strict=True):
        put_in = place == trie.NONE  # they say what backing off says
        by_backing_off = backoffs[-1][order.prefix] + log_probs[-1][order.suffix]
        log_probs.append(np.where(put_in, by_backing_off, section.log_prob[place]))
        backoffs.append(np.where(put_in, 0.0, section.backoff[place]))
    return NgramModel(_spelled(words), grams, log_probs, backoffs[:-1] if len(sections) > 1 else [])


def _spelled(words: list[str]) -> list[str]:
    """Words as texts have them."""
    space = next((mark for mark in SPACES if mark in words), None)
    if space and all(len(word) == 1 for word in words if word not in (*SPECIAL, space)):
        words = [" " if word == space else word for word in words]
    taken = set(words)
    spelled = []
    for word in words:
        normal = word if word in SPECIAL else normalise(word)
        if normal != word and normal and normal not in taken:
            taken.add(normal)
            word = normal
        spelled.append(word)
    return spelled


def write_arpa(model: NgramModel, path: str | Path) -> None:
    """Write a model, whole or not at all; compressed where the name ends in .gz. OSError where it cannot be."""
    path = Path(path)
    raw = io.BytesIO()
    file = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if path.suffix == ".gz" else raw
    file.write(b"\\data\\\n")
    for order, size in enumerate(model.sizes, start=1):
        file.write(f"ngram {order}={size}\n".encode())
    for order in range(1, model.order + 1):
        file.write(f"\n\\{order}-grams:\n".encode())
        for first in range(0, model.sizes[order - 1], CHUNK):
            file.write(_lines(model, order, first, min(first + CHUNK, model.sizes[order - 1])).encode())
    file.write(b"\n\\end\\\n")
    if file is not raw:
        file.close()
    write_atomically(path, raw.getvalue())


def _lines(model: NgramModel, order: int, first: int, last: int) -> str:
    words = [SPACE if word == " " else word for word in model.words]
    rows = trie.rows_of(model.grams, order, first, last).tolist()
    texts = [" ".join([words[number] for number in row]) for row in rows]
    log_probs = (np.maximum(model.log_probs[order - 1][first:last], NEVER) / LN10).tolist()
    if order == model.order:
        return "".join([f"{p:.7g}\t{text}\n" for p, text in zip(log_probs, texts, strict=True)])
    backoffs = (np.maximum(model.backoffs[order - 1][first:last], NEVER) / LN10 + 0.0).tolist()
    return "".join([f"{p:.7g}\t{text}\t{b:.7g}\n" for p, text, b in zip(log_probs, texts, backoffs, strict=True)])
