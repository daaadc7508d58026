#!/usr/bin/env bash
# Try an image that was built: user, doctor, a run with a read-only root, the API with and without a token, a restart.
#   docker build -f deployments/Dockerfile -t opendt . && deployments/check-image.sh opendt
# ENGINE=podman uses podman. Takes about a minute; removes what it made.
set -euo pipefail
image=${1:?which image?}
engine=${ENGINE:-docker}
port=${PORT:-18080}
name=opendt-check-$$
token=check-$$
say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }
cleanup() {
  "$engine" rm --force --volumes "$name" >/dev/null 2>&1 || true
  "$engine" volume rm --force "$name" >/dev/null 2>&1 || true
}
trap cleanup EXIT
in_image() { "$engine" run --rm --read-only --tmpfs /tmp --volume "$name:/data" "$image" "$@"; }
status() { curl --silent --output /dev/null --write-out '%{http_code}' "$@" "http://127.0.0.1:$port/api/runs" || true; }
wait_for_api() {
  for _ in $(seq 60); do [ "$(status)" = 401 ] && return; sleep 0.5; done
  fail "the API did not answer"
}

say "size: $("$engine" image inspect --format '{{.Size}}' "$image") bytes"
[ "$(in_image id -u)" = 10001 ] || fail "not user 10001"
say "version: $(in_image opendt --version)"
in_image opendt doctor >/dev/null || fail "opendt doctor finds problems"
in_image opendt demo --days 1 --hosts 20 >/dev/null || fail "opendt demo on a read-only root"
[ "$(in_image opendt sql 'select count(*) from runs' --csv | tail -n 1 | tr -d '\r')" = 1 ] || fail "the run is not on the volume"
if in_image opendt api --host 0.0.0.0 >/dev/null 2>&1; then fail "an open API without a token"; fi

"$engine" run --detach --name "$name" --read-only --tmpfs /tmp --volume "$name:/data" --publish "127.0.0.1:$port:8080" \
  --env "OPENDT_API__TOKEN=$token" "$image" opendt api --host 0.0.0.0 >/dev/null
wait_for_api
[ "$(status --header "Authorization: Bearer $token")" = 200 ] || fail "the token is not accepted"
"$engine" exec "$name" opendt --version >/dev/null || fail "the health check's command"
"$engine" restart --time 15 "$name" >/dev/null
wait_for_api
curl --silent --header "Authorization: Bearer $token" "http://127.0.0.1:$port/api/runs" | grep --quiet '"completed"' \
  || fail "the run is gone after a restart"
"$engine" stop --time 15 "$name" >/dev/null
[ "$("$engine" inspect --format '{{.State.ExitCode}}' "$name")" = 0 ] || fail "the API does not stop by itself"
say "all well"
