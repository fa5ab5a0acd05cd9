"""The journal: an append-only, preallocated, self-checking copy of the log on disk.

In the order of reading: `segment` (files), `scan` (where a log ends), `index`, `checkpoint`,
`disk`, `recovery`, `sync` (the helper thread), `lookup`, `writer` (a running node's journal); for
operations `tail` (what lies beyond a place), `quarantine` and `cut`; and for tools `reader`
(another process's journal), `audit` (verify), `comparison` (diff), and `salvage`, `assemble`,
`rebuild` and `repair`.
"""

from .audit import Damage, Report, verify
from .comparison import Comparison, Difference, diff
from .cut import cut_after, set_aside
from .disk import Disk
from .quarantine import QuarantineStore
from .reader import CheckpointInfo, JournalReader, SegmentInfo
from .repair import RepairReport, repair
from .scan import TornTail
from .tail import summarize
from .writer import Journal

__all__ = [
    "CheckpointInfo",
    "Comparison",
    "Damage",
    "Difference",
    "Disk",
    "Journal",
    "JournalReader",
    "QuarantineStore",
    "RepairReport",
    "Report",
    "SegmentInfo",
    "TornTail",
    "cut_after",
    "diff",
    "repair",
    "set_aside",
    "summarize",
    "verify",
]
