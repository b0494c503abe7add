# Sourced by quickstart and check: creates .venv and installs the package into it. It installs again when the
# requirements change. An installed torch, in .venv or in the Python that creates it, is not replaced.
# shellcheck shell=bash

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "found no Python 3.11 or newer; set PYTHON to its path" >&2
    return 2
}

torch_version() {
    "$1" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true
}

# install TARGET [OPTION...]: installs TARGET, which is `.` or `.[extra]`, with options of pip, unless the installation
# is up to date.
install() {
    local target=$1 python stamp installed_torch
    shift
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
    installed_torch=$(torch_version .venv/bin/python)
    if [ -n "$installed_torch" ]; then
        echo "torch==$installed_torch" >.venv/constraints.txt
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c .venv/constraints.txt "$@" -e "$target"
    echo "$stamp" >".venv/installed$target"
}

# install_node_example: installs what the example in JavaScript needs from npm, if there is npm. Without it, its tests
# are reported as not run. No package runs a script.
install_node_example() {
    local example=scripts/examples/onnx_node
    if cmp -s "$example/package-lock.json" "$example/node_modules/installed-lock.json"; then
        return
    fi
    if command -v npm >/dev/null && timeout 300 \
        npm ci --prefix "$example" --ignore-scripts --no-audit --no-fund --silent; then
        cp "$example/package-lock.json" "$example/node_modules/installed-lock.json"
    else
        echo "npm cannot install $example; its tests are skipped" >&2
    fi
}
