"""What `scripts/benchmark.py` measures, and how.

cases       what is compared, with the targets
cuda_cases  the same on a GPU
cuda_model  the time that a GPU should take, from operations, bytes and instructions
compare     rounds in turn over the contenders, medians
processes   a contender's own process, seen from the one that asks it
worker      the same process from inside
ours, torch_rival, onnx_rival, librosa_rival    what a contender does for each task
startup     starts of the command line
speech      real recordings as batches
report      rows as a table, as JSON, as Markdown
"""
