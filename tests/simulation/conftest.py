"""Let the simulation import its own parts, and the virtual time of the engine's tests."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "sending")]
