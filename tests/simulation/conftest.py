"""Let the simulation import the virtual time and the scripted network of the engine's tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "sending"))
