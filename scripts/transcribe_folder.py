"""Transcribe a folder through Python: words with their times, as CSV on stdout.

python scripts/transcribe_folder.py samples
"""

import csv
import sys

import asr
from asr.audio import find

if not sys.argv[1:]:
    sys.exit(__doc__)
try:
    recordings = find(sys.argv[1:])
except asr.AsrError as error:
    sys.exit(str(error))
failed = 0
recognizer = asr.load("en")
table = csv.writer(sys.stdout)
table.writerow(["file", "start", "end", "word", "confidence"])
for path, result in recognizer.transcribe_many(recordings):
    if isinstance(result, asr.AsrError):
        print(result, file=sys.stderr)
        failed += 1
        continue
    for word in result.words:
        table.writerow([path, f"{word.start:.2f}", f"{word.end:.2f}", word.text, f"{word.confidence:.2f}"])
sys.exit(1 if failed else 0)
