"""docker/: what the image of the service writes to, it may write to in the container of the sample."""

from __future__ import annotations

import re
from pathlib import Path

DOCKER = Path(__file__).parents[1] / "docker"


def test_the_local_copy_and_temporary_files_lie_on_a_volume_that_the_user_of_the_container_may_write():
    image = (DOCKER / "serving.Dockerfile").read_text(encoding="utf-8")
    compose = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    service, volumes = compose.split("\n  serving:\n")[1].split("\nvolumes:\n")
    mounts = dict(re.findall(r"^      - (\w+):(/\S+)", service, re.MULTILINE))
    owned = re.findall(r"install -d -o ctr -g ctr (.+)", image)[0].split()
    assert "read_only: true" in service
    assert mounts["data"] == "/data:ro"
    for variable in ("CTR_REPLICA_FOLDER", "TMPDIR"):
        assert re.findall(rf"\b{variable}=(\S+)", image) == [mounts.get("cache")], "not read-only"
    assert mounts["cache"] in owned, "Docker gives a new volume the owner that its folder has in the image"
    assert "  cache:" in volumes
