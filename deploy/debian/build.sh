#!/bin/sh
# Builds a Debian package for the architecture and the Python of this host: build.sh FOLDER
#
# It has what the installer of systemd/ writes, the program below /opt/fib included, since several
# of the libraries are newer than those of Debian. FOLDER gets fibservice_VERSION_ARCHITECTURE.deb.
set -eu
umask 022

folder=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

for program in dpkg-deb gzip /usr/bin/python3; do
    command -v "$program" >/dev/null || {
        echo "build.sh: $program is missing: try \"apt install dpkg gzip python3-venv\"" >&2
        exit 1
    }
done
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' fibcommon/__init__.py)
python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
architecture=$(dpkg --print-architecture)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
# postinst compiles. pip takes the variable of a negative option for the option's value.
PIP_NO_COMPILE=0 DESTDIR=$root PREFIX=/usr PYTHON=/usr/bin/python3 sh systemd/install.sh install >/dev/null
gzip -9n "$root"/usr/share/man/man1/*

documents=$root/usr/share/doc/fibservice
mkdir -p "$documents" "$root/usr/share/lintian/overrides" "$root/DEBIAN"
cp LICENSE "$documents/copyright"
gzip -9nc CHANGELOG.md >"$documents/NEWS.gz"
gzip -9nc >"$documents/changelog.gz" <<END
fibservice ($version) unstable; urgency=medium

  * NEWS.gz has the changes.

 -- The fibservice authors <fibservice@example.org>  $(date --rfc-email --date="@${SOURCE_DATE_EPOCH:-$(date +%s)}")
END
cp "$here/lintian-overrides" "$root/usr/share/lintian/overrides/fibservice"

cat >"$root/DEBIAN/control" <<END
Package: fibservice
Version: $version
Architecture: $architecture
Maintainer: The fibservice authors <fibservice@example.org>
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: python3 (>= $python), python3 (<< $next), libc6, systemd
Section: net
Priority: optional
Homepage: https://example.org/fibservice
Description: exact Fibonacci numbers of any size over HTTP and RESP
 fibserver computes Fibonacci numbers in worker processes and sends them over
 the protocol of Redis, fibweb serves them over HTTP, with a page for people,
 and fibclient is the command line of both.
END
printf '/etc/fib/%s.toml\n' fibserver fibweb >"$root/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN"
find "$root/opt" -name __pycache__ -type d -prune -exec rm -rf {} +
# The default compression takes several times as long.
dpkg-deb -Zxz -z1 --root-owner-group --build "$root" "$folder" >/dev/null
echo "$folder/fibservice_${version}_$architecture.deb"
