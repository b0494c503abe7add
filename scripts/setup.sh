# Sourced by quickstart and check: makes .venv and installs the package into it, once for each state of its
# requirements. A torch that is already there, in .venv or in the Python that makes it, is kept.
# shellcheck shell=bash

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed; set PYTHON to one" >&2
    return 2
}

torch_version() {
    "$1" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true
}

# install TARGET: installs `.` or `.[extra]`.
install() {
    local target=$1 python stamp kept
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python)
        if [ -n "$(torch_version "$python")" ]; then
            "$python" -m venv --system-site-packages .venv
        else
            "$python" -m venv .venv
        fi
    fi
    stamp=$(cat pyproject.toml scripts/constraints.txt scripts/setup.sh | cksum)
    if [ "$(cat ".venv/installed$target" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    echo "Installing into .venv ..." >&2
    cp scripts/constraints.txt .venv/constraints.txt
    kept=$(torch_version .venv/bin/python)
    if [ -n "$kept" ]; then
        echo "torch==$kept" >.venv/constraints.txt
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c .venv/constraints.txt -e "$target"
    echo "$stamp" >".venv/installed$target"
}
