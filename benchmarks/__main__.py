"""Run benchmarks by name: `python -m benchmarks [NAME …]`.

Without a name: the two that need neither data nor anything that is trained, seeds and generation.
"""

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks

UNNAMED = ("seeds", "generation")


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; ``--list`` says what there is.

    Args:
        arguments: names of benchmarks; none means `UNNAMED`.

    Returns:
        0 when every one of them ended well.
    """
    known = _told()
    if "--list" in arguments:
        for name, line in sorted(known.items()):
            print(f"{name:<18} {line}")
        return 0
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        print(
            f"no benchmark {', '.join(unknown)}; there are {', '.join(sorted(known))} (`python -m benchmarks --list`). "
            "Options go to one benchmark at a time: `python -m benchmarks.NAME --help`.",
            file=sys.stderr,
        )
        return 2
    return max([importlib.import_module(f"benchmarks.{name}").main([]) for name in (arguments or UNNAMED)], default=0)


def _told() -> dict[str, str]:
    """Name → first line of each benchmark, read and not imported: some need packages that Adloom does without."""
    found = {}
    for folder in map(Path, benchmarks.__path__):
        for path in (*folder.glob("*.py"), *folder.glob("*/__init__.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in tree.body):
                name = path.parent.name if path.name == "__init__.py" else path.stem
                found[name] = (ast.get_docstring(tree) or "").split("\n")[0]
    return {name: line for name, line in found.items() if name != "__main__"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
