"""The exceptions a user can meet: each says what is wrong, where the program looked, and what to do next."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """ "1 file", "2 files", "1,000 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class UniMoError(Exception):
    """Base of every error that is the user's to mend: printed without a traceback, exit code 2."""

    def __init__(self, what: str, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        lines = [what]
        if where:
            lines.append(f"  looked: {where}")
        if fix:
            lines.append(f"  try: {fix}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple:
        return type(self), (self.what, self.where, self.fix)


class InputError(UniMoError):
    """A file or an argument of the user is missing, unreadable or out of range."""


class MissingAssetError(UniMoError):
    """Something that is licensed or optional (a body file, a library, a bundle) is not on this machine."""


class ConfigError(UniMoError):
    """A configuration has an unknown key, a wrong type or an impossible combination."""


class CheckpointError(UniMoError):
    """A bundle or checkpoint is damaged, incomplete or does not fit the model."""


class TrainingError(UniMoError):
    """A training run met a loss that is not finite or a step that explodes."""
