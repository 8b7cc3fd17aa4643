#!/usr/bin/env bash
# Every check that is no test: style, formatting, types, lock files, container files, shell scripts.
set -uo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cd "$root" || exit 1
failed=()

check() {
  local name=$1
  shift
  printf -- '-- %s\n' "$name"
  "$@" || failed+=("$name")
}

check "ruff check" .venv/bin/ruff check .
check "ruff format" .venv/bin/ruff format --check .
check "mypy" .venv/bin/mypy
check "lock files" requirements/lock.sh --check
check "hadolint" .venv/bin/hadolint docker/*.Dockerfile
if command -v shellcheck > /dev/null; then
  check "shellcheck" shellcheck -x spark-submit.sh scripts/*.sh requirements/*.sh conf/*.sh .ci/run
else
  printf -- '-- shellcheck: not installed, left out\n'
fi
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
