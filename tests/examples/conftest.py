"""The examples are no packages: they are imported as they are run, from the project's folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
