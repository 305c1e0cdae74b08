"""Transcribe a folder through Python: words with their times, as CSV on stdout.

python scripts/transcribe_folder.py samples
"""

import csv
import sys

import asr
from asr.audio import find

recognizer = asr.load("en")
table = csv.writer(sys.stdout)
table.writerow(["file", "start", "end", "word", "confidence"])
for path, result in recognizer.transcribe_many(find(sys.argv[1:])):
    if isinstance(result, asr.AsrError):
        print(result, file=sys.stderr)
        continue
    for word in result.words:
        table.writerow([path, f"{word.start:.2f}", f"{word.end:.2f}", word.text, f"{word.confidence:.2f}"])
