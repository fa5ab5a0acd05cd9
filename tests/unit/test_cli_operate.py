"""Operations from the command line: what is shown, asked for, sent, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from interlock.cli import given as given_module
from interlock.cli import operation as operation_module
from interlock.cli.main import app
from interlock.shared.commands import (
    Approve,
    Execute,
    GetOperation,
    GetPreflight,
    UnderWay,
)
from interlock.shared.errors import Reason
from interlock.shared.messages import Message, Refused
from interlock.shared.operations import Operation, Request, Result, Risk
from interlock.tests.unit.operate_kit import FAILS, PASSES, TOKEN, Stage

SENTENCE = "a is stopped and stays stopped, not promoted and not in solo since the link broke"
TYPED = ("--reason", "drill", "--operator", "eve", "--confirm", "b")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(operation_module, "SETTLE_S", 0.6)
    monkeypatch.setattr(operation_module, "POLL_S", 0.05)
    monkeypatch.setattr("interlock.cli.operate.ASK_S", 0.3)
    made = Stage(tmp_path)
    yield made
    made.close()


def test_an_operation_is_shown_done_and_told_by_its_receipt(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.risks = [Risk("in doubt", 91, 100, 10, {"[red]orders": 7, "fills": 3})]
    done = stage.run("promote", "b", "--solo", *TYPED)
    assert done.exit_code == 0, done.output
    for words in (
        "preflight: promote b --solo",
        "b is ORPHANED",
        "in doubt: seq 91 to 100, 10 messages ([red]orders 7, fills 3)",
        "the test goes on",
        "the peer says [bold]nothing",
        "good for 30 s",
        "no gap",
        "nothing was released for 12.5 ms",
        "DONE: so it [red]ended",
    ):
        assert words in done.output
    (asked,) = b.of(GetPreflight)
    assert asked.request == Request(Operation.PROMOTE, "b", solo=True)
    assert asked.cluster == stage.config.cluster
    (sent,) = b.of(Execute)
    assert (sent.token, sent.operator, sent.reason) == (TOKEN, "eve", "drill")
    assert (sent.confirm, sent.attestation) == ("b", "")


def test_on_a_terminal_the_present_step_is_shown_while_it_lasts(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A re-seed takes its time. In JSON, or where nobody watches, nobody asks."""
    monkeypatch.setattr("interlock.cli.progress.EVERY_S", 0.05)
    monkeypatch.setattr("interlock.cli.progress.is_watched", lambda: True)
    b = stage.add("b", "secondary", "FAILED")
    execution: list[Execute] = []

    def script(message: object) -> Message | None:
        if isinstance(message, Execute):
            execution.append(message)
            return UnderWay(TOKEN, "ignored: not an end")
        if isinstance(message, GetOperation):
            return UnderWay(TOKEN, "catching up: seq [5] of 9")
        return None

    b.script = script
    words = ("reinstate", "b", "--reseed", *TYPED, "--timeout", "0.4")
    done = stage.run(*words)
    assert execution
    assert "reinstate b --reseed: catching up: seq [5] of 9" in done.stderr
    asked = len(b.of(GetOperation))
    assert asked > 2
    quiet = stage.run(*words, "--json")
    assert "catching up" not in quiet.stderr


def test_a_failing_guard_refuses_and_tells_its_remedy(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.guards = [PASSES, FAILS]
    done = stage.run("promote", "b", *TYPED)
    assert done.exit_code == 3
    assert "REFUSED: disk [red]space: observed 0 bytes, needed 9 bytes; free space on b" in (
        " ".join(done.output.split())
    )
    assert "to make `disk [red]space` pass: free space on b" in done.output
    assert b.of(Execute) == []


def test_without_a_terminal_the_missing_flags_are_named_exactly(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.attestation = SENTENCE
    done = stage.run("promote", "b")
    assert done.exit_code == 2
    told = f"--reason TEXT --confirm b --attest '{SENTENCE}'"
    assert told in done.output
    assert b.of(Execute) == []
    again = stage.run("promote", "b", *TYPED, "--attest", SENTENCE.upper())
    assert again.exit_code == 0, again.output
    assert b.of(Execute)[0].attestation == SENTENCE.upper()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--reason", "x", "--confirm", "a", "--attest", SENTENCE), "--confirm b"),
        (("--reason", "x", "--confirm", "b", "--attest", "a is stopped"), f"'{SENTENCE}'"),
        (("--reason", "x" * 501, "--confirm", "b", "--attest", SENTENCE), "500 are allowed"),
        (("--reason", "x", "--confirm", "b", "--attest", SENTENCE, "--operator", "e" * 65), "64"),
    ],
)
def test_what_is_mistyped_is_a_mistake_and_executes_nothing(
    stage: Stage, words: tuple[str, ...], told: str
) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.attestation = SENTENCE
    done = stage.run("promote", "b", *words)
    assert done.exit_code == 2
    assert told in done.output
    assert b.of(Execute) == []


def test_an_attestation_that_is_not_asked_for_is_a_mistake(stage: Stage) -> None:
    stage.add("b", "secondary", "ORPHANED")
    done = stage.run("promote", "b", *TYPED, "--attest", SENTENCE)
    assert done.exit_code == 2
    assert "asks for no attestation" in done.output


def test_on_a_terminal_everything_is_asked_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_module, "is_terminal", lambda: True)
    monkeypatch.setenv("INTERLOCK_OPERATOR", "mallory")
    b = stage.add("b", "secondary", "ORPHANED")
    b.attestation = SENTENCE
    lines = ["the disk burns", "a is stopped", f"  {SENTENCE} ", "b", ""]
    done = stage.run("promote", "b", input="\n".join(lines))
    assert done.exit_code == 0, done.output
    assert "that is another sentence" in done.output
    assert "type the node's name to confirm (b)" in done.output
    (sent,) = b.of(Execute)
    assert (sent.operator, sent.reason) == ("mallory", "the disk burns")
    assert (sent.confirm, sent.attestation) == ("b", SENTENCE)


def test_a_preflight_that_expired_while_typing_is_shown_and_confirmed_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_module, "is_terminal", lambda: True)
    b = stage.add("b", "secondary", "ORPHANED")
    b.expires_ms = 0
    b.script = lambda message: setattr(b, "expires_ms", 30_000 * (len(b.of(GetPreflight)) > 1))
    done = stage.run("promote", "b", input="why\nb\nb\n")
    assert done.exit_code == 0, done.output
    assert "has expired meanwhile" in done.output
    assert len(b.of(GetPreflight)) == 2
    assert [sent.reason for sent in b.of(Execute)] == ["why"]


def test_no_answer_is_settled_by_asking_what_became_of_it(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.silent = (Execute,)
    done = stage.run("promote", "b", *TYPED, "--timeout", "0.2")
    assert done.exit_code == 0, done.output
    assert [asked.token for asked in b.of(GetOperation)] == [TOKEN]
    assert "DONE" in done.output


@pytest.mark.parametrize("fate", ["nobody knows", "under way"])
def test_what_cannot_be_settled_is_unknown_and_never_a_failure(stage: Stage, fate: str) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.silent = (Execute,)
    unknown = Refused(Reason.UNKNOWN_OPERATION, "no idea")
    b.refuses[GetOperation] = unknown
    if fate == "under way":
        b.script = lambda message: (
            UnderWay(TOKEN, "waits for acks") if isinstance(message, GetOperation) else None
        )
    done = stage.run("promote", "b", *TYPED, "--timeout", "0.2")
    assert done.exit_code == 4
    text = " ".join(done.output.split())
    for words in ("UNKNOWN", "may have happened", "interlock status", "interlock history", TOKEN):
        assert words in text
    assert ("waits for acks" in text) == (fate == "under way")
    assert "failed" not in text.lower()


@pytest.mark.parametrize(("result", "code"), [(Result.REFUSED, 3), (Result.UNKNOWN, 4)])
def test_the_receipt_decides_the_exit_code(stage: Stage, result: Result, code: int) -> None:
    stage.add("b", "secondary", "ORPHANED").result = result
    done = stage.run("promote", "b", *TYPED)
    assert done.exit_code == code
    assert f"{result.name}: so it [red]ended" in done.output


@pytest.mark.parametrize("at", [GetPreflight, Execute])
def test_what_the_node_refuses_is_refused(stage: Stage, at: type) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.refuses[at] = Refused(Reason.WORLD_MOVED, "the world [red]has moved")
    done = stage.run("promote", "b", *TYPED)
    assert done.exit_code == 3
    assert "REFUSED: the world [red]has moved" in done.output


def test_a_node_that_is_down_refuses_nothing_was_begun(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_module, "ASK_S", 0.2)
    done = stage.run("promote", "b", *TYPED)
    assert done.exit_code == 3
    assert "nothing was begun" in done.output


# Two operators -------------------------------------------------------------------------------


def test_a_second_operator_is_waited_for(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.approvals = 2
    b.script = lambda message: b.approvers.append("ann") if len(b.of(Execute)) == 3 else None
    done = stage.run("promote", "b", *TYPED)
    assert done.exit_code == 0, done.output
    assert f"interlock approve {TOKEN} --node b --operator OTHER" in done.output
    assert len(b.of(Execute)) == 3
    assert "by eve and ann" in done.output


def test_the_wait_for_a_second_operator_ends_with_the_token(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    b.approvals, b.expires_ms = 2, 400
    done = stage.run("promote", "b", *TYPED)
    assert done.exit_code == 3
    assert "another operator must approve" in done.output
    assert len(b.of(Execute)) > 2


def test_approving(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    assert stage.run("preflight", "promote", "b").exit_code == 0
    done = stage.run("approve", TOKEN, "--node", "b", "--operator", "ann")
    assert done.exit_code == 0, done.output
    assert "promote b is approved by ann" in done.output
    assert b.of(Approve)[0].token == TOKEN
    b.refuses[Approve] = Refused(Reason.UNKNOWN_TOKEN, "spent")
    assert stage.run("approve", TOKEN, "--node", "b").exit_code == 3


# Which node ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["switchover", "demote", "solo", "gate", "pause", "resume"])
def test_the_node_that_leads_is_meant(stage: Stage, word: str) -> None:
    a = stage.add("a", "primary", "STALLED")
    stage.add("b", "secondary", "ORPHANED")
    done = stage.run(word, "--reason", "r", "--confirm", "a")
    assert done.exit_code == 0, done.output
    assert [asked.request for asked in a.of(GetPreflight)] == [Request(Operation(word), "a")]


def test_solo_means_the_primary_if_nobody_leads_and_promote_the_standby(stage: Stage) -> None:
    a = stage.add("a", "primary", "RESUMING")
    b = stage.add("b", "secondary", "ORPHANED")
    assert stage.run("solo", "--for", "10m", "--reason", "r", "--confirm", "a").exit_code == 0
    assert a.of(GetPreflight)[0].request == Request(Operation.SOLO, "a", for_ms=600_000)
    assert stage.run("promote", *TYPED).exit_code == 0
    assert b.of(GetPreflight)[0].request == Request(Operation.PROMOTE, "b")


def test_if_nobody_leads_each_node_is_quoted_and_what_fits_is_named(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED", promotable=True)
    done = stage.run("switchover", *TYPED)
    assert done.exit_code == 3
    text = " ".join(done.output.split())
    assert "a does not answer; b is ORPHANED as secondary in epoch 3" in text
    assert "interlock promote b" in text
    assert b.of(GetPreflight) == []


def test_of_two_standbys_the_successor_is_promoted(stage: Stage) -> None:
    stage.add("a", "secondary", "ORPHANED", promotable=True, closed_for="b")
    b = stage.add("b", "secondary", "ORPHANED", promotable=True, closed_for="b")
    assert stage.run("promote", *TYPED).exit_code == 0
    assert len(b.of(GetPreflight)) == 1


def test_of_two_standbys_that_both_fit_none_is_chosen(stage: Stage) -> None:
    stage.add("a", "secondary", "ORPHANED", promotable=True)
    stage.add("b", "secondary", "ORPHANED", promotable=True)
    done = stage.run("promote", *TYPED)
    assert done.exit_code == 3
    assert "name the node to promote" in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("promote", "c"), "has no node 'c'"),
        (("solo", "--for", "soon"), "no duration"),
        (("solo", "--for", "0s"), "more than none"),
        (("solo", "--for", "8d"), "at most 7 days"),
        (("preflight", "reinstate"), "name the node"),
        (("preflight", "explode"), "explode"),
    ],
)
def test_a_wrong_word_is_a_mistake(stage: Stage, words: tuple[str, ...], told: str) -> None:
    done = stage.run(*words)
    assert done.exit_code == 2
    assert told in done.output


def test_the_arguments_of_each_operation_travel(stage: Stage) -> None:
    a = stage.add("a", "secondary", "FENCED")
    words = ("--reason", "r", "--confirm", "a")
    assert stage.run("reinstate", "a", "--accept-loss", "--reseed", *words).exit_code == 0
    assert stage.run("shutdown", "a", *words).exit_code == 0
    assert stage.run("promote", "a", "--accept-loss", *words).exit_code == 0
    assert [asked.request for asked in a.of(GetPreflight)] == [
        Request(Operation.REINSTATE, "a", accept_loss=True, reseed=True),
        Request(Operation.SHUTDOWN, "a"),
        Request(Operation.PROMOTE, "a", accept_loss=True),
    ]


# For scripts ---------------------------------------------------------------------------------


def test_json_is_one_object_however_it_ends(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    done = json.loads(stage.run("promote", "b", *TYPED, "--json").stdout)
    assert (done["result"], done["exit_code"]) == ("done", 0)
    assert done["preflight"]["token"] == done["receipt"]["id"] == TOKEN
    missing = stage.run("promote", "b", "--json")
    told = json.loads(missing.stdout)
    assert missing.exit_code == told["exit_code"] == 2
    assert "--confirm b" in told["text"]
    assert told["result"] is None
    assert told["receipt"] is None
    b.guards = [FAILS]
    refused = stage.run("promote", "b", *TYPED, "--json")
    told = json.loads(refused.stdout)
    assert refused.exit_code == told["exit_code"] == 3
    assert told["preflight"]["guards"][0]["passed"] is False


def test_a_preflight_shows_and_changes_nothing(stage: Stage) -> None:
    b = stage.add("b", "secondary", "ORPHANED")
    done = stage.run("preflight", "promote", "--solo")
    assert done.exit_code == 0
    assert "all guards pass; nothing was changed" in done.output
    b.guards = [FAILS]
    assert stage.run("preflight", "promote").exit_code == 3
    told = json.loads(stage.run("preflight", "promote", "--json").stdout)
    assert (told["result"], told["exit_code"]) == ("refused", 3)
    assert b.of(Execute) == []


def test_the_help_tells_exit_codes_and_has_no_way_around_the_confirmation() -> None:
    group = typer.main.get_command(app)
    asked = [each.value for each in Operation if each is not Operation.KEYS]
    for name in (name for name in asked if name in group.commands):
        command = group.commands[name]
        assert "3 REFUSED" in (command.epilog or "")
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {"--reason", "--confirm", "--attest", "--json", "--timeout"} <= flags
        assert not flags & {"--yes", "-y", "--force"}
