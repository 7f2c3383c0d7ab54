"""onnxruntime's telemetry: off for whoever uses edgekit, on for who asks for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOAD = "import sys, edgekit; edgekit.load(sys.argv[1]).translate('Yes.')"


@pytest.mark.skipif(sys.platform != "linux", reason="where the id lies is another place on other systems")
@pytest.mark.parametrize(("asked", "leaves_traces"), [(None, False), ("0", True)])
def test_a_translation_leaves_an_id_of_the_user_only_if_telemetry_is_asked_for(
    asked, leaves_traces, embedded_int8, tmp_path
):
    home = tmp_path / "home"
    home.mkdir()
    # Nothing else of this environment: onnxruntime is silent where its variables speak of a CI.
    environment = {"HOME": str(home), "EDGEKIT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    if asked is not None:
        environment["ORT_DISABLE_TELEMETRY"] = asked
    subprocess.run([sys.executable, "-c", LOAD, str(embedded_int8)], env=environment, timeout=120, check=True)
    assert any(home.rglob("deviceid")) == leaves_traces
