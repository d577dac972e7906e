#!/bin/sh
# Entry point of a pod of a RedisCluster: makes redis.conf from the variables
# that the operator sets, as the operator's own image does.
set -eu
conf=/tmp/redis.conf
port="${REDIS_PORT:-6379}"
ip="$(hostname -i | cut -d' ' -f1)"
{
	echo "port ${port}"
	echo "bind * -::*"
	echo "dir /data"
	echo "tcp-keepalive 300"
	echo "save 900 1"
	echo "save 300 10"
	echo "save 60 10000"
	if [ "${PERSISTENCE_ENABLED:-false}" = true ]; then
		echo "appendonly yes"
	fi
	if [ -n "${REDIS_PASSWORD:-}" ]; then
		echo "masterauth \"${REDIS_PASSWORD}\""
		echo "requirepass \"${REDIS_PASSWORD}\""
	fi
	if [ "${SETUP_MODE:-}" = cluster ]; then
		echo "cluster-enabled yes"
		echo "cluster-config-file /node-conf/nodes.conf"
		echo "cluster-node-timeout 5000"
		echo "cluster-require-full-coverage no"
		echo "cluster-migration-barrier 1"
		echo "cluster-announce-ip ${ip}"
		if [ "${REDIS_MAJOR_VERSION:-v6}" = v7 ]; then
			echo "cluster-announce-hostname $(hostname -f)"
		fi
	fi
} >"$conf"
# A restarted pod has another address; the others learn it when it pings them.
if [ "${SETUP_MODE:-}" = cluster ] && [ -f /node-conf/nodes.conf ]; then
	sed -i -e "/myself/ s/[0-9]\{1,3\}\.[0-9]\{1,3\}\.[0-9]\{1,3\}\.[0-9]\{1,3\}/${ip}/" /node-conf/nodes.conf
fi
exec redis-server "$conf"
