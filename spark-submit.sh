#!/usr/bin/env bash
# Runs a job on Spark: ./spark-submit.sh [options of spark-submit] JOB [options of the job]
#
# The job's own Python process is the driver and starts Spark when it needs it (client mode). So a wrong setting or
# `status` costs no start of a JVM, the exit code and signals are the job's own, and a killed job leaves no second
# process behind that goes on writing.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"

usage() {
  cat << 'TEXT'
usage: ./spark-submit.sh [options of spark-submit] JOB [options of the job]

jobs:
  daily      read the event files and purchases that are new, and publish
  backfill   the same for a long history, batch by batch, newest first
  replay     try the quarantine again after a fix, and publish
  maintain   merge small files, drop what is out of date, free the disk
  publish    put an older publication back as a new one
  audit      recompute random cells, or all of a product, from the raw files and the database
  status     what the lake holds: publications, files, watermarks

  ./spark-submit.sh JOB --help                       the options of a job
  ./spark-submit.sh daily                            on this machine, all cores
  ./spark-submit.sh --driver-memory 8g backfill      options of spark-submit come before the job
  ./spark-submit.sh --master spark://HOST:7077 daily on a cluster; the driver runs here

Settings: conf/ctr.toml or CTR_* variables; Spark's own: conf/spark-defaults.conf.
Exit code: 0 done, 1 failed, 2 wrong usage, 3 done but a limit of data quality was passed.
TEXT
}

wrong() {
  printf '%s\n\n' "$1" >&2
  usage >&2
  exit 2
}

# One word, quoted for PYSPARK_SUBMIT_ARGS, which Python splits by the rules of a POSIX shell.
quote() { printf " '%s'" "${1//\'/\'\\\'\'}"; }

job="" master="" jars="" py_files="" spark_args=""
while [ $# -gt 0 ] && [ -z "$job" ]; do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    -v | --verbose | --supervise)
      spark_args+=$(quote "$1")
      shift
      continue
      ;;
    --*=*)
      name=${1%%=*}
      value=${1#*=}
      shift
      ;;
    --*)
      [ $# -gt 1 ] || wrong "$1: wanted a value and a job after it"
      name=$1
      value=$2
      shift 2
      ;;
    -*) wrong "$1: no such option" ;;
    daily | backfill | replay | maintain | publish | audit | status)
      job=$1
      shift
      continue
      ;;
    *) wrong "$1: no such job" ;;
  esac
  case "$name=$value" in
    --deploy-mode=client) continue ;;
    --deploy-mode=*) wrong "--deploy-mode $value: the driver runs where this command runs; leave the option out" ;;
    --master=*) master=$value ;;
    --conf=spark.master=*) master=${value#*=} ;;
    --jars=*) jars=$value && continue ;;
    --py-files=*) py_files=$value && continue ;;
  esac
  spark_args+="$(quote "$name")$(quote "$value")"
done
[ -n "$job" ] || wrong "no job given"

python=$root/.venv/bin/python
SPARK_HOME=$(find_spark) || fail "the Python packages are not installed in $root/.venv: run make setup"
needs_java=yes
case "$job" in maintain | publish | audit | status) needs_java=no ;; esac
for argument in "$@"; do
  case "$argument" in -h | --help) needs_java=no ;; esac
done
if [ "$needs_java" = yes ]; then
  find_java || fail "no Java 17 or 21 found (JAVA_HOME, PATH, /usr/lib/jvm): run make setup, or set JAVA_HOME"
fi

case "$master" in
  "" | local | "local["*)
    # Nothing outside this machine needs to reach the driver.
    export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
    ;;
  *)
    # Workers elsewhere get the code of the jobs as a ZIP, named by its content so that running jobs keep theirs.
    code=$(find "$root/common" "$root/jobs" -name '*.py' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum | cut -c 1-12)
    package=$root/.cache/jobs-$code.zip
    if [ ! -e "$package" ]; then
      mkdir -p "$root/.cache"
      (cd "$root" && "$python" -m zipfile -c "$package.$$" common jobs && mv "$package.$$" "$package")
    fi
    py_files=$package${py_files:+,$py_files}
    ;;
esac

export SPARK_HOME SPARK_CONF_DIR=${SPARK_CONF_DIR:-$root/conf}
# Jars that make setup has resolved are named one by one: a start then needs no resolver, and --packages is free for more.
if [ "$SPARK_CONF_DIR" = "$root/conf" ]; then
  resolved=$(resolved_jars)
  if [ -n "$resolved" ]; then
    spark_args="$(quote --conf)$(quote spark.jars.packages=)$(quote --conf)$(quote spark.jars.excludes=)$spark_args"
    jars=$resolved${jars:+,$jars}
  fi
fi
[ -z "$jars" ] || spark_args+="$(quote --jars)$(quote "$jars")"
[ -z "$py_files" ] || spark_args+="$(quote --py-files)$(quote "$py_files")"

export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$python}
export PYSPARK_SUBMIT_ARGS="${spark_args# } pyspark-shell"
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "$python" "$root/jobs/cli.py" "$job" "$@"
