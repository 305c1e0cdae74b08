"""Train a model through Python, score it, and use it.

python scripts/train_corpus.py an4:corpora/an4:train an4:corpora/an4:test runs/an4
"""

import sys

import asr
import kernels

train_corpus, test_corpus, out = sys.argv[1:]
config = asr.load_config("an4", {"network.hidden": 128, "schedule.epochs": 20})
train, dev = asr.split_by_speaker(asr.open_corpus(train_corpus), config.dev_every)
model = asr.train(config, train, dev, out, kernels.open_backend())

recognizer = asr.Recognizer(model)
result = asr.evaluate(recognizer, asr.open_corpus(test_corpus))
print(f"word error rate {result.score.wer:.1%}, character error rate {result.score.cer:.1%}")
