#!/usr/bin/env bash
# Installs the peers of the benchmarks into .venv-bench, so that they never change what the product runs on.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"
cd "$root"

python=$root/.venv/bin/python
[ -x "$python" ] || fail "$root/.venv is missing: run make setup"
key=$({ cat requirements/bench.txt && "$python" --version; } | sha256sum | cut -d ' ' -f 1)
stamp=.venv-bench/installed
if [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then
  exit 0
fi
say "installing the peers of the benchmark into .venv-bench (a minute or two the first time) ..."
"$python" -m venv --clear .venv-bench
echo '*' > .venv-bench/.gitignore
.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
  -r requirements/bench.txt || fail "pip could not install requirements/bench.txt (its words are above)"
printf '%s\n' "$key" > "$stamp"
