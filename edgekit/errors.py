"""What edgekit raises for a user's mistake or a broken input: one class a cause, one line a message.

Every message says what was expected, what was found and what to do next. The command line prints it after
``edgekit:`` and exits with status 1; a library caller catches `EdgekitError`. Anything else that escapes is a fault
of edgekit itself.
"""


class EdgekitError(Exception):
    """Base of all errors that a user can cause or cure; ``str(error)`` is one line."""


class ModelNotFoundError(EdgekitError):
    """A model name, recipe or bundle path that does not exist."""


class SourceError(EdgekitError):
    """A checkpoint that cannot be reached, or whose files are truncated, corrupted or hostile."""


class UnsupportedError(EdgekitError):
    """An architecture or option that edgekit does not implement; names every such option at once."""


class BundleError(EdgekitError):
    """A bundle that is missing, damaged, hostile or of an unknown schema version."""


class OutputError(EdgekitError):
    """An output that exists already or cannot be written."""


class InputError(EdgekitError):
    """Text, ids or options given to a model or a measurement that it cannot take."""


class QualityError(EdgekitError):
    """A bundle that loses more than its budget against fp32, or of which the text at hand can't tell."""


class CancelledError(EdgekitError):
    """Work that its caller ended."""


class DeadlineError(EdgekitError):
    """Work that took longer than its caller allowed."""


class MissingExtraError(EdgekitError):
    """A part of edgekit whose optional dependencies are not installed."""
