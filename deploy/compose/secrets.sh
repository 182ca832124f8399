#!/bin/sh
# Makes the secrets of docker-compose.yml that are not there yet; what exists stays as it is. Needs od and base64.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets

# Compose mounts a secret's file as it is, and the containers run as users of their own: readable, in a folder that is not.
new() {
    [ -s "secrets/$1" ] && return
    head -c "$2" /dev/urandom | base64 | tr -d '\n' >"secrets/$1"
    chmod 444 "secrets/$1"
    echo "made deploy/compose/secrets/$1" >&2
}

# The master key of payloads in quarantine (AES-256), as `transfer-gate key new` would make it: who loses it can replay
# nothing that is held now.
new quarantine-keys 32
# What webhooks are signed with, of a source like examples/ingest/signed.yaml.
new signed-secret 32
new grafana-admin 18
