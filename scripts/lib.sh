# Functions that the scripts share; sourced, not run.

step() { printf '· %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command without its output; shows the output's end when the command fails.
attempt() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  [ "$status" -eq 0 ] || tail -n 15 "$log" >&2
  rm -f "$log"
  return "$status"
}

quietly() { attempt "$@" || fail "this command failed: $*"; }
