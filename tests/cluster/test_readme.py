"""What README and the demonstration tell a newcomer to type works as it stands there."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def curl_lines(path):
    """The curl commands of a file, continued lines joined, the demo's escapes of `$` taken off."""
    text = (ROOT / path).read_text().replace("\\$", "$").replace("\\\\\n", "\\\n").replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip().startswith("curl ")]


@pytest.mark.parametrize("path", ["README.md", "tools/demo.sh"])
def test_curl_lines(shared, path):
    lines = curl_lines(path)
    assert len(lines) >= 5
    variables = shared.cli("dev", "env").stdout
    for line in lines:
        script = f'{variables}\nauth="Authorization: Bearer $RINGFORT_TOKEN"\n' + re.sub("^curl", "curl -sS --fail-with-body", line)
        done = subprocess.run(["bash", "-eu", "-c", script], text=True, capture_output=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
