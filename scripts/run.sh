#!/usr/bin/env bash
# The whole path on sample data: scripts/run.sh [FOLDER]. Writes the sample, loads its CSV files into SQLite, runs the
# daily job, starts the service, shows one request with its answer and serves until Ctrl-C. What is done already is kept.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"

mkdir -p "${1:-$root/data}"
data=$(cd "${1:-$root/data}" && pwd)
# The sample must never get into a lake or a database of one's own, so what is configured does not count here.
export CTR_EVENTS=$data/sample/events CTR_LAKE=$data/lake CTR_PURCHASES_URL=jdbc:sqlite:$data/sample/purchases.db
# Who may ask a service of one's own is no matter of the sample's, which is asked without a key.
unset CTR_API_KEYS_FILE CTR_JWT_JWKS CTR_JWT_ISSUER CTR_JWT_AUDIENCE

python() { "$root/scripts/python.sh" "$@"; }

python "$root/scripts/service.py" free

say "== sample data in $data"
python -m jobs.sample --out "$data/sample"
say "== purchases into SQLite"
python -m jobs.load_csv "$data/sample/orders.csv" "$data/sample/order_items.csv"
say "== the daily job"
status=0
"$root/spark-submit.sh" daily || status=$?
case "$status" in
  0) ;;
  3) say "The daily job published, but a limit of data quality was passed (exit code 3). Going on." ;;
  *) fail "The daily job failed (exit code $status); its reason is above." "$status" ;;
esac

say "== the service"
log=$data/service.log
"$root/scripts/python.sh" -m serving > "$log" 2>&1 &
service=$!
stopped=""
stop() {
  stopped=yes
  kill -TERM "$service" 2> /dev/null || true
}
trap stop INT TERM

if ! python "$root/scripts/service.py" example "$service"; then
  tail -n 20 "$log" >&2
  stop
  wait "$service" || true
  exit 1
fi
say "Ctrl-C ends it. (Log: $log)"
# A trapped signal ends a wait early, so wait until the service is really gone.
status=0
while kill -0 "$service" 2> /dev/null; do
  status=0
  wait "$service" || status=$?
done
if [ -z "$stopped" ]; then
  tail -n 20 "$log" >&2
  fail "the service ended by itself with exit code $status; the end of its log is above"
fi
say "stopped"
