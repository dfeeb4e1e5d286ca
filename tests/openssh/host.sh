# One host of the test world: the first process of its own mount and pid namespace. Everything it mounts
# is seen by its children alone and ends with it; it ends when its standard input does, so a test that is
# killed leaves nothing behind.
#
# usage: unshare --mount --pid --fork sh host.sh HOST_DIR BIN_DIR OPENSSH_DIR
# HOST_DIR holds etc, home, root, tmp and var, which stand in for the machine's.
set -eu
host=$1 bin=$2 openssh=$3

# Before /proc is this namespace's: the pid by which the test can enter.
read -r pid _ </proc/self/stat

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock /run/fireaxe/host /run/fireaxe/bin /run/fireaxe/openssh
# Sources first: they may lie below what is covered next.
mount --bind "$host" /run/fireaxe/host
mount --bind "$bin" /run/fireaxe/bin
if [ -d "$openssh" ]; then mount --bind "$openssh" /run/fireaxe/openssh; fi
for covered in etc home root var tmp; do
    mount --bind "/run/fireaxe/host/$covered" "/$covered"
done
# An unpacked server's helpers, where Debian's configuration names them (sftp-server).
if [ -d /run/fireaxe/openssh/root/usr/lib/openssh ] && [ -d /usr/lib/openssh ]; then
    mount --bind /run/fireaxe/openssh/root/usr/lib/openssh /usr/lib/openssh
fi
mount -t proc proc /proc

echo "ready $pid"
# Ends with the pipe.
while read -r _; do :; done
