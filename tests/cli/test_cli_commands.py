"""Run the installed command line: token, stores, sandbox, versions and errors."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import sysconfig
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from truecaller_vbc.cli.connection import without_secret
from truecaller_vbc.sandbox import Sandbox

from .cli_process import environment

pytestmark = pytest.mark.slow


async def _run(*arguments: str, **variables: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "truecaller_vbc",
        *arguments,
        env=environment(None) | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


async def test_token_prints_its_status(sandbox: Sandbox) -> None:
    """`token` mints once, and prints neither the value nor the API key."""
    code, out, err = await _run("token", **environment(sandbox))

    assert (code, err) == (0, "")
    assert re.search(r"^state +fresh$", out, re.MULTILINE)
    assert re.search(r"^attempt .* minted ", out, re.MULTILINE)
    assert sandbox.mints == 1
    assert not re.search(r"[A-Za-z0-9]{64}", out)
    assert str(sandbox.credentials.api_key) not in out


async def test_token_show(sandbox: Sandbox) -> None:
    """`--show` prints the value."""
    code, out, _ = await _run("token", "--show", "--json", **environment(sandbox))

    assert code == 0
    assert len(json.loads(out)["token"]) == 64


async def test_token_with_a_store(sandbox: Sandbox, tmp_path: Path) -> None:
    """With a store, a second `token` does not mint, and shows the ledger of the first."""
    store = f"file://{tmp_path}/token.json"
    first = json.loads((await _run("token", "--json", "--store", store, **environment(sandbox)))[1])
    second = json.loads((await _run("token", "--json", **environment(sandbox), TRUECALLER_VBC_STORE=store))[1])

    assert sandbox.mints == 1
    assert second["fingerprint"] == first["fingerprint"]
    assert second["ledger"] == first["ledger"]
    assert second["mints_left"] == 9
    assert re.fullmatch(r".+:\d+", second["ledger"][0]["by"])


async def test_token_without_settings_names_them() -> None:
    """Without settings one line names every variable, with exit code 2."""
    code, out, err = await _run("token")

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    for name in ("CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY"):
        assert f"TRUECALLER_VBC_{name}" in err


async def test_token_with_refused_credentials(sandbox: Sandbox) -> None:
    """Refused credentials print one line without secrets, with exit code 2."""
    wrong = environment(sandbox) | {"TRUECALLER_VBC_API_KEY": "a-wrong-secret"}
    code, out, err = await _run("token", **wrong)

    assert (code, out) == (2, "")
    assert err.startswith("error: the token endpoint refused the credentials")
    assert err.count("\n") == 1
    assert "a-wrong-secret" not in err


async def test_token_with_a_store_that_is_down(sandbox: Sandbox) -> None:
    """With a store that is down, a minted token is printed with one warning, and a failed mint with one error line."""
    down = {"TRUECALLER_VBC_STORE": "redis://127.0.0.1:1/0"}
    code, out, err = await _run("token", **environment(sandbox), **down)

    assert code == 0
    assert "fresh" in out
    assert re.fullmatch(r"warning: the store was not used: .+\n", err)

    sandbox.set_outage("token", status=503)
    code, out, err = await _run("token", **environment(sandbox), **down)

    assert (code, out) == (3, "")
    assert re.fullmatch(r"error: .+\n", err)


async def test_store_with_a_password_is_refused() -> None:
    """--store with a password is refused with a line that names the environment variable, not the password."""
    code, out, err = await _run("token", "--store", "redis://:hush-hush@127.0.0.1:1/0")

    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: --store .* TRUECALLER_VBC_STORE .*\n", err)
    assert "hush-hush" not in err


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hush@host/0",
        "rediss://:hu/sh@host:6379",
        "redis://:hu#sh@host",
        "redis://:hush@[host",
        "redis://host/0?password=hush",
        "redis://host/0?db=1&pass%77ord=hush",
        "redis://host/0?ssl_password=hush",
        "unknown://:hush@host",
    ],
)
def test_password_anywhere_in_a_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A password is found anywhere in the URL, also where a URL parser would not find it."""
    with pytest.raises(SystemExit) as exit_:
        without_secret(url)

    assert exit_.value.code == 2
    assert "hush" not in capsys.readouterr().err


@pytest.mark.parametrize("url", [None, "memory", "file", "redis", "redis://host:6379/0?db=1", "file:///var/a@b/t.json"])
def test_stores_without_a_password(url: str | None) -> None:
    """A store without a password is accepted unchanged."""
    assert without_secret(url) == url


async def test_sandbox_serves_until_sigterm() -> None:
    """`sandbox` prints the variables that `token` needs, and ends with exit code 0 on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "truecaller_vbc", "sandbox", "--port", "0"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode() for _ in range(5)]
    variables = dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))
    code, out, _ = await _run("token", **variables)
    process.send_signal(signal.SIGTERM)

    assert code == 0
    assert "fresh" in out
    assert await process.wait() == 0


async def test_sandbox_on_a_port_in_use(sandbox: Sandbox) -> None:
    """A port in use prints an error with exit code 2."""
    code, _, err = await _run("sandbox", "--port", sandbox.base_url.rpartition(":")[2])

    assert code == 2
    assert "--port" in err
    assert "Traceback" not in err


async def test_sandbox_with_an_invalid_rule() -> None:
    """An invalid rule prints the error of the rules, with exit code 2."""
    code, _, err = await _run("sandbox", "--over-quota", "418")

    assert code == 2
    assert err.startswith("error: ")


async def test_version() -> None:
    """--version prints name and version."""
    code, out, _ = await _run("--version")

    assert code == 0
    assert re.fullmatch(r"truecaller_vbc \d+\.\d+\.\d+\n", out)


async def test_version_of_a_checkout(tmp_path: Path) -> None:
    """--version works in a checkout that is not installed."""
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(place).iterdir():
            if "truecaller" not in path.name:
                (tmp_path / path.name).symlink_to(path)
    checkout = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-S", "-m", "truecaller_vbc", "--version"),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{checkout}:{tmp_path}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()

    assert (process.returncode, out) == (0, b"truecaller_vbc 0+checkout\n")


@pytest.mark.parametrize("module", ["rich", "typer"])
async def test_sigint_during_import(module: str, tmp_path: Path) -> None:
    """SIGINT during any import ends the installed script quietly with exit code 130."""
    (tmp_path / f"{module}.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    project = Path(__file__).parents[2]
    script = tomllib.loads((project / "pyproject.toml").read_text())["project"]["scripts"]["truecaller-vbc"]
    begin, _, main = script.partition(":")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"from {begin} import {main}; {main}()", "--version"),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{project}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()

    assert (process.returncode, out) == (130, b"")


async def test_without_the_extra(tmp_path: Path) -> None:
    """Without the extra `cli`, a line says how to install it, with exit code 2."""
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no module', name='typer')")
    code, _, err = await _run("demo", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")

    assert code == 2
    assert "pip install 'truecaller_vbc[cli]'" in err
