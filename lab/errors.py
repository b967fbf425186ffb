"""The one error that the lab's users see."""


class LabError(Exception):
    """Something a person can act on: one line that says what is wrong and what to do."""
