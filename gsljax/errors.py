"""What a user of gsljax is meant to read when something stops."""


class UserError(ValueError):
    """Something the user gave cannot be used: one sentence naming it, its value and what is allowed.

    The command line prints the sentence and exits with status 2; a Python caller sees an ordinary `ValueError`.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a run was under way; the message says how to go on."""


class TimeIsUp(Exception):
    """The minutes that a run was given are over; everything is saved, and the message says how to go on."""
