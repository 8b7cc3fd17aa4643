#!/usr/bin/env bash
# The Python of .venv with Java and the project's packages at hand: scripts/python.sh -m pytest
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"

[ -x "$root/.venv/bin/python" ] || fail "$root/.venv is missing: run make setup"
find_java || true # the service and the sample need none
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "$root/.venv/bin/python" "$@"
