#!/usr/bin/env bash
# Installs the real parts that `tests/real` starts for itself: Docker Engine, a registry, a
# database, HAProxy, tools for file systems and networks, OpenSSL and OpenSSH for endpoints, and
# what moto's server is installed with. Changes nothing that is there already, and starts nothing.
#
# Where they can't be installed, the tests on real parts say so in a line and are skipped;
# `STEPBACK_REAL=require` makes that a failure.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
declare -A package=(
    [dockerd]=docker.io [docker]=docker.io [docker-registry]=docker-registry
    [redis-server]=redis-server [mkfs.ext4]=e2fsprogs [losetup]=mount [busybox]=busybox-static
    [haproxy]=haproxy [ip]=iproute2
    [mkfs.xfs]=xfsprogs [openssl]=openssl [ssh]=openssh-client [sshd]=openssh-server
)
missing=""
for program in "${!package[@]}"; do
    command -v "$program" >/dev/null || missing="$missing ${package[$program]}"
done
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
[ -n "$missing" ] || exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
    echo "parts: not installed, so the tests on real parts are skipped:$missing" >&2
    exit 0
fi
echo "parts: installing$missing" >&2
$as_root apt-get update -qq
# RUNLEVEL=1: the services of these packages are not started (invoke-rc.d(8)).
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $as_root apt-get install -y -qq $missing >/dev/null
