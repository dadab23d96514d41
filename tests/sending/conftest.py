"""Let the tests of this directory import its virtual time and its scripted network: tests are no packages."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
