"""Colours and layout: the only place where either is decided.

A tone is always told by words or shapes as well, so that NO_COLOR and colour-blind eyes lose
nothing. Both themes keep the meaning: green is as it should be, yellow shrinks, red is gone.
"""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

from .draw.lines import Tone

DARK: Final = Theme(
    name="interlock-dark",
    primary="#5fafd7",
    secondary="#87afaf",
    accent="#5fd7d7",
    success="#87d75f",
    warning="#ffd75f",
    error="#ff6f6f",
    foreground="#d7dbe0",
    background="#101418",
    surface="#161b21",
    panel="#1f262e",
    dark=True,
)
LIGHT: Final = Theme(
    name="interlock-light",
    primary="#005f87",
    secondary="#3a5f5f",
    accent="#00617a",
    success="#2a6f00",
    warning="#7a5200",
    error="#b00020",
    foreground="#1b1f23",
    background="#f6f6f3",
    surface="#ffffff",
    panel="#e6e8ea",
    dark=False,
)
THEMES: Final = (DARK, LIGHT)

STYLES: Final[dict[Tone, str]] = {
    Tone.PLAIN: "",
    Tone.DIM: "$foreground 60%",
    Tone.LABEL: "$secondary",
    Tone.TITLE: "bold $primary",
    Tone.GOOD: "$success",
    Tone.WARN: "bold $warning",
    Tone.BAD: "bold $error",
    Tone.ACCENT: "bold $accent",
    Tone.ALARM: "bold reverse $error",
}

CSS: Final = """
Screen { layout: vertical; background: $background; }
#header { height: 1; background: $panel; }
.-flash #header { background: $error 60%; }
#tabs { height: 1; link-style: none; link-color: $foreground; link-style-hover: bold; }
#banner { height: auto; }
#transport { height: 1; background: $panel; display: none; }
.-replay #transport { display: block; }

Painted { height: auto; }
.panel { border: round $foreground 25%; border-title-color: $primary; padding: 0 1; height: 100%; }
.panel.-lost { border: round $error; border-title-color: $error; }
.panel.-late { text-opacity: 60%; border-subtitle-color: $warning; }
.fills { height: 1fr; }

#overview { layout: grid; grid-size: 12 4; grid-rows: 16 8 1fr 1fr; height: 1fr; }
#node-0, #gate, #node-1, #pending, #rates, #stages { column-span: 4; }
#alarms-panel { column-span: 6; }
#now { column-span: 6; }
#events { column-span: 12; }
.-medium #overview { grid-size: 12 3; grid-rows: 15 8 1fr; }
.-medium #events { display: none; }
.-compact #overview { grid-size: 2 5; grid-rows: 9 2 1 4 1fr; }
.-compact #node-0, .-compact #node-1 { column-span: 1; }
.-compact #gate, .-compact #rates, .-compact #now, .-compact #pending { column-span: 2; }
.-compact #stages, .-compact #events, .-compact #alarms-panel { display: none; }
.-compact .panel { border: none; padding: 0 1; }
.-compact #node-0, .-compact #node-1 { border-top: solid $foreground 25%; }

DataTable { height: 1fr; }
#search { display: none; height: 1; border: none; padding: 0 1; }
#search.-open { display: block; }
#detail { height: auto; max-height: 40%; border-top: solid $foreground 25%; padding: 0 1; }
#menu { width: 2fr; height: 100%; border: none; }
#facts { width: 3fr; height: 100%; padding: 0 2; }
#menu > .option-list--option-highlighted { background: $primary 35%; color: $foreground; }
.-compact #menu { width: 24; }
.-compact #facts { width: 1fr; padding: 0 1; }

#books { height: 1fr; }
#guide { height: 1fr; display: none; }
.-followed #books { display: none; }
.-followed #guide { display: block; }
#guide-head { height: auto; padding: 0 1; background: $panel; }
#side { width: 2fr; height: 100%; }
#steps { height: 1fr; border: none; }
#steps > .option-list--option-highlighted { background: $primary 35%; color: $foreground; }
#step-detail { height: auto; max-height: 50%; border-top: solid $foreground 25%; padding: 0 1; }
#document { width: 3fr; height: 100%; border-left: solid $foreground 25%; }
.-compact #document { display: none; border-left: none; width: 1fr; }
.-compact.-reading #document { display: block; }
.-compact.-reading #side { display: none; }

ModalScreen { align: center middle; background: $background 50%; }
.dialog {
    width: 96%; max-width: 120; height: auto; max-height: 96%;
    border: thick $primary; background: $surface; padding: 0 1;
}
.dialog VerticalScroll { height: auto; max-height: 60vh; scrollbar-gutter: stable; }
#workflow { height: 96%; }
#workflow VerticalScroll { height: 1fr; max-height: 100%; }
.-compact .dialog { width: 100%; max-height: 100%; border: round $primary; }
.-compact #workflow { height: 100%; }
.flags { height: 1; }
.flags Checkbox, .flags Button, .flags Label { margin-right: 2; }
.flags Input { width: 16; }
.field { height: 1; }
.field Label { width: 10; color: $secondary; }
.field Input { width: 1fr; }
.field.-here Label { color: $accent; text-style: bold reverse; }
#choices { height: auto; max-height: 12; border: none; }
.buttons { height: 1; margin-top: 1; }
.buttons Button { margin-right: 2; }
.process { width: 32; }
.-compact .buttons { margin-top: 0; }
.hidden { display: none; }
"""
