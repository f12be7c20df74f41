"""Programs of the user's own that UniMo runs as processes: what the environment says of an installation of one.

In: two environment variables, of the folder (a checkout) and, if the usual command will not do, of the command line.
Out: the folder, the command and its words. Whoever runs them says what they mean: `unimo.enhance`, the extractors.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from unimo.errors import InputError, MissingAssetError


@dataclass(frozen=True)
class Program:
    """A program that somebody may have installed.

    Attributes:
        name: what people call it.
        folder_variable: environment variable of the checkout, in which the command runs.
        command_variable: environment variable of the command, which may be unset.
        command: the usual one; its words are split as a shell would but run without one, with {names} filled in.
        needed: the names that every command must have.
        help: where to read how it is installed.
    """

    name: str
    folder_variable: str
    command_variable: str
    command: str
    needed: tuple[str, ...]
    help: str

    def from_environment(self) -> tuple[Path, str]:
        """The folder and the command; neither is looked at.

        Raises:
            MissingAssetError: the variable of the folder is not set.
        """
        folder = os.environ.get(self.folder_variable)
        if not folder:
            where = f"the environment variable {self.folder_variable}"
            fix = f"export {self.folder_variable}=FOLDER with your checkout of {self.name}; {self.help}"
            raise MissingAssetError(f"{self.name} is not configured", where, fix)
        return Path(folder).expanduser().absolute(), os.environ.get(self.command_variable) or self.command

    def words(self, command: str, **values: object) -> list[str]:
        """The words of a command with the values filled in.

        Raises:
            InputError: it does not name what it must, or is malformed.
        """
        fix = f"as {self.command!r}"
        for name in self.needed:
            if f"{{{name}}}" not in command:
                what = f"the command of {self.name} does not name {{{name}}}"
                raise InputError(what, self.command_variable, fix)
        try:
            return [word.format(**values) for word in shlex.split(command)]
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            what = f"the command of {self.name} is malformed ({type(error).__name__}: {error})"
            raise InputError(what, self.command_variable, fix) from error

    def check_program(self, folder: Path, word: str) -> None:
        """Sees that the first word of a command can be started.

        Raises:
            MissingAssetError: there is no such program.
        """
        # the shell's rule: a name with a slash is a path, here from the checkout
        if shutil.which(str(folder / word) if "/" in word else word) is None:
            fix = f"give the whole path in {self.command_variable}; {self.help}"
            raise MissingAssetError(f"the program {word!r} that runs {self.name} is not there", "PATH", fix)


def environment_of(folder: Path) -> dict[str, str]:
    """The environment of a process that finds the packages of its checkout: the folder is first in PYTHONPATH."""
    paths = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths}
