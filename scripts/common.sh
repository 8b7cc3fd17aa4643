# Shared by the scripts and spark-submit.sh; sourced, never run. Needs $root, the project folder.
# shellcheck shell=bash disable=SC2154

say() { printf '%s\n' "$*"; }

# fail TEXT [STATUS]: one clear line on standard error, then out.
fail() {
  printf '%s\n' "$1" >&2
  exit "${2:-1}"
}

# The major version of the Java under a folder: 17, or nothing if there is none.
java_major() {
  local version=""
  [ -n "$1" ] && [ -x "$1/bin/java" ] || return 0
  if [ -r "$1/release" ]; then
    version=$(sed -n 's/^JAVA_VERSION="\{0,1\}\([0-9]*\).*/\1/p' "$1/release")
  fi
  [ -n "$version" ] || version=$("$1/bin/java" -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p')
  printf '%s' "$version"
}

# Sets and exports JAVA_HOME to the first Java that Spark can use; fails without a word if there is none.
find_java() {
  local home command_home=""
  if command -v java > /dev/null; then
    command_home=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  fi
  for home in "${JAVA_HOME:-}" "$command_home" /usr/lib/jvm/*-17-* /usr/lib/jvm/*-21-*; do
    case "$(java_major "$home")" in
      17 | 21)
        export JAVA_HOME=$home
        return 0
        ;;
    esac
  done
  return 1
}

# Where the pyspark of .venv stands; fails if it is not there.
find_spark() {
  local folder
  for folder in "$root"/.venv/lib/python3*/site-packages/pyspark; do
    [ -d "$folder/jars" ] && printf '%s' "$folder" && return 0
  done
  return 1
}

# The resolved jars of spark.jars.packages as one comma-separated list; nothing if make setup has not fetched them
# for the present spark-defaults.conf.
resolved_jars() {
  local stamp=$root/.cache/jars/resolved jar list=""
  [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$(jars_key)" ] || return 0
  for jar in "$root"/.cache/jars/*.jar; do
    list=$list${list:+,}$jar
  done
  printf '%s' "$list"
}

# Changes when the jars that are asked for change.
jars_key() { grep '^spark\.jars\.' "$root/conf/spark-defaults.conf" | sha256sum | cut -d ' ' -f 1; }

# Changes with what Java's archive of classes was made from: the Java, and Spark with its jars. Needs find_java and find_spark.
classes_key() {
  { cat "$JAVA_HOME/release" 2> /dev/null; stat -L -c '%n %s %Y' "$JAVA_HOME/bin/java" "$SPARK_HOME"/jars/*.jar; jars_key; } |
    sha256sum | cut -d ' ' -f 1
}
