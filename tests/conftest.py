"""What every test run needs: the repository root is a package, but not one of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


class RootIsNoTestPackage:
    """Keeps pytest from importing the root's `__init__.py` under the name of the clone's folder.

    pytest would take the root for a package of tests and import it to look for a `setup_module`:
    as `main` in a clone called main, beside the `interlock` that the tests import. Two copies of
    one package have two copies of each exception type, and `except` catches only one of them.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(
        self, path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RootIsNoTestPackage())
