#!/bin/sh
# Prints the command of a Python that is new enough: python3, or else the newest python3.N on PATH.
# Prints nothing if there is none.

# Prints the minor versions N of all python3.N on PATH.
minors() {
    (
        IFS=:
        for folder in $PATH; do
            for each in "$folder"/python3.[0-9] "$folder"/python3.[0-9][0-9]; do
                [ ! -x "$each" ] || echo "${each##*.}"
            done
        done
    )
}

for name in python3 $(minors | sort -rnu | sed 's/^/python3./'); do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$name"
        exit
    fi
done
