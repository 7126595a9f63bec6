#!/bin/bash
# Usage: serve.sh PORT COMMAND [ARGUMENT...]
# Starts a web server, prints its answer to GET /, and stops it.
set -u
port=$1
shift
"$@" &
server=$!
get() {
  exec 3<>"/dev/tcp/127.0.0.1/$port" &&
    printf 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 && cat <&3
}
until answer=$(get 2> /dev/null); do
  kill -0 "$server" || exit 1 # It has ended.
  sleep 0.1
done
echo "$answer"
kill "$server"
wait "$server"
exit 0
