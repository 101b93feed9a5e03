"""Write what is new: models and presets without a file, new versions, new options.

What changed under an old version is not overwritten: that is the mistake these files are for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.golden import (
    DEFAULTS,
    WITH_DEFAULTS,
    complaint,
    default_complaint,
    defaults_of,
    kept_files,
    read,
)


def main() -> int:
    """Exit code 1 where something changed without a new version."""
    refused = []
    for path, make in kept_files().items():
        kept, now = read(path), make()
        said = complaint(kept, now, path.stem)
        if "version is still" in said:
            refused.append(said)
        elif said:
            write(path, now)
    kept_defaults = read(DEFAULTS) or {}
    for name in WITH_DEFAULTS:
        said = default_complaint(kept_defaults.get(name), defaults_of(name), name)
        if "version is still" in said:
            refused.append(said)
        elif said:
            kept_defaults[name] = defaults_of(name)
    write(DEFAULTS, {name: kept_defaults[name] for name in sorted(kept_defaults)})
    print("\n".join(refused), file=sys.stderr)
    return bool(refused)


def write(path: Path, content: Any) -> None:
    """Write as text that a diff can show."""
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(path.name)


if __name__ == "__main__":
    sys.exit(main())
