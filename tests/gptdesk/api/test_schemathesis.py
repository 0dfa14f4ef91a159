"""Schemathesis against /openapi.json: whatever it makes up gets a documented answer, and no failure of the desk."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

PROGRAM = os.environ.get("GPTDESK_TEST_SCHEMATHESIS", "")
EXAMPLES = os.environ.get("GPTDESK_SCHEMATHESIS_EXAMPLES", "500")  # of each operation
# Not negative_data_rejection: HOOKS makes wrong names of models right, and it counts 413 as an acceptance.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)
# Most of what it makes up names no model; with the tiny one in its place the rest of a body is reached, too.
HOOKS = """
import schemathesis

@schemathesis.hook
def map_body(context, body):
    def known(one):
        if isinstance(one, dict) and isinstance(one.get("model", ""), str) and len(repr(one)) % 20:
            return {**one, "model": "tiny"}
        return one
    if isinstance(body, dict) and isinstance(body.get("requests"), list):
        return {**body, "requests": [known(one) for one in body["requests"]]}
    return known(body)
"""


@pytest.mark.skipif(not PROGRAM, reason="GPTDESK_TEST_SCHEMATHESIS does not name the program schemathesis")
def test_what_is_made_up_gets_a_documented_answer(url: str, raw: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "desk_hooks.py").write_text(HOOKS)
    command = [
        PROGRAM,
        "run",
        f"{url}/openapi.json",
        "--no-color",
        "--continue-on-failure",
        "--seed",
        "1",
        "-c",
        CHECKS,
    ]
    command += ["--phases", "examples,coverage,fuzzing", "-n", EXAMPLES, "--request-timeout", "120"]
    variables = {"SCHEMATHESIS_HOOKS": "desk_hooks", "PYTHONPATH": str(tmp_path), "NO_PROXY": "*"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | variables, cwd=tmp_path, timeout=3_000, check=False
    )
    print(done.stdout[-2_000:])
    assert done.returncode == 0, done.stdout
    assert raw.get("/health").status_code == 200
