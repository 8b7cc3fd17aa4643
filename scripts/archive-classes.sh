#!/usr/bin/env bash
# Makes Java's archive of the classes that a job loads (class data sharing), by one run on a tiny sample, in .cache/classes:
# spark-submit.sh then starts Spark in half the time. Does nothing when it is there for this Java, this Spark and these jars.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"

find_java || fail "no Java 17 or 21 found: run make setup"
SPARK_HOME=$(find_spark) || fail "the Python packages are not installed: run make setup"
folder=$root/.cache/classes
[ ! -r "$folder/key" ] || [ "$(cat "$folder/key")" != "$(classes_key)" ] || exit 0
say "keeping the classes of Spark for quick starts ..."
mkdir -p "$folder/conf"
half=$folder/classes.half # renamed when it is whole: a job that starts meanwhile must not take it for the archive
rm -f "$folder/classes.jsa" "$folder/key" "$half"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
while read -r name; do unset "$name"; done < <(compgen -e | grep '^CTR_' || true)
export CTR_EVENTS=$work/sample/events CTR_LAKE=$work/lake CTR_PURCHASES_URL=jdbc:sqlite:$work/shop.db
run() {
  "$root/scripts/python.sh" -m jobs.sample --out "$work/sample" --days 1 --bytes 1m &&
    "$root/scripts/python.sh" -m jobs.load_csv "$work/sample/orders.csv" "$work/sample/order_items.csv" --url "$CTR_PURCHASES_URL" &&
    "$root/spark-submit.sh" daily
}
# Java writes the archive when it ends, after the job: the pipe is open until then.
SPARK_SUBMIT_OPTS="-XX:ArchiveClassesAtExit=$half -Xlog:cds=off -Xlog:cds+dynamic=off" run 2>&1 | cat > "$work/log" || {
  cat "$work/log" >&2
  fail "the run on a tiny sample failed (its words are above)"
}
if [ -s "$half" ]; then
  mv "$half" "$folder/classes.jsa"
  classes_key > "$folder/key"
else
  say "this Java makes no archive of classes: Spark starts as ever, only slower"
fi
