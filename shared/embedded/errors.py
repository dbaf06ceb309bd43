"""What can stand in the way of `atelier up`, each with its remedy in the message."""

from shared.errors import Permanent


class EmbeddedError(Permanent):
    """The embedded installation cannot run as it is."""

    code = "embedded"
    status = 500


class EngineMissing(EmbeddedError):
    """No binary of an engine was found."""


class EngineFailed(EmbeddedError):
    """An engine was started and did not come up."""


class AddressInUse(EngineFailed):
    """Another process took the engine's port between the choice and the start."""


class DataDamaged(EmbeddedError):
    """A data folder lacks what every data folder has."""


class DataVersion(EmbeddedError):
    """A data folder was made by another major version of the engine."""


class DiskFull(EmbeddedError):
    """There is not enough free space for an engine to work."""


class HomeBusy(EmbeddedError):
    """Another process runs on this home."""


class HomeUnusable(EmbeddedError):
    """The home cannot be written, or the engine's user cannot enter it."""


class PortTaken(EmbeddedError):
    """A port that was asked for cannot be listened to."""


class ProgramFailed(EmbeddedError):
    """A program stopped again and again before it was ready, or never became ready."""
