# Builds the environment at /env. Runs in a sandbox; what it prints is the build log.
set -eu
uv=/opt/uv/uv
if [ -d /cache ]; then
	export UV_CACHE_DIR=/cache UV_LINK_MODE=copy
else
	# On the file system of /env, so that files are linked instead of copied.
	export UV_CACHE_DIR=/env/.cache UV_LINK_MODE=hardlink
fi
"$uv" venv -q --allow-existing --python "$SLIPWAY_PYTHON" /env
export VIRTUAL_ENV=/env UV_PROJECT_ENVIRONMENT=/env

work=/tmp/work
if [ "$(ls -A /app 2>/dev/null)" ]; then
	cp -r /app "$work" # packages of the source are built where they may write
else
	mkdir "$work"
fi
cd "$work"

# ${VAR} becomes the variable's value here, so that no secret is kept in a layer.
expand() {
	/env/bin/python -c 'import os, re, sys
sys.stdout.write(re.sub(r"\$\{([A-Z][A-Z0-9_]*)\}", lambda m: os.environ.get(m[1], m[0]), sys.stdin.read()))' <"$1" >"$2"
}

case $SLIPWAY_FORM in
requirements.txt)
	expand /deps/requirements.txt .slipway-requirements.txt
	expand /deps/constraints.txt .slipway-constraints.txt
	for e in $SLIPWAY_EXTRA; do echo "$e" >>.slipway-requirements.txt; done
	if grep -q '[^[:space:]]' .slipway-requirements.txt; then
		"$uv" pip install -r .slipway-requirements.txt -c .slipway-constraints.txt
	fi
	;;
pyproject.toml)
	cp /deps/pyproject.toml .
	"$uv" pip install -r pyproject.toml $SLIPWAY_EXTRA
	;;
uv.lock)
	cp /deps/pyproject.toml /deps/uv.lock .
	"$uv" sync --frozen --no-dev --no-install-project
	if [ "$SLIPWAY_EXTRA" ]; then "$uv" pip install $SLIPWAY_EXTRA; fi
	;;
*)
	if [ "$SLIPWAY_EXTRA" ]; then "$uv" pip install $SLIPWAY_EXTRA; fi
	;;
esac

site=$(echo /env/lib/python*/site-packages)
# Dash up to 2.13, gunicorn 20 and others import pkg_resources, which newer
# releases of setuptools do not have, without asking for it.
if [ "$SLIPWAY_FORM" != none ] && grep -qs . /deps/* && [ ! -e "$site/setuptools" ]; then
	"$uv" pip install -q 'setuptools<81' || echo "setuptools is not supplied" >&2
fi

# gunicorn takes module:name; this follows module:name.attribute.
cat >"$site/slipway_entry.py" <<'PY'
import importlib


def load(target):
    module, _, path = target.partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found
PY

# The environment never changes, so Python need not look whether it did.
/env/bin/python -m compileall -q -j 2 -x '/tests/' --invalidation-mode unchecked-hash "$site" >/dev/null 2>&1 || true
rm -rf /env/.cache
