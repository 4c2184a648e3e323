# What the helper container does with a device of its host: `DO` says what, `DEVICE` with which.
# Exit 44: the device is not there. Exit 45: it holds something already. Exit 46: it must be
# mounted for that.

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
    # Only where nothing at all was found; whatever else is said, there may be data.
    blkid -p "$D" >/dev/null 2>&1
    [ $? = 2 ] || exit 45
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
