#!/bin/sh
# What has to hold before a change of this folder is merged. Needs transfer-gate {{version}}, and no broker.
set -eu
cd "$(dirname "$0")"
transfer-gate registry check --strict registry
transfer-gate policy test --registry registry --junit report.xml cases
