#!/bin/sh
# Replaces the asset behind a deployment, then scores two rows with what serves.
#     replace.sh SPACE DEPLOYMENT ASSET
set -eu
space=$1 deployment=$2 asset=$3
servers=${BATON_BOOTSTRAP_SERVERS:-127.0.0.1:9092}
prefix=${BATON_TOPIC_PREFIX:-baton.}
command_id=$(uuidgen) request_id=$(uuidgen)
# What is told before is not of these ids: so where reading begins need not be exact.
since=$(($(date +%s) - 60))000

# find TOPIC TEXT: the first record since then whose headers or value hold TEXT.
find() {
    for _ in $(seq 60); do
        kcat -C -q -e -J -b "$servers" -t "$prefix$1" -o "s@$since" -X isolation.level=read_committed |
            grep -v 'baton.event.update-started.v1' | grep -m 1 -F "$2" && return
        sleep 1
    done
    echo "no answer after a minute: do a worker and a scoring agent run?" >&2
    return 3
}

# librdkafka's default partitioner is not Java's: a space's commands have to meet on one partition.
printf '{"space_id": "%s", "deployment_id": "%s", "asset_id": "%s", "reason": "accuracy"}' \
    "$space" "$deployment" "$asset" |
    kcat -P -b "$servers" -t "${prefix}commands" -k "$space" -X partitioner=murmur2_random \
        -H 'ce_specversion=1.0' -H "ce_id=$command_id" -H 'ce_source=/examples/kcat' \
        -H 'ce_type=baton.command.replace-asset.v1' -H 'ce_actor=kcat@example.com' \
        -H 'content-type=application/json'
find events "\"ce_causationid\",\"$command_id\""

printf '{"input_data": [{"fields": ["amount", "age"], "values": [[1.2, 30], [870.5, 41]]}]}' |
    kcat -P -b "$servers" -t "${prefix}requests" \
        -H "deployment-id=$deployment" -H "request-id=$request_id"
find responses "\"request-id\",\"$request_id\""
