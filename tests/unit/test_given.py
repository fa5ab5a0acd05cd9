"""Who acts: the owner of the key where keys are used, whatever else was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.cli.embedded import EmbeddedPair
from interlock.cli.given import operator_name
from interlock.shared.config import Config
from interlock.shared.credentials import ENVIRONMENT
from interlock.shared.errors import UserError


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.delenv("INTERLOCK_OPERATOR", raising=False)


@pytest.fixture
def keyed(tmp_path: Path) -> Config:
    return EmbeddedPair(tmp_path / "keyed", secure=True).config


def usual(config: Config) -> str:
    assert config.security is not None
    return config.security.operator


def test_the_key_says_who_acts(keyed: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert operator_name("", keyed) == usual(keyed)
    assert operator_name(usual(keyed), keyed) == usual(keyed)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("by_option", [True, False])
def test_another_name_does_not_count_and_that_is_said(
    keyed: Config,
    by_option: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not by_option:
        monkeypatch.setenv("INTERLOCK_OPERATOR", "eve")
    assert operator_name("eve" if by_option else "", keyed) == usual(keyed)
    said = capsys.readouterr().err
    assert f"the log will say {usual(keyed)}, whose key this is, and not eve" in said
    assert "interlock --key NAME" in said


def test_the_key_that_is_named_counts(keyed: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "app")
    assert operator_name("", keyed) == "app"
    monkeypatch.setenv(ENVIRONMENT, "nobody")
    with pytest.raises(UserError, match="there is no key"):
        operator_name("", keyed)


def test_without_keys_the_name_that_is_given_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = EmbeddedPair(tmp_path / "plain").config
    monkeypatch.setenv("INTERLOCK_OPERATOR", "bob")
    assert (operator_name("eve", plain), operator_name("", plain)) == ("eve", "bob")
    assert capsys.readouterr().err == ""
