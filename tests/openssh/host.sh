# One host of the test world: the first process of its own mount and pid namespace. Everything it mounts
# is seen by its children alone and ends with it; it ends when its standard input does, so a test that is
# killed leaves nothing behind.
#
# usage: host.sh HOST_DIR BIN_DIR PACKAGE_DIR OPENSSH_DIR SERVER_DIR WITH_CGROUP
# HOST_DIR holds etc, home, root, tmp and var, which stand in for the machine's, and its syslog's socket.
# PACKAGE_DIR holds what a package of ours would install.
# SERVER_DIR holds an unpacked OpenSSH server, its libraries beside it, which is laid over the machine's /usr;
# empty: the machine's own is used.
set -eu
host=$1 bin=$2 package=$3 openssh=$4 server=$5 with_cgroup=$6

# Before /proc is this namespace's: the pid by which the test can enter.
read -r pid _ </proc/self/stat

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock /run/world/host /run/world/bin /run/world/package /run/world/openssh /run/world/usr
# Sources first: they may lie below what is covered next.
mount --bind "$host" /run/world/host
mount --bind "$bin" /run/world/bin
mount --bind "$package" /run/world/package
if [ -d "$openssh" ]; then mount --bind "$openssh" /run/world/openssh; fi

# What is installed on this host alone: programs of ours, an unpacked server with its libraries.
mount -t tmpfs -o mode=755 tmpfs /run/world/usr
mkdir /run/world/usr/upper /run/world/usr/work
mount -t overlay -o "lowerdir=${server:+$server/usr:}/usr,upperdir=/run/world/usr/upper,workdir=/run/world/usr/work" \
    overlay /usr
# Whoever unpacked the server owns its folders; sshd trusts programs only below root's.
for dir in /usr /usr/bin /usr/sbin /usr/lib; do chown 0:0 "$dir"; chmod 755 "$dir"; done
if [ -n "$server" ] && [ -d "$server/../lib" ]; then
    cp -a "$server/../lib/." "$(dirname "$(find /usr/lib -maxdepth 2 -name 'libc.so.6' | head -n 1)")/"
fi

for covered in etc home root var tmp; do
    mount --bind "/run/world/host/$covered" "/$covered"
done

# Terminals of its own, and a syslog.
mkdir /run/world/dev
mount --rbind /dev /run/world/dev
mount -t tmpfs -o mode=755 tmpfs /dev
for node in null zero full random urandom tty; do
    : >"/dev/$node"
    mount --bind "/run/world/dev/$node" "/dev/$node"
done
mkdir /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
: >/dev/log
mount --bind /run/world/host/syslog /dev/log
umount -l /run/world/dev
rmdir /run/world/dev

mount -t proc proc /proc
# Each start is a boot of its own, which the machine's kernel does not know of.
cat /proc/sys/kernel/random/uuid >/run/world/boot_id
mount --bind /run/world/boot_id /proc/sys/kernel/random/boot_id
# Never the machine's control groups: this namespace's own, or none.
if [ -d /sys/fs/cgroup ]; then
    if [ "$with_cgroup" = yes ]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    else
        mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    fi
fi

echo "ready $pid"
# Ends with the pipe.
while read -r _; do :; done
