"""docs/operating.md: a cluster made by hand, with the commands as they stand there."""
import pathlib
import re
import subprocess

import requests
from conftest import BIN, free_ports, until

ROOT = pathlib.Path(__file__).parents[2]


def test_by_hand(tmp_path):
    """Three addresses of loopback stand for the three machines, free ports for the documented ones."""
    port = free_ports(2)
    script = re.search(r"```sh\n(.*?)```", (ROOT / "docs/operating.md").read_text(), re.S).group(1)
    for old, new in (("10.0.0.", "127.0.0."), (":7443", f":{port}"), (":7444", f":{port + 1}"),
                     ("/usr/lib/ringfort/plugins", str(BIN.parent / "lib/ringfort/plugins"))):
        assert old in script
        script = script.replace(old, new)
    made = subprocess.run(["bash", "-euo", "pipefail", "-c", f'PATH="{BIN}:$PATH"\n{script}'], cwd=tmp_path,
                          text=True, capture_output=True)
    assert made.returncode == 0, made.stdout + made.stderr
    session = requests.Session()
    session.trust_env, session.verify = False, str(tmp_path / "ca.crt")
    session.headers["Authorization"] = "Bearer " + (tmp_path / "token").read_text().strip()
    urls = [f"https://127.0.0.{i}:{port}" for i in (1, 2, 3)]
    nodes = []

    def ready(url):
        try:
            return session.get(url + "/health/ready", timeout=30).status_code == 200
        except requests.exceptions.ConnectionError:
            return False

    try:
        for name in ("n1", "n2", "n3"):
            log = open(tmp_path / name / "log", "w")
            nodes.append(subprocess.Popen([str(BIN / "ringfortd"), "--config", f"{name}/ringfort.yaml"],
                                          cwd=tmp_path, stdout=log, stderr=log))
            log.close()
        until(lambda: all(ready(url) for url in urls), "all three are ready")
        put = until(lambda: (answer := session.post(urls[0] + "/api/v1/item", json={"key": "k", "value": "dg=="}))
                    .status_code == 201 and answer, "a write is acknowledged")
        assert put.json()["key"] == "k"
        for url in urls:
            assert session.get(url + "/api/v1/item", params={"key": "k", "consistency": "strong"}).json()["value"] == "dg=="
    finally:
        for node in nodes:
            node.terminate()
        codes = [node.wait(60) for node in nodes]
    assert codes == [0, 0, 0], [(tmp_path / name / "log").read_text()[-2000:] for name in ("n1", "n2", "n3")]
