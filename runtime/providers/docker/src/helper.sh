# What the helper container does with a device of its host: `DO` says what, `DEVICE` with which.
# Exit 44: the device is not there. Exit 45: it holds something already. Exit 46: it must be
# mounted for that. Exit 47: it began to write, and could not go on. Exit 48: it is mounted. The last
# line says that this is all: what can't be heard is no answer.
#
# `DO=serve` stays, and answers what it reads, line by line: a number, what to do, a device. It ends
# when nobody can ask it any more, and after `LIFE_S` seconds whoever still could.

exec 2>&1

# A tool of its own, or busybox's.
tool() {
    if command -v "$1" >/dev/null 2>&1; then "$@"; else busybox "$@"; fi
}

# Whether all is there that a look takes.
check() {
    for t in awk blkid cat readlink; do
        command -v $t >/dev/null 2>&1 || { echo "there is no $t in it"; return 1; }
    done
    for t in dd grep sleep tr wc; do
        command -v $t >/dev/null 2>&1 || busybox $t --help >/dev/null 2>&1 ||
            { echo "there is no $t in it"; return 1; }
    done
    [ -r /proc/1/mountinfo ] || { echo "it can't read the host's /proc/1/mountinfo"; return 1; }
}

# What is on it: nothing, a file system, or something else (a partition table).
kind() {
    # A file system first: what a file in it holds may look like something else.
    T=$(blkid -p -u filesystem -o value -s TYPE "$D" 2>/dev/null)
    r=$?
    [ $r != 2 ] || { T=$(blkid -p -o value -s TYPE "$D" 2>/dev/null); r=$?; }
    # 2 means that nothing was found, or that it can't be read (blkid(8)).
    if [ $r = 2 ]; then
        [ "$(tool dd if="$D" bs=4096 count=1 2>/dev/null | tool wc -c)" -eq 4096 ] && return 0
        echo "it can't be read"
        return 1
    fi
    [ $r = 0 ] || { echo "blkid ended with $r"; return 1; }
    echo "${T:-unknown}"
}

# A file system's blocks times their size, from what its own tool prints.
bytes() {
    case $1 in
    ext4) dumpe2fs -h "$D" 2>/dev/null |
        awk '/^Block count:/ {n = $3} /^Block size:/ {s = $3} END {printf "%.0f\n", n * s}' ;;
    xfs) xfs_db -r -c 'sb 0' -c 'p dblocks blocksize' "$D" |
        awk '/dblocks/ {n = $3} /blocksize/ {s = $3} END {printf "%.0f\n", n * s}' ;;
    esac
}

# The kernel counts in sectors of 512 bytes, whatever the device's own are.
device_bytes() {
    echo $(($(cat "/sys/class/block/${D#/dev/}/size") * 512))
}

# Whether the MiB at this place is zeros; what can't be read ends it all.
is_zero() {
    [ "$(tool dd if="$D" bs=1048576 skip="$1" count=1 2>/dev/null | tool wc -c)" -eq 1048576 ] ||
        { echo "MiB $1 of it can't be read"; exit 1; }
    [ "$(tool dd if="$D" bs=1048576 skip="$1" count=1 2>/dev/null | tool tr -d '\000' |
        tool wc -c)" -eq 0 ]
}

# What has no signature that anybody knows may be data all the same: only zeros are none.
is_blank() {
    blkid -p "$D" >/dev/null 2>&1
    [ $? = 2 ] || return 1
    M=$(($(device_bytes) / 1048576))
    for at in 0 1 2 3 $((M / 4)) $((M / 2)) $((M * 3 / 4)) $((M - 1)); do
        is_zero "$at" || return 1
    done
}

# What has it, or a part of it, mounted: in whatever mount namespace a process has (a Docker Engine
# may have one of its own), or as a part of something larger. Nothing else proves that nobody has.
#
# It is asked while a database is down, so it starts one program and no more.
mounts() {
    B=/sys/class/block/${D#/dev/}
    for F in "$B/dev" "$B/${D#/dev/}"*/dev; do
        [ ! -r "$F" ] || { read -r M <"$F" && set -- "$@" -e " $M " && echo "number $M"; }
    done
    [ $# -gt 0 ] && read -r M </proc/1/mountinfo || { echo "what is mounted can't be read"; return 1; }
    for H in "$B"/holders/* "$B/${D#/dev/}"*/holders/*; do
        [ ! -e "$H" ] || echo "/dev/${H##*/}"
    done
    # 1 means that there is none, 2 that one could not be read: a process may end (grep(1)).
    tool grep -H -F "$@" /proc/[0-9]*/mountinfo 2>&1
    R=$?
    # A namespace can be held by no process; the file system itself knows that it is in use.
    for K in "$B" "$B/${D#/dev/}"*; do
        for F in /sys/fs/ext4 /sys/fs/xfs /sys/fs/f2fs /sys/fs/btrfs/*/devices; do
            [ ! -e "$F/${K##*/}" ] || echo "/dev/${K##*/}"
        done
    done
    # A loop device over it has no place among its holders.
    for F in /sys/block/loop*/loop/backing_file; do
        [ ! -r "$F" ] || { read -r M <"$F" && case $M in
            "$D" | "$D"[0-9p]*) M=${F#/sys/block/} && echo "/dev/${M%%/*}" ;;
        esac; }
    done
    # Swap goes by whatever name it was given.
    [ ! -r /proc/swaps ] || while read -r S K M; do
        [ "$K" = partition ] || continue
        A=$(tool stat -L -c '0x%t:0x%T' "$S" 2>/dev/null) && A=$((${A%:*})):$((${A#*:}))
        case " $* " in *" ${A:-none} "*) S=$D ;; esac
        [ "$S" != "$D" ] || echo "$D"
    done </proc/swaps
    [ $R -le 2 ]
}

# Which kernel it is, and what listens in the engine's network, with the sockets' numbers; what can't
# be read is not told (proc_pid_net(5)). Whoever started this is in that network.
sockets() {
    [ ! -r /proc/sys/kernel/random/boot_id ] || read -r B </proc/sys/kernel/random/boot_id
    echo "boot $B"
    N=/proc/1/net
    [ "$PPID" -lt 2 ] || N=/proc/$PPID/net
    for P in tcp tcp6 udp udp6; do
        # A TCP socket that listens is in state 0A, a UDP socket with no other end in 07.
        [ ! -r $N/$P ] ||
            awk -v P=$P '$4 == "0A" || (P ~ /udp/ && $4 == "07") {print P, $2, $10}' $N/$P
    done
}

# The UUID and the device of a file system, or of every xfs that no other of its UUID can be mounted
# beside.
xfs_uuids() {
    M='/ - xfs / && !/[, ]nouuid(,|$)/ {
        for (i = 7; i < NF; i++) if ($i == "-" && !seen[$(i + 2)]++) print $(i + 2)
    }'
    set -f
    for K in ${DEVICE:-$(set +f; cat /proc/[0-9]*/mountinfo 2>/dev/null | awk "$M")}; do
        K=$(readlink -f "$K")
        [ -b "$K" ] || continue
        U=$(blkid -p -u filesystem -o value -s UUID "$K" 2>/dev/null)
        printf '%s %s\n' "${U%%[!0-9a-fA-F-]*}" "$K"
    done
    return 0
}

has_lost_found() {
    ! command -v debugfs >/dev/null 2>&1 ||
        debugfs -R 'stat lost+found' "$D" 2>/dev/null | tool grep -q '^Inode: '
}

# A new ext4 is empty, as a new Docker volume is: databases refuse a directory that holds something,
# and an engine copies what an image has there only into an empty one. What e2fsck finds it puts
# into a directory that it makes then. Where debugfs is not, lost+found stays.
no_lost_found() {
    command -v debugfs >/dev/null 2>&1 || return 0
    # It ends with 0 whatever came of it.
    debugfs -w -R 'rmdir lost+found' "$D" >/dev/null 2>&1
    ! has_lost_found
}

# Whether all is there that it takes to make and grow a file system of this kind.
tools() {
    case $1 in
    ext4) set -- mkfs.ext4 e2fsck resize2fs dumpe2fs mktemp mount umount ;;
    xfs) set -- mkfs.xfs xfs_growfs xfs_db mktemp mount umount ;;
    *) echo "there is nothing for it in it"; return 1 ;;
    esac
    for t in "$@"; do
        command -v "$t" >/dev/null 2>&1 || { echo "there is no $t in it"; return 1; }
    done
}

one() {
    [ "$DO" = check ] && { check; return; }
    [ "$DO" = tools ] && { tools "$DEVICE"; return; }
    [ "$DO" = sockets ] && { sockets; return; }
    [ "$DO" = xfs-uuids ] && { xfs_uuids; return; }
    D=$(readlink -f "$DEVICE")
    [ -b "$D" ] || return 44
    act
}

act() {
    case $DO in
    kind)
        kind
        ;;
    facts)
        T=$(kind) || { echo "$T"; return 1; }
        [ -z "$T" ] || { echo "$T"; bytes "$T"; device_bytes; }
        ;;
    make)
        is_blank || exit 45
        case $TYPE in
        ext4)
            mkfs.ext4 -q "$D" </dev/null || exit 47
            no_lost_found || exit 47
            ;;
        xfs) mkfs.xfs -q "$D" || exit 47 ;;
        *) echo "there is no file system $TYPE"; exit 1 ;;
        esac
        ;;
    grow)
        # Only ext4 grows while it is not mounted.
        T=$(kind) || { echo "$T"; exit 1; }
        [ "$T" = ext4 ] || exit 46
        M=$(mounts) || { echo "$M"; exit 1; }
        printf '%s\n' "$M" | tool grep -v -E '^(number |grep: /proc/[0-9]*/mountinfo: (No such|Invalid))' &&
            exit 48
        # e2fsck makes it anew.
        has_lost_found || K=no
        e2fsck -f -p "$D"
        # 1 means that something was mended (e2fsck(8)).
        [ $? -le 1 ] || exit 1
        resize2fs "$D" || exit 47
        [ "$K" != no ] || no_lost_found || :
        ;;
    grow-mounted)
        # A second mount of a mounted device shares it.
        T=$(kind)
        M=$(mktemp -d)
        mount -t "$T" "$D" "$M" || exit 1
        case $T in
        ext4) resize2fs "$D" ;;
        xfs) xfs_growfs "$M" ;;
        *) umount "$M"; echo "$T can't be grown"; exit 1 ;;
        esac
        r=$?
        umount "$M"
        [ $r = 0 ] || exit 47
        ;;
    mounts)
        mounts
        ;;
    esac
}

if [ "$DO" = serve ]; then
    { tool sleep "$LIFE_S" && kill $$; } </dev/null >/dev/null &
    trap 'kill $! 2>/dev/null' EXIT
    while read -r N DO DEVICE; do
        (one) </dev/null
        echo "helper: $N ended with $?"
    done
    exit 0
fi

trap 'r=$?; echo "helper: ended with $r"; exit $r' EXIT
one
