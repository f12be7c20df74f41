"""`python -m unimo`: the command line without the installed script."""

from __future__ import annotations

from unimo.cli.main import run

if __name__ == "__main__":
    run()
