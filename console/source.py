"""Where a console's pictures come from: a running pair, or a recording of one.

Decides how time passes in either. The screens cannot tell the difference, but for what the header
says.
"""

from __future__ import annotations

from pathlib import Path

from ..shared.config import Config
from .clock import Clock
from .draw.lines import Tone
from .feed import Feed
from .inputs import Acted
from .model import Model, Setting
from .player import Player
from .recorder import Recorder, read_recording
from .view import View
from .words import age_text

MAX_STEP_S = 1.0  # of one tick of a replay: a console that was suspended does not jump


def setting_of(config: Config) -> Setting:
    """What the model needs of a configuration."""
    one, two = config.nodes
    return Setting((one, two), config.cluster, config.timing.telemetry_interval_ms / 1_000)


class LiveSource:
    """A pair. `record` keeps what is heard in a file."""

    is_live = True

    def __init__(self, config: Config, record: Path | None = None) -> None:
        self.clock = Clock()
        setting = setting_of(config)
        self.model = Model(setting)
        self.recorder = Recorder(record, setting, self.clock.now()) if record else None
        self._feed = Feed(config, self.clock)

    def start(self) -> None:
        self._feed.start()

    def stop(self) -> None:
        self._feed.stop()
        if self.recorder is not None:
            for told in self._feed.take():
                self.recorder.write(told)
            self.recorder.close()

    def tell(self, acted: Acted) -> None:
        """Something was done in this console."""
        self._feed.tell(acted)

    def tick(self) -> View:
        """Everything that was heard since the last tick, and the picture of now."""
        for told in self._feed.take():
            self.model.fold(told)
            if self.recorder is not None:
                self.recorder.write(told)
        now = self.clock.now()
        self.model.advance(now)
        return self.model.view(now)

    def marks(self) -> list[tuple[str, Tone]]:
        """What the header says of the source."""
        if self.recorder is None:
            return []
        if self.recorder.trouble:
            return [(f" {self.recorder.trouble} ", Tone.ALARM)]
        return [("● REC", Tone.BAD)]


class ReplaySource:
    """A recording."""

    is_live = False

    def __init__(self, path: Path, seek_s: float = 0.0) -> None:
        self.clock = Clock()
        self.player = Player(read_recording(path))
        self.player.skip(seek_s)
        self._ticked = self.clock.now()

    @property
    def model(self) -> Model:
        return self.player.model

    def start(self) -> None:
        self._ticked = self.clock.now()

    def stop(self) -> None:
        """There is nothing to end."""

    def tell(self, acted: Acted) -> None:
        """What is done in a replay is not kept."""

    def tick(self) -> View:
        now = self.clock.now()
        self.player.play(min(MAX_STEP_S, max(0.0, now - self._ticked)))
        self._ticked = now
        return self.player.model.view(self.player.at)

    def marks(self) -> list[tuple[str, Tone]]:
        player = self.player
        how = "paused" if player.paused else f"x{player.speed:g}"
        into = age_text(player.at - player.recording.begins)
        return [(f"REPLAY {how} +{into}", Tone.WARN)]


Source = LiveSource | ReplaySource
