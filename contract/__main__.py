"""``python -m contract``: write docs/contract/ anew. ``--check`` writes nothing, and tells."""

import argparse
import sys
from pathlib import Path

from contract.files import files, stale

ROOT = Path(__file__).parents[1] / "docs" / "contract"


def main() -> None:
    """Write the files, or exit with 1 where one is stale."""
    parser = argparse.ArgumentParser(prog="python -m contract", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where one is stale")
    if parser.parse_args().check:
        found = stale(ROOT)
        if found:
            sys.exit(f"stale: {', '.join(found)}: run python -m contract, and commit docs/contract")
        return
    made = files()
    for path in ROOT.rglob("*.json"):
        if str(path.relative_to(ROOT)) not in made:
            path.unlink()
    for name, text in made.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sys.stdout.write(f"{len(made)} files in {ROOT}\n")


if __name__ == "__main__":
    main()
