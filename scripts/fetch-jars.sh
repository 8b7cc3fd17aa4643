#!/usr/bin/env bash
# Fetches the jars of spark.jars.packages (conf/spark-defaults.conf) by Spark's own resolver and copies them to
# .cache/jars, from where spark-submit.sh takes them. Does nothing when they are there already.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"

[ -z "$(resolved_jars)" ] || exit 0
find_java || fail "no Java 17 or 21 found: run make setup"
SPARK_HOME=$(find_spark) || fail "the Python packages are not installed: run make setup"
export SPARK_HOME SPARK_CONF_DIR=$root/conf SPARK_LOCAL_IP=127.0.0.1

say "fetching Delta Lake and the JDBC drivers ..."
mkdir -p "$root/.cache/jars"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A program that only names what was resolved: the resolver is Spark's, and so are its cache and its settings.
cat > "$work/jars.py" << 'PY'
import sys
from pyspark import SparkConf, SparkContext

context = SparkContext(conf=SparkConf().setMaster("local[1]"))
with open(sys.argv[1], "w") as out:
    out.writelines(path + "\n" for path in context._conf.get("spark.jars").split(","))
context.stop()
PY
PYSPARK_SUBMIT_ARGS=pyspark-shell "$root/.venv/bin/python" "$work/jars.py" "$work/list" > "$work/log" 2>&1 || {
  cat "$work/log" >&2
  fail "Spark's resolver could not fetch the jars (its words are above): is Maven Central reachable?"
}
rm -f "$root"/.cache/jars/*.jar "$root/.cache/jars/resolved"
while read -r jar; do
  cp "${jar#file:}" "$root/.cache/jars/"
done < "$work/list"
jars_key > "$root/.cache/jars/resolved"
