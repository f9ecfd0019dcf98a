"""The errors a user of sweeps can meet."""


class SpecError(ValueError):
    """A study's description cannot be run as it stands; nothing was started or written."""


class StudyError(ValueError):
    """A study's folder does not fit what is asked of it."""
