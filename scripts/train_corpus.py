"""Train a model through Python, and score it on other speech.

    python scripts/train_corpus.py an4 an4:corpora/an4:train an4:corpora/an4:test runs/an4

The first argument is a configuration: a name (default, an4, en, tiny) or a TOML file.
"""

import sys

import asr

if len(sys.argv) != 5 or "--help" in sys.argv:
    sys.exit(__doc__)
name, train_corpus, test_corpus, out = sys.argv[1:]
try:
    config = asr.load_config(name, {"schedule.epochs": 20})
    train, dev = asr.split_by_speaker(asr.open_corpus(train_corpus))
    model = asr.train(config, train, dev, out)
    result = asr.evaluate(asr.Recognizer(model), asr.open_corpus(test_corpus))
except asr.AsrError as error:
    sys.exit(str(error))
for utterance, reason in result.failures:
    print(f"{utterance}: {reason}; left out", file=sys.stderr)
print(f"word error rate {result.score.wer:.1%}, character error rate {result.score.cer:.1%}")
