#!/bin/sh
# Installs fibservice on a host with systemd, or removes it: install.sh install|uninstall
#
#   DESTDIR  a folder to install into instead of /, for packages; nothing is started or reloaded
#   PREFIX   where commands, units, man pages and completions go (/usr/local)
#   PYTHON   3.11 or newer, with venv (python3, or else the newest on PATH)
#
# Run from a checkout, it installs that. An installed package has it as well, in
# share/fibservice/systemd of the virtual environment; from there, pip fetches the same version.
#
# The program itself goes to /opt/fib: each installation into a new folder below releases/, with
# the link bin changed to it at the end. So an upgrade changes nothing under a running server, and
# the release before is kept until the next one, since that is what still runs.
set -eu

# Settings of cd, pip and Python for other purposes do not apply here, and root runs no Python files
# of the folder that this is called in.
unset CDPATH PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PYTHONPATH PYTHONHOME
export PIP_USER=0 PYTHONSAFEPATH=1

DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}

HOME_DIR=/opt/fib
CONFIG_DIR=/etc/fib
STATE_DIRS='/var/lib/fibserver /var/lib/private/fibserver'
SOURCES='setup.cfg setup.py pyproject.toml README.md LICENSE fibcommon fibclient fibserver fibweb systemd'
COMMANDS='fibserver fibclient fibweb'
SOCKETS='fibserver.socket fibserver-metrics.socket fibweb.socket fibweb-metrics.socket'
UNITS="fib.target $SOCKETS fibserver.service fibweb.service"

source_dir=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-$(sh "$source_dir/systemd/find_python.sh")}
PYTHON=${PYTHON:-python3}
bin_dir=$DESTDIR$PREFIX/bin
unit_dir=$DESTDIR$PREFIX/lib/systemd/system
sysusers_dir=$DESTDIR$PREFIX/lib/sysusers.d
share_dir=$DESTDIR$PREFIX/share

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# Whether units may be reloaded, started and stopped here.
is_live() {
    [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]
}

check() {
    [ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail 'this needs root: try "sudo make install"'
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$PYTHON is not Python 3.11 or newer: try \"apt install python3\", or set PYTHON"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$PYTHON cannot make virtual environments: try \"apt install python3-venv\""
}

# Makes a virtual environment with the program in it, and has the link bin point to it.
install_program() {
    releases=$DESTDIR$HOME_DIR/releases
    mkdir -p "$releases"
    before=$(readlink "$DESTDIR$HOME_DIR/bin" || true)
    release=$(date -u +%Y%m%dT%H%M%SZ)-$$
    echo "Installing into $HOME_DIR/releases/$release"

    # A copy, since building leaves files in the folder that it is done in.
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch" "$releases/$release"' EXIT
    if [ -e "$source_dir/setup.cfg" ]; then
        for each in $SOURCES; do
            cp -R "$source_dir/$each" "$scratch"
        done
        requirement="$scratch[all]"
    else
        version=$("$source_dir/../../bin/python" -c 'import fibcommon; print(fibcommon.__version__)') ||
            fail "no fibservice in $source_dir/../..: install it into a virtual environment"
        requirement="fibservice[all] == $version"
    fi
    "$PYTHON" -m venv "$releases/$release"
    "$releases/$release/bin/python" -m pip install \
        --quiet --disable-pip-version-check --root-user-action=ignore "$requirement"
    "$releases/$release/bin/python" "$source_dir/systemd/write_help.py" "$share_dir"
    if [ -n "$DESTDIR" ]; then
        # The environment knows its own path, which will be another one.
        grep -rlI "$releases/$release" "$releases/$release/bin" "$releases/$release/pyvenv.cfg" |
            xargs sed -i "s|$releases/$release|$HOME_DIR/releases/$release|g"
    fi
    ln -s "releases/$release/bin" "$DESTDIR$HOME_DIR/bin.new"
    mv -T "$DESTDIR$HOME_DIR/bin.new" "$DESTDIR$HOME_DIR/bin"
    rm -rf "$scratch"
    trap - EXIT

    for each in "$releases"/*; do
        case releases/${each##*/}/bin in
        "releases/$release/bin" | "$before") ;;
        *) rm -rf "$each" ;;
        esac
    done
}

# Settings for this layout; what is in /etc stays.
install_settings() {
    mkdir -p "$share_dir/fib" "$DESTDIR$CONFIG_DIR"
    set_default fibserver.toml state_dir '"/var/lib/fibserver"'
    set_default fibweb.toml servers '["unix:/run/fib/fibserver.sock"]'
    cp "$source_dir/systemd/several-hosts.conf" "$share_dir/fib/"
    for each in fibserver.toml fibweb.toml; do
        if [ ! -e "$DESTDIR$CONFIG_DIR/$each" ]; then
            cp "$share_dir/fib/$each" "$DESTDIR$CONFIG_DIR/$each"
        elif ! cmp -s "$share_dir/fib/$each" "$DESTDIR$CONFIG_DIR/$each"; then
            echo "Kept $CONFIG_DIR/$each; $PREFIX/share/fib/$each has the defaults"
        fi
    done
}

# Copies a settings file, with one setting that is not the program's default.
set_default() {
    sed "s|^#$2 = .*|$2 = $3|" "$source_dir/systemd/$1" >"$share_dir/fib/$1"
    grep -q "^$2 = " "$share_dir/fib/$1" || fail "systemd/$1 has no line #$2 = ..."
}

install_units() {
    mkdir -p "$unit_dir" "$sysusers_dir" "$bin_dir"
    for each in $UNITS; do
        cp "$source_dir/systemd/$each" "$unit_dir/"
    done
    cp "$source_dir/systemd/fib.sysusers" "$sysusers_dir/fib.conf"
    for each in $COMMANDS; do
        ln -sfn "$HOME_DIR/bin/$each" "$bin_dir/$each"
    done
    if is_live; then
        systemd-sysusers "$sysusers_dir/fib.conf"
        systemctl daemon-reload
    fi
}

install_all() {
    check
    umask 022
    install_program
    install_settings
    install_units
    if [ -z "$DESTDIR" ] && ! is_live; then
        echo 'Installed, but systemd does not run here. Once it does: systemctl enable --now fib.target'
        echo "Without it: $PREFIX/bin/fibweb --embedded"
    elif [ -n "$before" ]; then
        echo 'Upgraded. To run it: systemctl restart fibserver fibweb'
    else
        echo 'Installed. To run it: systemctl enable --now fib.target'
    fi
}

uninstall_all() {
    [ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail 'this needs root: try "sudo make uninstall"'
    if is_live; then
        for each in $UNITS; do
            # Each by itself, so that one that is not there does not save the others.
            systemctl disable --quiet --now "$each" 2>/dev/null || true
        done
    fi
    for each in fibserver.toml fibweb.toml; do
        if cmp -s "$share_dir/fib/$each" "$DESTDIR$CONFIG_DIR/$each"; then
            rm "$DESTDIR$CONFIG_DIR/$each"
        elif [ -e "$DESTDIR$CONFIG_DIR/$each" ]; then
            echo "Kept $CONFIG_DIR/$each, which was changed"
        fi
    done
    [ ! -d "$DESTDIR$CONFIG_DIR" ] || rmdir --ignore-fail-on-non-empty "$DESTDIR$CONFIG_DIR"
    for each in $UNITS; do
        rm -f "$unit_dir/$each"
    done
    for each in $COMMANDS; do
        rm -f "$bin_dir/$each" "$share_dir/man/man1/$each.1"
        rm -f "$share_dir/bash-completion/completions/$each" \
            "$share_dir/zsh/site-functions/_$each" "$share_dir/fish/vendor_completions.d/$each.fish"
    done
    rm -f "$sysusers_dir/fib.conf"
    rm -rf "$share_dir/fib" "$DESTDIR$HOME_DIR"
    for each in $STATE_DIRS; do
        rm -rf "$DESTDIR$each"
    done
    if is_live; then
        systemctl daemon-reload
        systemctl reset-failed $UNITS 2>/dev/null || true
        ! getent group fib >/dev/null || groupdel fib
    fi
    echo 'Uninstalled.'
}

case ${1:-} in
install) install_all ;;
uninstall) uninstall_all ;;
*) fail "unknown action '${1:-}': use install.sh install, or install.sh uninstall" ;;
esac
