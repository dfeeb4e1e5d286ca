# The outer process of a host: starts its first process in new namespaces, within a control group of its own
# where the machine has version 2 of them, and removes that group once the host is gone. It ends when its
# standard input does, so a test that is killed leaves nothing behind.
#
# usage: sh enter.sh CGROUP_OR_EMPTY OPTION_OF_UNSHARE... -- PROGRAM ARGUMENTS...
set -eu
cgroup=$1
shift
if [ -z "$cgroup" ]; then exec unshare --mount --pid --fork --kill-child "$@"; fi
mkdir "$cgroup"
(
    echo 0 >"$cgroup/cgroup.procs"
    exec unshare --cgroup --mount --pid --fork --kill-child "$@"
) || true
# Its last processes may take a moment to go.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    if find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null; then exit 0; fi
    sleep 0.2
done
exit 1
