"""The journal: an append-only, preallocated, self-checking copy of the log on disk.

In the order of reading: `segment` (files), `scan` (where a log ends), `index`, `checkpoint`,
`disk`, `recovery`, `sync` (the helper thread), `lookup`, `writer` (a running node's journal); and
for tools `reader` (another process's journal), `audit` (verify) and `comparison` (diff).
"""

from .audit import Damage, Report, verify
from .comparison import Comparison, Difference, diff
from .disk import Disk
from .reader import CheckpointInfo, JournalReader, SegmentInfo
from .scan import TornTail
from .writer import Journal

__all__ = [
    "CheckpointInfo",
    "Comparison",
    "Damage",
    "Difference",
    "Disk",
    "Journal",
    "JournalReader",
    "Report",
    "SegmentInfo",
    "TornTail",
    "diff",
    "verify",
]
