"""The import rule of the repository, held by walking the import statements."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {
    "ar_model": ROOT / "ar_model",
    "motion_tokenizer": ROOT / "tokenizers/motion_tokenizer",
    "visual_tokenizer": ROOT / "tokenizers/visual_tokenizer",
}
# Left to right: a level may import what stands to its right, and itself, except siblings inside one level.
LEVELS: list[set[str]] = [
    {"tools"},
    {"unimo.cli"},
    {"unimo.training"},
    {"unimo.evaluation"},
    {"unimo.consistency"},
    {"unimo.pipeline", "unimo.enhance"},
    {"unimo.result", "unimo.options"},
    {"unimo.data"},
    {"unimo.synth"},
    {"unimo.render", "unimo.cosmos", "unimo.text"},
    {"unimo.bundle", "unimo.metrics", "unimo.cosmos_files", "unimo.cosmos_ar"},
    {"unimo.motion"},
    {"unimo.body"},
    {"unimo.media", "unimo.geometry"},
    set(LEAVES),
]
# What everything of `unimo` may import: it stands below all levels.
FOUNDATION = {"unimo.errors", "unimo.config", "unimo.assets", "unimo.files", "unimo.weights"}
FOUNDATION |= {"unimo.config_errors", "unimo.defaults", "unimo.programs", "unimo.extras"}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module named by an import statement of a file, however deep it stands, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:  # a relative import stays inside its package
            yield node.module or "", node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def part_of(module: str) -> str | None:
    """The part a dotted name belongs to: "unimo.motion", "ar_model"; None for foreign modules and `unimo` itself."""
    words = module.split(".")
    if words[0] == "unimo":
        return ".".join(words[:2]) if len(words) > 1 else None
    return words[0] if words[0] in LEAVES or words[0] == "tools" else None


def level_of(part: str) -> int | None:
    return next((index for index, level in enumerate(LEVELS) if part in level), None)


def files() -> list[tuple[str, Path]]:
    found = [(name, path) for name, folder in LEAVES.items() for path in folder.rglob("*.py")]
    found += [("tools", path) for path in (ROOT / "tools").rglob("*.py")]
    for path in (ROOT / "unimo").rglob("*.py"):
        words = path.relative_to(ROOT).with_suffix("").parts
        if words[1] not in ("__init__", "__main__"):
            found.append((f"unimo.{words[1]}", path))
    return found


def broken_rules() -> list[str]:
    broken = []
    for part, path in files():
        for module, line in imports(path):
            other = part_of(module)
            if other is None or other == part:
                continue
            place = f"{path.relative_to(ROOT)}:{line} imports {module}"
            mine, theirs = level_of(part), level_of(other)
            if part in LEAVES:
                broken.append(f"{place}: a leaf imports nothing of ours")
            elif part in FOUNDATION:
                if other not in FOUNDATION:
                    broken.append(f"{place}: the foundation imports nothing of ours")
            elif mine is None:
                broken.append(f"{place}: {part} has no level")
            elif other not in FOUNDATION and theirs is not None and theirs <= mine:
                broken.append(f"{place}: {other} stands to the left of {part}")
    return broken


def test_imports_go_one_way() -> None:
    assert broken_rules() == []


def test_every_part_has_a_level() -> None:
    parts = {part for part, _ in files()} - FOUNDATION - set(LEAVES)
    assert {part for part in parts if level_of(part) is None} == set()


def test_leaves_touch_neither_files_nor_network() -> None:
    banned = {"huggingface_hub", "requests", "urllib", "socket", "pathlib", "shutil", "yaml"}
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for name, folder in LEAVES.items()
        for path in folder.rglob("*.py")
        for module, line in imports(path)
        if module.split(".")[0] in banned
    ]
    assert found == []


@pytest.mark.parametrize("file", ["tools/x.py"])
def test_the_walk_sees_nested_imports(tmp_path: Path, file: str) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from unimo.cli import main\n    import unimo.training.loop\n")
    assert {name for name, _ in imports(path)} == {"unimo.cli", "unimo.cli.main", "unimo.training.loop"}


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_hugging_face_tokenizers_is_not_shadowed() -> None:
    origin = run_python("import sys; sys.path.insert(0, ''); import tokenizers; print(tokenizers.__file__)")
    assert "site-packages" in origin
    assert not (ROOT / "tokenizers" / "__init__.py").exists()


def test_import_unimo_is_cheap() -> None:
    heavy = "{'torch', 'numpy', 'diffusers', 'transformers', 'pyrender', 'av', 'pydantic'}"
    assert run_python(f"import sys; sys.path.insert(0, ''); import unimo; print({heavy} & set(sys.modules))") == "set()"


def test_the_command_line_shows_help_without_torch() -> None:
    code = "import sys; sys.path[:0] = ['', 'tokenizers']; import unimo.cli.main; print('torch' in sys.modules)"
    assert run_python(code) == "False"
