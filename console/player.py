"""Plays a recording through the model: pause, speed, and seeking to any time. Pure.

Decides what the model has been told at a time of the recording. Going forward folds what is next;
going back begins again from the start, since rates and alarms depend on all that came before.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from .model import Model
from .recorder import Recording

SPEEDS: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Player:
    """A recording and a place in it. `model` is replaced when it goes back."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.model = Model(recording.setting)
        self.at = recording.begins
        self.paused = False
        self.speed = 1.0
        self._folded = 0
        self._times = [told.at for told in recording.inputs]
        self.seek(recording.begins)

    @property
    def ended(self) -> bool:
        return self.at >= self.recording.ends

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        length = self.recording.ends - self.recording.begins
        return (self.at - self.recording.begins) / length if length else 1.0

    def play(self, seconds: float) -> None:
        """Goes on by so many seconds of the person who watches."""
        if not self.paused:
            self.seek(self.at + seconds * self.speed)

    def skip(self, seconds: float) -> None:
        """Goes by so many seconds of the recording, back if negative."""
        self.seek(self.at + seconds)

    def faster(self, *, by: int = 1) -> None:
        """The next higher speed, or a lower one."""
        place = SPEEDS.index(self.speed) + by
        self.speed = SPEEDS[min(max(place, 0), len(SPEEDS) - 1)]

    def seek(self, at: float) -> None:
        """Goes to a time of the recording."""
        at = min(max(at, self.recording.begins), self.recording.ends)
        if at < self.at:
            self.model, self._folded = Model(self.recording.setting), 0
        end = bisect_right(self._times, at)
        for told in self.recording.inputs[self._folded : end]:
            self.model.advance(told.at)
            self.model.fold(told)
        self._folded = end
        self.at = at
        self.model.advance(at)
