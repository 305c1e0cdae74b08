"""`python -m asr`: the command line."""

from asr.cli import main

main()
