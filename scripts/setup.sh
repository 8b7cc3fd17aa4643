#!/usr/bin/env bash
# Installs what is missing and nothing else: .venv with the locked dependencies, Java 17, Delta Lake and the JDBC drivers.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"
cd "$root"

# Installs Debian packages where that needs no question; fails without a word elsewhere.
apt_install() {
  local as_root=()
  command -v apt-get > /dev/null || return 1
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2> /dev/null || return 1
    as_root=(sudo -n)
  fi
  say "installing $* (apt-get) ..."
  "${as_root[@]}" apt-get -qq update > /dev/null &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" > /dev/null
}

# What the virtual environment was made from: another lock file or another Python makes it anew.
environment_key() { { cat requirements/dev.txt && python3 --version; } | sha256sum | cut -d ' ' -f 1; }

make_environment() {
  local key stamp=.venv/installed
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null ||
    fail "no python3 of version 3.10 or newer found: install one (Debian 12: apt-get install python3 python3-venv)"
  key=$(environment_key)
  if [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && .venv/bin/python -c '' 2> /dev/null; then
    return
  fi
  if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
    python3 -c 'import ensurepip, venv' 2> /dev/null || apt_install python3-venv ||
      fail "Python's venv module is missing: run apt-get install python3-venv as root, then this again"
    python3 -m venv --clear .venv
  fi
  say "installing the locked dependencies into .venv (some minutes the first time) ..."
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --use-pep517 --require-hashes \
    -r requirements/dev.txt || fail "pip could not install requirements/dev.txt (its words are above)"
  printf '%s\n' "$key" > "$stamp"
}

make_environment
find_java || { apt_install openjdk-17-jre-headless && find_java; } ||
  fail "no Java 17 found (JAVA_HOME, PATH, /usr/lib/jvm): install one (Debian: apt-get install openjdk-17-jre-headless as root), then run this again"
"$root/scripts/fetch-jars.sh"
"$root/scripts/archive-classes.sh" || say "no archive of classes (the reason is above): Spark starts as ever, only slower"
