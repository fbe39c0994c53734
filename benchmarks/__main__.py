"""Run benchmarks by name, or all that need no data of one's own: `python -m benchmarks [NAME …]`."""

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks

NEEDS_NO_DATA = ("seeds", "generation")


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; ``--list`` says what there is.

    Args:
        arguments: names of benchmarks; none means those that need no data.

    Returns:
        0 when every one of them ended well.
    """
    known = {module.name: importlib.import_module(f"benchmarks.{module.name}") for module in pkgutil.iter_modules(benchmarks.__path__)}
    known = {name: module for name, module in known.items() if hasattr(module, "main") and name != "__main__"}
    if "--list" in arguments:
        for name, module in sorted(known.items()):
            print(f"{name:<18} {(module.__doc__ or '').splitlines()[0]}")
        return 0
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        print(
            f"no benchmark {', '.join(unknown)}; there are {', '.join(sorted(known))} (`python -m benchmarks --list`). "
            "Options go to one benchmark at a time: `python -m benchmarks.NAME --help`.",
            file=sys.stderr,
        )
        return 2
    return max([known[name].main([]) for name in (arguments or NEEDS_NO_DATA)], default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
