"""`interlock log repair`: makes a stopped node's damaged journal whole from the other node's copy.

Decides how the other node is asked, and how long it is waited for. What is damaged, what fits and
what is replaced is decided in `shared.journal.repair`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..shared.config import Config, load_config
from ..shared.errors import Reason, RemoteError, UserError
from .common import DEFAULT_CONFIG, AsJson, ConfigPath
from .output import print_json

if TYPE_CHECKING:
    from ..shared.journal import RepairReport
    from ..shared.wire import Position


def repair(
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="The stopped node whose journal is damaged.")
    ],
    config: ConfigPath = DEFAULT_CONFIG,
    timeout: Annotated[
        float, typer.Option(min=0.05, help="Seconds to wait for each answer of the other node.")
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Make the damaged journal of a stopped node whole, with records of the other node.

    The other node must run. All good records stay; what is damaged or missing is fetched, and must
    fit at both ends. The repaired journal is verified as a whole before anything is replaced; the
    damaged files are kept in the quarantine folder of the data directory.
    """
    from ..shared.clock import wall_ns
    from ..shared.journal import repair as repair_journal
    from ..shared.state import DataDir

    loaded = load_config(config)
    path = loaded.data_dir(node)
    if not path.is_dir():
        raise UserError(f"node {node} has no data directory {path}; there is nothing to repair")
    try:
        data = DataDir(path, loaded.cluster, node)
    except UserError as error:
        raise _still_running(loaded, node) or error from None
    try:
        with _Peer(loaded, node, timeout) as peer, _Bar(shown=not as_json) as bar:
            size = loaded.limits.segment_bytes
            report = repair_journal(path, size, peer.fetch, bar.progress, wall_ns())
    finally:
        data.close()
    if as_json:
        print_json(report)
    else:
        for line in report_lines(report):
            typer.echo(line)


def _still_running(config: Config, node: str) -> UserError | None:
    """What to do about a node that holds its data directory as FAILED; None: it does not."""
    from ..client.control import ask_node

    status = ask_node(config, node)
    if status is None or status.node != node or status.state != "FAILED":
        return None
    return UserError(
        f"node {node} runs as FAILED (pid {status.pid}) and holds its data directory; stop it "
        f"first, with: interlock shutdown {node}, and repair it then; or let it stream the whole "
        f"log again, as it runs: interlock reinstate {node} --reseed"
    )


def report_lines(report: RepairReport) -> list[str]:
    """What was found and done, for people."""
    seqs = f"seq {report.first_seq:,} to {report.last_seq:,}"
    if not report.damage:
        return [f"{report.directory}: nothing is damaged ({seqs}); nothing was changed"]
    fetched = f"{report.fetched_messages:,} messages in {report.fetched_records:,} records"
    lines = [
        f"{report.directory}: repaired and verified, {seqs}",
        f"  damage    {report.damage}",
        f"  fetched   {fetched}, {report.fetched_bytes:,} bytes",
    ]
    lines += [f"  rebuilt   {name}" for name in report.rebuilt]
    lines += [f"  removed   {name}" for name in report.removed if name not in report.rebuilt]
    if report.set_aside:
        lines.append(f"  originals quarantine/{report.set_aside}")
    return lines


class _Peer:
    """The other node, asked over its control socket."""

    def __init__(self, config: Config, node: str, timeout: float) -> None:
        self._config = config
        self._node = node
        self._name = config.peer_of(node)
        self._timeout = timeout

    def __enter__(self) -> _Peer:
        from ..client.dealer import Dealer
        from ..shared.credentials import credentials

        # The peer gives a tail to its peer alone, so this speaks with the key of the node.
        who = credentials(self._config, key=self._node)
        self._dealer = Dealer(self._config.node(self._name).control, who)
        return self

    def __exit__(self, *_: object) -> None:
        self._dealer.close()

    def fetch(self, after: Position) -> bytes:
        """Records after `after`; see `repair`. Raises UserError if the node does not answer."""
        from ..shared.commands import ControlReply, PeerFetch, PeerTail
        from ..shared.messages import PROTOCOL_VERSION, Codec, Refused, encode

        question = PeerFetch(PROTOCOL_VERSION, self._config.cluster, self._node, after)
        self._dealer.send(encode(question))
        frame = self._dealer.receive(self._timeout)
        if frame is None:
            raise UserError(
                f"node {self._name} does not answer at {self._config.node(self._name).control} "
                f"within {self._timeout:g} s; nothing was changed; a repair needs it running: "
                "start it and repair again"
            )
        replies: Codec[ControlReply] = Codec(ControlReply)
        reply = replies.decode(frame)
        if isinstance(reply, Refused):
            raise RemoteError(reply.reason, reply.text)
        if not isinstance(reply, PeerTail) or reply.after != after:
            raise RemoteError(Reason.MALFORMED, f"node {self._name} answered another question")
        return reply.records


class _Bar:
    """A progress bar on a terminal; nothing where nobody watches."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()

    def __enter__(self) -> _Bar:
        if self._shown:
            from rich.console import Console
            from rich.progress import Progress

            self._bars = Progress(console=Console(stderr=True))
            self._task = self._bars.add_task("repairing", total=None)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bars.stop()

    def progress(self, done: int, total: int) -> None:
        if self._shown:
            self._bars.update(self._task, completed=done, total=total)
