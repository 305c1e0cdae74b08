"""Language models: how likely a sentence is, by the last few words before each word (or characters).

read_arpa, write_arpa   ARPA files, of any toolkit
NgramModel, Automaton   probabilities with back-off, and the same as arrays that a kernel walks
build                   a model from texts: counts, smoothing, interpolation, pruning
"""

from asr.language.arpa import read_arpa, write_arpa
from asr.language.ngram import Automaton, NgramModel, Score

__all__ = ["Automaton", "NgramModel", "Score", "read_arpa", "write_arpa"]
