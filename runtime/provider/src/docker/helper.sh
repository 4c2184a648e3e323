# What the helper container does with a device of its host: `DO` says what, `DEVICE` with which.
# Exit 44: the device is not there. Exit 45: it holds something already. Exit 46: it must be
# mounted for that. The last line says that this is all: what can't be heard is no answer.

exec 2>&1
trap 'r=$?; echo "helper: ended with $r"; exit $r' EXIT

# A tool of its own, or busybox's.
tool() {
    if command -v "$1" >/dev/null 2>&1; then "$@"; else busybox "$@"; fi
}

if [ "$DO" = check ]; then
    for t in awk blkid cat readlink; do
        command -v $t >/dev/null 2>&1 || { echo "there is no $t in it"; exit 1; }
    done
    for t in dd tr wc; do
        command -v $t >/dev/null 2>&1 || busybox $t --help >/dev/null 2>&1 ||
            { echo "there is no $t in it"; exit 1; }
    done
    exit 0
fi

D=$(readlink -f "/host$DEVICE")
D=/dev/${D##*/dev/}
[ -b "$D" ] || exit 44

# What is on it: nothing, a file system, or something else (a partition table).
kind() {
    T=$(blkid -p -o value -s TYPE "$D")
    r=$?
    # 2 means that nothing was found (blkid(8)).
    [ $r = 2 ] && return 0
    [ $r = 0 ] || return $r
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

# Where the host has it mounted.
mounts() {
    N=$(cat "/sys/class/block/${D#/dev/}/dev")
    awk -v n="$N" '$3 == n {print $5}' /proc/1/mountinfo
}

case $DO in
kind)
    kind
    ;;
facts)
    T=$(kind)
    [ -z "$T" ] || { echo "$T"; bytes "$T"; device_bytes; }
    ;;
make)
    is_blank || exit 45
    case $TYPE in
    ext4) mkfs.ext4 -q "$D" </dev/null ;;
    xfs) mkfs.xfs -q "$D" ;;
    *) echo "there is no file system $TYPE"; exit 1 ;;
    esac
    ;;
grow)
    # Only ext4 grows while it is not mounted.
    [ "$(kind)" = ext4 ] && [ -z "$(mounts)" ] || exit 46
    e2fsck -f -p "$D"
    # 1 means that something was mended (e2fsck(8)).
    [ $? -le 1 ] || exit 1
    resize2fs "$D"
    ;;
grow-mounted)
    # A second mount of a mounted device shares it.
    T=$(kind)
    M=$(mktemp -d)
    mount -t "$T" "$D" "$M" || exit 1
    case $T in
    ext4) resize2fs "$D" ;;
    xfs) xfs_growfs "$M" ;;
    *) echo "$T can't be grown"; false ;;
    esac
    r=$?
    umount "$M"
    exit $r
    ;;
mounts)
    mounts
    ;;
esac
