#!/usr/bin/env bash
# Installs what tests drive as a real thing: database servers that the component tests start for themselves (PostgreSQL, MariaDB),
# Chromium for those of the page, R (50 MB) for its lines of the README, rsync for the procedures of docs/operations.md, wrk for the load
# of the benchmark of the service. Where apt-get would need a question, those tests are skipped and say why.
set -euo pipefail
missing=()
compgen -G '/usr/lib/postgresql/*/bin/postgres' > /dev/null || command -v postgres > /dev/null || missing+=(postgresql)
command -v mariadbd > /dev/null || missing+=(mariadb-server)
command -v chromium > /dev/null || missing+=(chromium)
command -v wrk > /dev/null || missing+=(wrk)
command -v rsync > /dev/null || missing+=(rsync)
command -v Rscript > /dev/null && [ -d /usr/lib/R/site-library/jsonlite ] || missing+=(r-base-core r-cran-jsonlite)
[ ${#missing[@]} -gt 0 ] || exit 0
as_root=()
if [ "$(id -u)" != 0 ]; then
  sudo -n true 2> /dev/null || { echo "not installed, their tests are skipped: ${missing[*]}"; exit 0; }
  as_root=(sudo -n)
fi
command -v apt-get > /dev/null || { echo "not installed, their tests are skipped: ${missing[*]}"; exit 0; }
echo "installing ${missing[*]} (apt-get) ..."
"${as_root[@]}" apt-get -qq update > /dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" > /dev/null
