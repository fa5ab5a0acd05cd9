"""The console in a browser: a real headless Chromium, where there is one."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from interlock.client.local import free_ports
from support.pair import command, mistake, pair_of, write_config

PATIENCE_S = 30.0
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("there is no Chromium on this machine")


def test_a_browser_sees_the_pair_and_can_operate_nothing(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("textual_serve")
    browser_path, port = chromium(), free_ports(1)
    with pair_of(tmp_path) as pair:
        line = command("console", "-c", pair.config.path, "--web", "--port", port)
        server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with playwright.sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=browser_path, args=FLAGS)
                frames: list[str] = []
                page = browser.new_page(viewport={"width": 1400, "height": 900})
                page.on("websocket", lambda socket: socket.on("framereceived", _keep(frames)))
                _open(page, f"http://127.0.0.1:{port}/")
                _until(page, lambda: "GATED" in "".join(frames) and "IN_SYNC" in "".join(frames))
                assert "READ-ONLY" in "".join(frames)
                frames.clear()
                page.mouse.click(700, 800)  # the terminal takes keys once it has the focus
                page.keyboard.press("4")
                _until(page, lambda: "reinstate" in "".join(frames))
                page.keyboard.press("Enter")
                _until(page, lambda: "read-only" in "".join(frames))
                browser.close()
        finally:
            server.terminate()
            server.wait(10)


def _keep(frames: list[str]) -> Any:
    def keep(frame: bytes | str) -> None:
        frames.append(frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))

    return keep


def _open(page: Any, url: str) -> None:
    """As soon as the server is there."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            page.goto(url)
        except Exception:  # noqa: BLE001 - playwright's own error, whose module may be missing
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.2)
        else:
            return


def _until(page: Any, look: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < end, "the browser did not show it"
        page.wait_for_timeout(100)


def test_nobody_on_a_network_is_let_operate(tmp_path: Path) -> None:
    write_config(tmp_path / "interlock.toml")
    said = mistake("console", "-c", tmp_path, "--web", "--host", "0.0.0.0", "--operate")
    assert "anybody who reaches that address could operate the pair" in said
