#!/bin/sh
# Makes an OpenSSH server and client available to the tests without touching the machine:
# the machine's own /usr/sbin/sshd is used (as a program only) when there is one; else Debian's packages
# are downloaded and unpacked below target/openssh, so that no service starts, no account is made and
# nothing is written to /etc/ssh. Idempotent; says nothing when there is nothing to do.
#
# usage: provide.sh TARGET_DIR [shells] [tools] [backports]
#   shells     further login shells, for the tests of actions
#   tools      what people run through ssh and in sessions: rsync, tmux
#   backports  the newest OpenSSH server that Debian's backports offer, below target/openssh-backports
# None is a condition: a test says loudly what it had to leave out.
set -eu

target=${1:?usage: provide.sh TARGET_DIR [shells] [backports]}
shift
with_shells= with_tools= with_backports=
for asked; do
    case $asked in
        shells) with_shells=yes ;;
        tools) with_tools=yes ;;
        backports) with_backports=yes ;;
        *) echo "usage: provide.sh TARGET_DIR [shells] [tools] [backports]" >&2; exit 2 ;;
    esac
done
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

missing_libraries() { LD_LIBRARY_PATH=${2:-$lib} ldd "$1" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p'; }

# What the tests call by name.
needs=
command -v ssh >/dev/null && command -v ssh-keygen >/dev/null && command -v ssh-agent >/dev/null || needs="$needs openssh-client"
command -v unshare >/dev/null && command -v nsenter >/dev/null || needs="$needs util-linux"
command -v mount >/dev/null || needs="$needs mount"
# Hosts make accounts, and networks of their own.
command -v useradd >/dev/null || needs="$needs passwd"
command -v ip >/dev/null || needs="$needs iproute2"
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

# Libraries that only a server needs are unpacked beside it; several times, for what these need in turn.
provide_libraries() {
    server=$1 beside=$2
    for _ in 1 2 3; do
        missing=$(missing_libraries "$server" "$beside")
        [ -n "$missing" ] || return 0
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
        unpack "$beside.root" $packages
        mkdir -p "$beside"
        find "$beside.root" -name '*.so.*' -exec cp -a {} "$beside/" \;
        rm -rf "$beside.root"
    done
    [ -z "$(missing_libraries "$server" "$beside")" ] ||
        die "sshd still misses: $(missing_libraries "$server" "$beside")" "install openssh-server and run make again"
}
provide_libraries "$sshd" "$lib"

# The newest server of the backports, with apt's own checks of signature and hash, and nothing of the machine's
# apt: sources, lists and cache are a folder below target.
provide_backports() {
    backports=$target/openssh-backports
    [ ! -x "$backports/root/usr/sbin/sshd" ] || return 0
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    command -v apt-get >/dev/null && [ -r "$keyring" ] || { say "no apt-get or no $keyring here"; return 1; }
    mirror=$(apt-cache policy 2>/dev/null | sed -n 's|^ *[0-9]* \(https\{0,1\}://[^ ]*\) bookworm/main .*|\1|p' | head -n 1)
    rm -rf "$backports"
    mkdir -p "$backports/apt/lists/partial" "$backports/apt/cache/archives/partial" "$backports/debs"
    suite=bookworm-backports
    echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $suite main" >"$backports/apt/sources.list"
    own_apt() {
        apt-get -qq -o Dir::Etc::SourceList="$backports/apt/sources.list" -o Dir::Etc::SourceParts=- \
            -o Dir::State::Lists="$backports/apt/lists" -o Dir::Cache="$backports/apt/cache" \
            -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 -o Acquire::Languages=none \
            -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@"
    }
    say "unpacking the OpenSSH server of $suite below $backports (not installed)"
    own_apt update >/dev/null && ( cd "$backports/debs" && own_apt download openssh-server openssh-sftp-server >/dev/null ) ||
        return 1
    for deb in "$backports"/debs/*.deb; do dpkg -x "$deb" "$backports/root.new" || return 1; done
    provide_libraries "$backports/root.new/usr/sbin/sshd" "$backports/lib"
    for part in "$backports"/root.new/usr/lib/openssh/sshd-*; do
        [ ! -x "$part" ] || provide_libraries "$part" "$backports/lib"
    done
    rm -rf "$backports/apt" "$backports/debs"
    mv "$backports/root.new" "$backports/root"
}
[ -z "$with_backports" ] || ( provide_backports ) || say "there is no OpenSSH of the backports here: the tests leave it out"

# Asked for by the tests of sessions: the machine's own, else unpacked and not installed. Each is found beside
# itself, since it runs on the machine and, under another path, on its hosts.
tools=$target/openssh/tools
unpack_tool() {
    tool=$1; shift
    ! command -v "$tool" >/dev/null && [ ! -x "$tools/$tool" ] || return 0
    say "unpacking $tool below $tools (not installed)"
    ( unpack "$tools/root" "$@" ) || { say "there is no $tool here: the tests leave it out"; return 0; }
    cat >"$tools/$tool.new" <<'END'
#!/bin/sh
beside=${0%/*}/root
for dir in "$beside"/usr/lib/*-linux-gnu "$beside"/lib/*-linux-gnu; do
    [ ! -d "$dir" ] || libraries=${libraries:+$libraries:}$dir
done
END
    echo "LD_LIBRARY_PATH=\$libraries exec \"\$beside/usr/bin/$tool\" \"\$@\"" >>"$tools/$tool.new"
    chmod 0755 "$tools/$tool.new"
    mv "$tools/$tool.new" "$tools/$tool"
}
if [ -n "$with_tools" ]; then
    unpack_tool rsync rsync libpopt0 libxxhash0 liblz4-1
    unpack_tool tmux tmux libevent-core-2.1-7 libutempter0
fi

# Asked for by the tests of actions: login shells beside bash and dash, the machine's, else unpacked and not
# installed.
[ -n "$with_shells" ] || exit 0
shells=$target/openssh/shells
unpack_shell() {
    shell=$1; path=$2; shift 2
    ! command -v "$shell" >/dev/null && [ ! -x "$shells/$shell" ] || return 0
    say "unpacking $shell below $shells (not installed)"
    ( unpack "$shells/root" "$@" ) || { say "there is no $shell here: the tests leave it out"; return 0; }
    # As a host of the tests sees it; the libraries that came with it lie in one folder.
    here=/run/world/openssh/shells/root
    lib_dir=$(cd "$shells/root" && for dir in usr/lib/*-linux-gnu; do [ ! -d "$dir" ] || echo "$here/$dir"; done | head -n 1)
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/%s "$@"\n' "$lib_dir" "$here" "$path" >"$shells/$shell.new"
    chmod 0755 "$shells/$shell.new"
    mv "$shells/$shell.new" "$shells/$shell"
}
unpack_shell zsh bin/zsh zsh
unpack_shell fish usr/bin/fish fish fish-common libpcre2-32-0
unpack_shell tcsh bin/tcsh tcsh
