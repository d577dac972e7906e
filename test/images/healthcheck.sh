#!/bin/bash
# Probe of a RedisCluster pod of operator versions before 0.16.
[ "$(redis-cli -h "$(hostname)" -p "${REDIS_PORT:-6379}" -a "${REDIS_PASSWORD}" --no-auth-warning ping)" = PONG ]
