"""bench/ is a folder of scripts: its modules are imported by their bare names, as the scripts do."""

import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"

if str(BENCH) not in sys.path:
    sys.path.append(str(BENCH))
