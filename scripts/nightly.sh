#!/usr/bin/env bash
# For cron: runs a job so that it never overlaps itself, logs it, and says on failure what to do. See conf/ctr.cron.
set -uo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=scripts/common.sh
. "$root/scripts/common.sh"

usage() {
  cat << 'TEXT'
usage: scripts/nightly.sh [[options of spark-submit] JOB [options of the job]]      (default: daily)

Runs ./spark-submit.sh with these arguments. Prints nothing when it ends with 0; else one block that says what happened
and what to do, which cron sends by mail. Exit code: that of the job, or 75 when the last run of this job is still going on.
Different jobs may run at once, even with one log: the lake lets one at a time write, in turns.

  NIGHTLY_LOG          the log file (default: data/logs/nightly.log); beside it NAME.JOB.lock of each job, NAME.lock, and older
                       logs NAME.1, NAME.2, ...
  NIGHTLY_LOG_BYTES    a log of another day, or one larger than this, is put aside before a run, unless another job is
                       writing to it (default: 10000000)
  NIGHTLY_LOGS_KEPT    so many older logs stay (default: 14)
  NIGHTLY_MAIL         an address that gets the block too, by the command mail (default: none; cron's MAILTO does without)
  NIGHTLY_COMMAND      what is run (default: spark-submit.sh of this folder)
TEXT
}

case "${1:-}" in
  -h | --help)
    usage
    exit 0
    ;;
esac
[ $# -gt 0 ] || set -- daily

log=${NIGHTLY_LOG:-$root/data/logs/nightly.log}
log_bytes=${NIGHTLY_LOG_BYTES:-10000000}
logs_kept=${NIGHTLY_LOGS_KEPT:-14}
command=${NIGHTLY_COMMAND:-$root/spark-submit.sh}
for number in "$log_bytes" "$logs_kept"; do
  [[ $number =~ ^[1-9][0-9]{0,14}$ ]] ||
    fail "NIGHTLY_LOG_BYTES and NIGHTLY_LOGS_KEPT: found '$number', wanted a whole number above 0" 2
done
[ -z "${NIGHTLY_MAIL:-}" ] || command -v mail > /dev/null ||
  say "NIGHTLY_MAIL is set and there is no command mail: install one (Debian: apt-get install bsd-mailx), or use cron's MAILTO" >&2

now() { date '+%Y-%m-%d %H:%M:%S %z'; }

# lock_name WORDS: the first word that is a job; a command line without any is not one of ours, and has one lock as well.
lock_name() {
  local word
  for word in "$@"; do
    case "$word" in
      daily | backfill | replay | maintain | publish | audit | status)
        printf '%s' "$word"
        return 0
        ;;
    esac
  done
  printf 'other'
}

# Puts the log aside as .1 when it is of another day or too large; the others move up, the oldest goes.
rotate() {
  local size day number
  [ -s "$log" ] || return 0
  size=$(stat -c %s "$log")
  day=$(date -r "$log" +%F)
  [ "$size" -gt "$log_bytes" ] || [ "$day" != "$(date +%F)" ] || return 0
  for ((number = logs_kept - 1; number >= 1; number--)); do
    [ ! -e "$log.$number" ] || mv -f "$log.$number" "$log.$((number + 1))"
  done
  mv -f "$log" "$log.1"
  for number in "$log".*; do
    [[ ${number##*.} =~ ^[0-9]+$ ]] && [ "${number##*.}" -gt "$logs_kept" ] && rm -f "$number"
  done
  return 0
}

# advice CODE: what happened, what to do, and the section of docs/operations.md about it.
advice() {
  case "$1" in
    1)
      say "The run stopped. Readers still see the last publication, nothing half-done is visible, and the next run takes back"
      say "what this one left. The line that begins with \"error:\" names the cause and what to do about it; then run again,"
      say "as $(id -un) and with the settings of the crontab:"
      say "  . $root/scripts/settings.sh"
      say "  $root/scripts/nightly.sh $job"
      section="Exit code 1: the run stopped"
      ;;
    2)
      say "A setting or an option is wrong, so nothing was tried: the lake is as it was. The line that begins with \"error:\" (or"
      say "the end of the usage) names it. Correct conf/ctr.toml, the CTR_* variables of the crontab or the command; run again."
      section="Exit code 2: a setting or an option is wrong"
      ;;
    3)
      say "The run ended well, and found data that needs a look: a limit of data quality was passed (audit: counts differ). The"
      say "lines that begin with \"warning:\" or \"mismatch:\" name it. Do not run again for that; look where the data comes from."
      say "  $root/spark-submit.sh status"
      section="Exit code 3: published, but the data needs a look"
      ;;
    126 | 127)
      say "The command could not be started: $command"
      section="Any other exit code"
      ;;
    *)
      say "The run was ended from outside (137: kill -9, mostly for want of memory: see dmesg; 143: kill, shutdown; 130: Ctrl-C)"
      say "or died. Nothing half-done is visible, and the next run takes back what it left. When the cause is gone, run again,"
      say "as $(id -un) and with the settings of the crontab:"
      say "  . $root/scripts/settings.sh"
      say "  $root/scripts/nightly.sh $job"
      section="Any other exit code"
      ;;
  esac
  say "More: $root/docs/operations.md, \"$section\""
}

# What came into the log during this run.
written() { tail -c "+$((offset + 1))" /dev/fd/7; }

# Whether another job wrote into the log during this run: it began, ended or is still at it.
shared() {
  local alone=0
  flock -n 8 || alone=$?
  flock -s 8
  [ "$alone" != 0 ] || written | grep -aq '^== '
}

block() {
  say "ctr: $job ended with exit code $status on $HOSTNAME"
  say "from $started to $(now), command: $command $job"
  say
  say "What to do:"
  advice "$status" | sed 's/^/  /'
  say
  ! shared || say "Another job wrote into this log at the same time: lines below may be of it."
  say "Errors and warnings of this run (the last 10):"
  written | grep -aE '^([^ ]+: )?(error|warning|mismatch|not checkable): ' | tail -n 10 | cut -c 1-400 | sed 's/^/  | /'
  say "Its last 20 lines (all of it: $log):"
  written | tail -n 20 | cut -c 1-400 | sed 's/^/  | /'
}

lock=$log.$(lock_name "$@").lock
if ! { mkdir -p "$(dirname "$log")" && : >> "$log" && : >> "$log.lock" && : >> "$lock"; }; then
  fail "cannot write the log $log (see above): set NIGHTLY_LOG to a file that $(id -un) may write; nothing was run"
fi
exec 9>> "$lock" 8>> "$log.lock"
# The job inherits both locks, so they are held as long as anything of the job lives, even if this script is killed.
taken=0
flock -n -E 75 9 || taken=$?
if [ "$taken" = 75 ]; then
  say "not started: the run before is still going on ($(cat "$lock")); its log is $log" >&2
  say "More: $root/docs/operations.md, \"Exit code 75: the run before is still going on\"" >&2
  exit 75
fi
[ "$taken" = 0 ] || fail "cannot lock $lock (see above): set NIGHTLY_LOG to a file on a disk of this machine; nothing was run"
job=$(printf '%q ' "$@")
job=${job% }
started=$(now)
# Who writes to the log shares its lock, and only who has it alone puts the log aside.
! flock -n 8 || rotate
flock -s 8
exec 7>> "$log" # the file itself, whatever its name becomes
if ! { printf 'pid %s, %s, since %s' "$$" "$job" "$started" > "$lock" && say "== $started: $command $job" >&7; }; then
  fail "cannot write the log $log (see above; df -h tells whether its disk is full): nothing was run"
fi
offset=$(stat -L -c %s /dev/fd/7)

"$command" "$@" >&7 2>&1 7>&- < /dev/null &
child=$!
trap 'kill -TERM "$child" 2> /dev/null' TERM INT HUP
status=0
wait "$child" 2> /dev/null || status=$?
while kill -0 "$child" 2> /dev/null; do # a trapped signal ends a wait early
  status=0
  wait "$child" 2> /dev/null || status=$?
done
if [ "$status" != 0 ]; then
  text=$(block)
  printf '%s\n' "$text"
  if [ -n "${NIGHTLY_MAIL:-}" ]; then
    printf '%s\n' "$text" | mail -s "ctr: $job ended with exit code $status on $HOSTNAME" "$NIGHTLY_MAIL" ||
      say "the mail to $NIGHTLY_MAIL could not be sent"
  fi
fi
say "== $(now): $job: exit code $status" >&7
exit "$status"
