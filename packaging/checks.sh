# Read by packaging/check-deb, packaging/check-container and packaging/clean-root: checks with a name, and how many of them passed.

passed=0
failed=0

# Fails where a program is missing.
need() {
  local tool
  for tool; do
    command -v "$tool" >/dev/null || { echo "$0: $tool is missing" >&2; exit 1; }
  done
  [ "$(id -u)" = 0 ] || { echo "$0: only root may make a system of its own" >&2; exit 1; }
}

section() { printf '\n%s\n' "$1"; }

# check NAME COMMAND...: whether the command succeeds; what it says is shown where it does not.
check() {
  local name=$1 said
  shift
  said=$(mktemp)
  # In this shell, which it may tell something.
  if "$@" >"$said" 2>&1; then
    passed=$((passed + 1))
    echo "  ok      $name"
  else
    failed=$((failed + 1))
    echo "  FAILED  $name"
    sed 's/^/          /' "$said" | tail -20
  fi
  rm -f "$said"
}

# Tries a command for half a minute, until it succeeds.
eventually() {
  local tries
  for tries in $(seq 300); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  echo "not within half a minute: $*" >&2
  return 1
}

# Prints how many checks passed, in the words of cargo, by which .ci/run counts; fails where one did not.
totals() {
  local verdict=ok
  [ "$failed" = 0 ] || verdict=FAILED
  printf '\ntest result: %s. %s passed; %s failed; 0 ignored\n' "$verdict" "$passed" "$failed"
  [ "$failed" = 0 ]
}
