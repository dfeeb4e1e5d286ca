#!/bin/sh
# Makes an OpenSSH server and client available to the tests without touching the machine:
# the machine's own /usr/sbin/sshd is used (as a program only) when there is one; else Debian's packages
# are downloaded and unpacked below target/openssh, so that no service starts, no account is made and
# nothing is written to /etc/ssh. Idempotent; says nothing when there is nothing to do.
#
# usage: provide.sh TARGET_DIR [shells]
set -eu

target=${1:?usage: provide.sh TARGET_DIR [shells]}
root=$target/openssh/root
lib=$target/openssh/lib

say() { echo "fireaxe tests: $*" >&2; }
die() { say "$1"; shift; for hint; do say "  $hint"; done; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "this needs root for: $*" "run make as root, or install sudo"
    fi
}

apt_lists() {
    # Lists are missing on a fresh container; an old one is refreshed only when a download fails.
    if [ "${1:-}" = again ] || ! apt-cache show openssh-server >/dev/null 2>&1; then
        say "refreshing the package lists (apt-get update)"
        as_root apt-get -qq update || die "apt-get update failed" "check the network or /etc/apt/sources.list"
    fi
}

install() {
    command -v apt-get >/dev/null || die "missing: $*, and there is no apt-get here" "install them by hand and run make again"
    apt_lists
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null ||
        { apt_lists again; as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null; } ||
        die "could not install $*"
}

# Downloads packages and unpacks them below $1.
unpack() {
    into=$1; shift
    command -v apt-get >/dev/null || die "no /usr/sbin/sshd, and no apt-get to fetch one" "install openssh-server and run make again"
    apt_lists
    debs=$(mktemp -d)
    # Root's downloads are done by _apt, who must be able to write there.
    chmod 0777 "$debs"
    ( cd "$debs" && apt-get -qq download "$@" >/dev/null 2>&1 ) ||
        { apt_lists again; ( cd "$debs" && apt-get -qq download "$@" >/dev/null ); } ||
        die "could not download $*" "check the network, or install openssh-server and run make again"
    mkdir -p "$into"
    for deb in "$debs"/*.deb; do dpkg -x "$deb" "$into"; done
    rm -rf "$debs"
}

missing_libraries() { LD_LIBRARY_PATH=$lib ldd "$1" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p'; }

# What the tests call by name.
needs=
command -v ssh >/dev/null && command -v ssh-keygen >/dev/null && command -v ssh-agent >/dev/null || needs="$needs openssh-client"
command -v unshare >/dev/null && command -v nsenter >/dev/null || needs="$needs util-linux"
command -v mount >/dev/null || needs="$needs mount"
# The default policy's look tier runs these on the hosts.
command -v uptime >/dev/null && command -v ps >/dev/null || needs="$needs procps"
# shellcheck disable=SC2086  # a list of package names
[ -z "$needs" ] || install $needs

if [ -x /usr/sbin/sshd ]; then
    rm -rf "$root" "$lib"
    sshd=/usr/sbin/sshd
else
    sshd=$root/usr/sbin/sshd
    if [ ! -x "$sshd" ]; then
        say "unpacking Debian's openssh-server below $target/openssh (not installed)"
        rm -rf "$root.new"
        unpack "$root.new" openssh-server openssh-sftp-server
        rm -rf "$root"
        mv "$root.new" "$root"
    fi
fi

# Libraries that only a server needs are unpacked beside it; twice, for what these need in turn.
for turn in 1 2 3; do
    missing=$(missing_libraries "$sshd")
    [ -n "$missing" ] || break
    packages=
    for library in $missing; do
        case $library in
            libwrap.so.0) packages="$packages libwrap0" ;;
            libnsl.so.2) packages="$packages libnsl2" ;;
            libtirpc.so.3) packages="$packages libtirpc3" ;;
            libaudit.so.1) packages="$packages libaudit1" ;;
            libcap-ng.so.0) packages="$packages libcap-ng0" ;;
            libselinux.so.1) packages="$packages libselinux1" ;;
            libsystemd.so.0) packages="$packages libsystemd0" ;;
            libgssapi_krb5.so.2) packages="$packages libgssapi-krb5-2" ;;
            libkrb5.so.3) packages="$packages libkrb5-3" ;;
            libkrb5support.so.0) packages="$packages libkrb5support0" ;;
            libk5crypto.so.3) packages="$packages libk5crypto3" ;;
            libcom_err.so.2) packages="$packages libcom-err2" ;;
            libkeyutils.so.1) packages="$packages libkeyutils1" ;;
            *) die "sshd needs $library, which is not on this machine" "install openssh-server and run make again" ;;
        esac
    done
    say "unpacking$packages for sshd (not installed)"
    # shellcheck disable=SC2086  # a list of package names
    unpack "$target/openssh/libroot" $packages
    mkdir -p "$lib"
    find "$target/openssh/libroot" -name '*.so.*' -exec cp -a {} "$lib/" \;
    rm -rf "$target/openssh/libroot"
done
[ -z "$(missing_libraries "$sshd")" ] || die "sshd still misses: $(missing_libraries "$sshd")" "install openssh-server and run make again"

# Asked for by the tests of actions: login shells beside bash and dash, the machine's, else unpacked and not
# installed. They are no condition: a test says which one it had to leave out.
[ "${2:-}" = shells ] || exit 0
shells=$target/openssh/shells
unpack_shell() {
    shell=$1; path=$2; shift 2
    ! command -v "$shell" >/dev/null && [ ! -x "$shells/$shell" ] || return 0
    say "unpacking $shell below $shells (not installed)"
    ( unpack "$shells/root" "$@" ) || { say "there is no $shell here: the tests leave it out"; return 0; }
    # As a host of the tests sees it; the libraries that came with it lie in one folder.
    here=/run/fireaxe/openssh/shells/root
    lib_dir=$(cd "$shells/root" && for dir in usr/lib/*-linux-gnu; do [ ! -d "$dir" ] || echo "$here/$dir"; done | head -n 1)
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/%s "$@"\n' "$lib_dir" "$here" "$path" >"$shells/$shell.new"
    chmod 0755 "$shells/$shell.new"
    mv "$shells/$shell.new" "$shells/$shell"
}
unpack_shell zsh bin/zsh zsh
unpack_shell fish usr/bin/fish fish fish-common libpcre2-32-0
unpack_shell tcsh bin/tcsh tcsh
