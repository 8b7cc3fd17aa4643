#!/usr/bin/env bash
# The settings of the nights in this shell: . scripts/settings.sh [CRONTAB]      (default: /etc/cron.d/ctr)
#
# Exports what the crontab sets of CTR_*, NIGHTLY_*, SPARK_*, PYSPARK_* and JAVA_HOME, each value exactly as cron gives it to
# the jobs: blanks around it and one pair of quotes go, nothing is expanded, no character is special. A line that cron would
# not take is named, and nothing is exported.
# shellcheck shell=sh disable=SC2163,SC3043

ctr_settings() {
  local file="$1" number=0 line name value quote taken
  if ! [ -f "$file" ] || ! [ -r "$file" ]; then
    printf '%s\n' "cannot read the crontab $file: name yours (. scripts/settings.sh FILE), as a user who may read it" >&2
    return 2
  fi
  shift "$#"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line#"${line%%[![:space:]]*}"}
    case $line in
      CTR_*=* | NIGHTLY_*=* | SPARK_*=* | PYSPARK_*=* | JAVA_HOME*=*) ;;
      *) continue ;;
    esac
    name=${line%%=*}
    name=${name%"${name##*[![:space:]]}"}
    value=${line#*=}
    value=${value#"${value%%[![:space:]]*}"}
    value=${value%"${value##*[![:space:]]}"}
    taken=yes
    case $name in *[!A-Za-z0-9_]*) taken=no ;; esac
    case $value in
      \"* | \'*)
        quote=${value%"${value#?}"}
        value=${value#?}
        case $value in
          *"$quote"?*) taken=no ;;
          *"$quote") ;;
          *) taken=no ;;
        esac
        value=${value%"$quote"}
        value=${value%"${value##*[![:space:]]}"} # cron keeps those before it, not those behind it
        ;;
    esac
    if [ "$taken" = no ]; then
      printf '%s\n' "$file, line $number: cron does not take this setting of $name: wanted NAME=VALUE, where a VALUE that" \
        "begins with a quote has the same one at its end and nowhere else; nothing was set" >&2
      return 2
    fi
    set -- "$@" "$name=$value"
  done < "$file"
  if [ "$#" = 0 ]; then
    printf '%s\n' "$file sets nothing of CTR_*: name the crontab of the nights (. scripts/settings.sh FILE)" >&2
    return 2
  fi
  export "$@"
}

case ${0##*/} in
  settings.sh)
    printf '%s\n' "this file sets variables of the shell that reads it: . $0 [CRONTAB]" >&2
    exit 2
    ;;
esac
ctr_settings "${1:-/etc/cron.d/ctr}"
