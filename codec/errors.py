"""Every error that Warpcall raises on purpose, as one tree.

    WarpcallError
    |-- ConfigError             a setting out of range (also a ValueError)
    |-- WeightsError            weights absent, damaged, or of another config
    |-- CodecError              bytes from the network that cannot be decoded
    |   |-- BitstreamError      truncated, corrupt or oversized
    |   |-- VersionError        a wire version that this build does not speak
    |   |-- ModelMismatchError  coded for another model
    |   `-- MissingBaseError    predicted from a frame that was never received
    |-- ReferenceImageError     no usable reference image
    |-- FaceNotFoundError       no face where one is needed
    |-- CaptureError            camera, microphone or file cannot be read
    |-- SignallingError         the peer cannot be reached or refuses the call
    |-- OutputError             a picture or recording cannot be written
    |-- TrainingError           data, loss weights or a run that cannot go on
    `-- PluginError             aiortc lacks a seam that the plug-in needs

Command lines print the message of a ``WarpcallError`` as one line and exit with 1.
"""


class WarpcallError(Exception):
    """Base of every error that Warpcall raises on purpose."""


class ConfigError(WarpcallError, ValueError):
    """A setting is out of range; the message names it and its value."""


class WeightsError(WarpcallError):
    """Weights are absent, damaged, or belong to another config."""


class CodecError(WarpcallError):
    """Bytes from the network cannot be decoded."""


class BitstreamError(CodecError):
    """A message is truncated, corrupt or larger than any valid one."""


class VersionError(CodecError):
    """A message has a wire version that this build does not speak."""


class ModelMismatchError(CodecError):
    """A message was coded for another model than the one loaded."""


class MissingBaseError(CodecError):
    """A predicted frame names a base that was never received."""


class ReferenceImageError(WarpcallError):
    """A reference image is missing, unreadable or has no face."""


class FaceNotFoundError(WarpcallError):
    """No face was found where one is needed."""


class CaptureError(WarpcallError):
    """A camera, microphone or media file cannot be read."""


class SignallingError(WarpcallError):
    """The peer cannot be reached or refuses the call."""


class OutputError(WarpcallError):
    """A picture, page or recording cannot be written."""


class TrainingError(WarpcallError):
    """Training data, loss weights or a run that cannot go on."""


class PluginError(WarpcallError):
    """aiortc lacks a seam that the plug-in needs."""
