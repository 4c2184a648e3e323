#!/bin/sh
# Makes target/moto: a Python environment with moto's server, which stands in for AWS in tests,
# and boto3, the other client that its state is read with. Does nothing where it is there already.
set -eu
cd "$(dirname "$0")/.."

MOTO=5.2.5
BOTO3=1.44.5
HOME_OF_MOTO=target/moto
MARK="$HOME_OF_MOTO/versions"
# Its programs have its own path in them, so one that was moved is made anew.
WANTED="moto $MOTO boto3 $BOTO3 in $PWD"

if [ -x "$HOME_OF_MOTO/bin/moto_server" ] && [ "$(cat "$MARK" 2>/dev/null)" = "$WANTED" ]; then
    exit 0
fi
if ! command -v python3 >/dev/null; then
    echo "tests/moto.sh: there is no python3; install it (apt-get install python3 python3-venv)" >&2
    exit 1
fi
mkdir -p target
if ! python3 -m venv --clear "$HOME_OF_MOTO"; then
    echo "tests/moto.sh: python3 can't make a venv; apt-get install python3-venv" >&2
    exit 1
fi
"$HOME_OF_MOTO/bin/pip" install --quiet --disable-pip-version-check \
    "moto[server]==$MOTO" "boto3==$BOTO3"
echo "$WANTED" >"$MARK"
