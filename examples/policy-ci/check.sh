#!/bin/sh
# A pull request that changes policies: right, tried, and either proved to grant nothing new or looked at.
#
#   check.sh BASE [ALLOW_GRANTS]
#
# BASE is the revision to compare with. With ALLOW_GRANTS=yes a change that grants something passes, once somebody
# has said so. Exit code 0: may be merged; 3: grants something new; 1: wrong.
set -eu

base=$1
allow_grants=${2:-no}
canopy=${CANOPY:-canopy}
policies=${POLICIES:-policies}

"$canopy" policy check "$policies"
"$canopy" policy test "$policies" --full-coverage

status=0
"$canopy" policy diff "$base:$policies" "$policies" || status=$?
if [ "$status" -eq 3 ] && [ "$allow_grants" = yes ]; then
    echo "Something new is granted, and that was agreed to."
    exit 0
fi
exit "$status"
