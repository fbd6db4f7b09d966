"""A small store, and the command run in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import ENTRIES, Run
from click.testing import CliRunner, Result

from sessiondir import SessionStore
from sessiondir.cli import main


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have a gateway of his own."""
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path / "no-gateway"))
    for name in ("SESSIONDIR_STORE", "SESSIONDIR_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store_path(tmp_path: Path) -> str:
    """A store of three sessions; versions 1 to 3 in the order of ``ENTRIES``."""
    path = str(tmp_path / "sessions.d")
    with SessionStore.open(path) as store:
        for key, entry in ENTRIES.items():
            store.put(key, entry)
    return path


@pytest.fixture
def legacy_path(tmp_path: Path) -> str:
    """A legacy file with the same three sessions."""
    path = tmp_path / "old" / "sessions.json"
    path.parent.mkdir(mode=0o700)
    path.write_text(json.dumps(ENTRIES, indent=2))
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def run() -> Run:
    """Run the command in this process and check its exit code."""

    def run_main(*args: str, code: int = 0, env: dict[str, str] | None = None) -> Result:
        result = CliRunner().invoke(main, list(args), env=env)
        assert result.exit_code == code, (args, result.exit_code, result.output)
        assert "Traceback" not in result.output
        return result

    return run_main
