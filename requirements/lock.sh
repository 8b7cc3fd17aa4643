#!/usr/bin/env bash
# Writes the lock files (exact versions with hashes, for Python >= 3.10). Pins that still fit pyproject.toml stay.
#   requirements/lock.sh            write them            requirements/lock.sh --check   fail if one is out of date
#   requirements/lock.sh --upgrade  take the newest versions that fit
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv
# A cache of its own, cleared of what is old: PySpark comes as source only, and each resolution would keep 450 MB of it for good.
export UV_CACHE_DIR=$root/.cache/uv
out=requirements
upgrade=()
finish() {
  [ "$out" = requirements ] || rm -rf "$out"
  "$uv" cache prune --quiet
}
trap finish EXIT
case "${1:-}" in
  --check) out=$(mktemp -d); cp requirements/*.txt "$out"/ ;;
  --upgrade) upgrade=(--upgrade) ;;
  "") ;;
  *) echo "usage: requirements/lock.sh [--check|--upgrade]" >&2; exit 2 ;;
esac
compile() {
  "$uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header \
    --no-annotate "${upgrade[@]}" pyproject.toml "$@"
}
compile --extra jobs --extra serving --extra dev -o "$out/dev.txt"
compile --extra jobs -c "$out/dev.txt" -o "$out/jobs.txt"
compile --extra serving -c "$out/dev.txt" -o "$out/serving.txt"
compile --extra bench -c "$out/dev.txt" -o "$out/bench.txt"
if [ "$out" != requirements ]; then
  for name in dev jobs serving bench; do
    cmp -s "requirements/$name.txt" "$out/$name.txt" || {
      echo "requirements/$name.txt is not what pyproject.toml asks for: run requirements/lock.sh and commit the result" >&2
      exit 1
    }
  done
fi
