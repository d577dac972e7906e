#!/bin/sh
# The real server with DEBUG enabled, which the tests use as an oracle; a
# sentinel has no such option.
for arg in "$@"; do
	case "$arg" in
	--sentinel | --version | -v) exec /usr/lib/redis/redis-server "$@" ;;
	esac
done
exec /usr/lib/redis/redis-server "$@" --enable-debug-command yes
