"""Fixtures of the fault tests: the clusters of tests/cluster, and configurations of our own.

RINGFORT_FAULT_SECONDS (3 by default) is how long each test keeps its load and its faults up.
"""
import importlib.util
import os
import pathlib
import sys

import pytest

_path = pathlib.Path(__file__).parents[1] / "cluster" / "conftest.py"
_spec = importlib.util.spec_from_file_location("cluster_conftest", _path)
clusters = importlib.util.module_from_spec(_spec)
sys.modules["cluster_conftest"] = clusters
_spec.loader.exec_module(clusters)
cluster = clusters.cluster

SECONDS = float(os.environ.get("RINGFORT_FAULT_SECONDS", "3"))


def pytest_sessionfinish(session, exitstatus):
    """Names what was skipped, so that a run without root is not taken for a whole one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.stats.get("skipped", []):
        reporter.write_line(f"skipped: {report.nodeid}: {report.longrepr[2]}")


@pytest.fixture
def configured(request):
    """configured(edit, nodes=3) makes a cluster whose configuration files went through
    edit(text, name) before the first start."""
    from faultlib import ConfiguredCluster
    made = []

    def make(edit=None, **kwargs):
        made.append(ConfiguredCluster(edit, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()
