"""What `scripts/synthesise.py` says, and who says it.

phrases  sentences out of texts; spelled words, numbers, dates and commands made up
voices   the engines and their voices
sound    what an engine gives, made like a recording
"""
