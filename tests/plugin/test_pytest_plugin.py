"""Use the fixtures of the pytest plugin as a user's test suite does."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LOOP_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")  # else pytest-asyncio warns
USER_TESTS = """
    import pytest
    from truecaller_vbc import TokenEndpointError

    {mark}
    async def test_labels(vbc_session):
        async with vbc_session.get(f"/clients/{{vbc_session.client_account_id}}/labels") as response:
            assert response.status == 200

    {mark}
    async def test_outage(vbc_sandbox, vbc_session):
        vbc_sandbox.fail_next("token", status=503)
        with pytest.raises(TokenEndpointError):
            await vbc_session.token()
        assert vbc_sandbox.mints == 0
"""
RULES = """
    import pytest
    from datetime import timedelta
    from truecaller_vbc import TokenPolicy
    from truecaller_vbc.sandbox import SandboxRules

    @pytest.fixture
    def vbc_sandbox_rules():
        return SandboxRules(max_mints=1, dead_token="500")

    @pytest.fixture
    def vbc_policy():
        return TokenPolicy(rejection_grace=timedelta(0))

    async def test_overridden(vbc_sandbox, vbc_session):
        await vbc_session.token()
        vbc_sandbox.revoke_all()
        vbc_sandbox.fail_next("token", status=401)
        with pytest.raises(Exception, match="refused the credentials"):
            async with vbc_session.get(f"/clients/{vbc_session.client_account_id}/labels"):
                pass
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_fixtures_work_in_both_modes(pytester: pytest.Pytester, mode: str) -> None:
    """Each test gets a new sandbox and an open session, in both modes of pytest-asyncio."""
    pytester.makepyfile(USER_TESTS.format(mark="" if mode == "auto" else "@pytest.mark.asyncio"))

    result = pytester.runpytest_subprocess(f"--asyncio-mode={mode}", "-W", "error", *LOOP_SCOPE)

    result.assert_outcomes(passed=2)


def test_fixtures_work_on_anyio(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pytest-asyncio, anyio's plugin runs the same fixtures."""
    pytester.path.joinpath("pytest_asyncio.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    pytester.makepyfile(USER_TESTS.format(mark="@pytest.mark.anyio"))
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n")

    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-W", "error")

    result.assert_outcomes(passed=2)


LOOPS = """
    import asyncio
    import pytest
    {marks}
    async def test_in_class_of_loops(vbc_sandbox, vbc_session):
        await vbc_session.token()
        assert vbc_sandbox.mints == 1
"""


@pytest.mark.parametrize("scope", ["function", "module", "session"])
@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_fixtures_are_on_the_loop_of_the_test(pytester: pytest.Pytester, mode: str, scope: str) -> None:
    """A test whose loop has another scope gets a sandbox and a session on that loop, by a mark or by default."""
    pytester.makepyfile(test_mark=LOOPS.format(marks=f"@pytest.mark.asyncio(loop_scope={scope!r})"))
    pytester.makepyfile(test_default=LOOPS.format(marks="@pytest.mark.asyncio"))

    default = ("-o", f"asyncio_default_test_loop_scope={scope}")
    result = pytester.runpytest_subprocess(f"--asyncio-mode={mode}", "-W", "error", *LOOP_SCOPE, *default)

    result.assert_outcomes(passed=2)


def test_fixtures_beside_anyio(pytester: pytest.Pytester) -> None:
    """In strict mode tests of anyio and of pytest-asyncio use the fixtures; in auto mode an error says what to set."""
    pytester.makepyfile(USER_TESTS.format(mark="@pytest.mark.anyio"))
    pytester.makepyfile(test_asyncio=LOOPS.format(marks="@pytest.mark.asyncio"))
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n")

    pytester.runpytest_subprocess("--asyncio-mode=strict", *LOOP_SCOPE).assert_outcomes(passed=3)
    auto = pytester.runpytest_subprocess("--asyncio-mode=auto", *LOOP_SCOPE)
    auto.assert_outcomes(passed=1, errors=2)
    auto.stdout.fnmatch_lines(["*set asyncio_mode = strict*"])


def test_trio_is_skipped(pytester: pytest.Pytester) -> None:
    """A test of anyio that runs on trio is skipped."""
    pytester.makepyfile(USER_TESTS.format(mark="@pytest.mark.anyio"))
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'trio'\n")

    pytester.runpytest_subprocess("--asyncio-mode=strict", *LOOP_SCOPE).assert_outcomes(skipped=2)


def test_rules_and_policy_are_overridden_by_fixtures(pytester: pytest.Pytester) -> None:
    """A test suite can replace the rules and the policy by fixtures of its own."""
    pytester.makepyfile(RULES)

    result = pytester.runpytest_subprocess("--asyncio-mode=auto", "-W", "error", *LOOP_SCOPE)

    result.assert_outcomes(passed=1)


def test_plugin_imports_nothing_heavy() -> None:
    """Loading the plugin in a user's test run imports neither aiohttp nor the session."""
    code = "import pytest, pytest_asyncio, sys; import truecaller_vbc.pytest_plugin; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "truecaller_vbc.pytest_plugin" in modules
    assert not {"aiohttp", "attrs", "cattrs", "truecaller_vbc.session"} & set(modules)
