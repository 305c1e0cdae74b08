"""Everything that can go wrong and is not a bug.

    AsrError
      UsageError        an argument or a configuration that cannot work
      AudioError        a sound file that cannot be read or holds nothing to recognise
      CorpusError       labelled speech that is missing, malformed or inconsistent
      ModelError        a model or checkpoint file that is damaged, foreign or does not fit
      TrainingError     a training run that cannot go on
      DeviceError       a device whose memory does not hold what it was given
      OutputError       a result that cannot be written

A message is one sentence that says what is wrong, where (file, utterance, key) and what to do. The command
line prints it and exits with `exit_code`; a bug's traceback is left alone.
"""


class AsrError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 1


class UsageError(AsrError):
    """A wrong argument, option or configuration value."""

    exit_code = 2


class AudioError(AsrError):
    """A sound file that is missing, damaged, empty, too short, or not finite."""


class CorpusError(AsrError):
    """A corpus that is missing, malformed or inconsistent."""


class ModelError(AsrError):
    """A model or checkpoint file that is damaged, foreign or does not fit."""


class TrainingError(AsrError):
    """A training run that cannot go on."""


class DeviceError(AsrError):
    """A device whose memory does not hold what it was given."""


class OutputError(AsrError):
    """A result that cannot be written."""
