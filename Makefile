# `make run` and `make test` do all the set-up; both may be run any number of times.

VENV := .venv
BIN := $(VENV)/bin

# python3 if it is new enough, or else the newest on PATH.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell sh systemd/find_python.sh)
endif
export PYTHON

# A virtual environment holds its own path, and works with one version of Python only: it is made
# anew in a folder that was moved or copied, and when its Python is gone or another. So is tox's.
STATE := $(shell cat $(VENV)/created 2>/dev/null && $(BIN)/python -I -c 'import pip' 2>&1)
ifneq ($(STATE),$(CURDIR))
.PHONY: $(VENV)/created
endif

# pip installs into that environment, whatever its settings are for others, and everything there.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PYTHONPATH PYTHONHOME
PIP := $(BIN)/python -m pip

.PHONY: help run test soak fuzz shipping dist deb install uninstall images clean
.PHONY: bench-rpc bench-client bench-rest bench-overload bench-fairness bench-restart bench-scaling bench-start
.PHONY: bench-numbers bench-page

help:
	@echo 'make run             serve http://127.0.0.1:8080/, with a fibserver of its own'
	@echo 'make test            style, types and all tests but the long ones'
	@echo 'make soak            the long tests'
	@echo 'make fuzz            ten million malformed inputs (about 10 minutes)'
	@echo 'make shipping        packages and images, built, installed and run as users would'
	@echo 'make dist            sdist and wheel in dist/, the same bytes for the same commit'
	@echo 'make deb             a Debian package in dist/, for this host'
	@echo 'make install         for systemd, into /opt/fib (root; honours DESTDIR, PREFIX and PYTHON)'
	@echo 'make uninstall       remove it, except for settings that were changed'
	@echo 'make bench-rpc       fibserver beside redis-server (about 5 minutes)'
	@echo 'make bench-client    fibclient beside redis-py (about 4 minutes)'
	@echo 'make bench-rest      fibweb beside nginx, uvicorn, waitress and Flask'
	@echo 'make bench-overload  what others see while clients misbehave, beside nginx and redis-server'
	@echo 'make bench-fairness  small requests while others request everything'
	@echo 'make bench-restart   numbers found again, in memory and after a restart'
	@echo 'make bench-page      first paint, bytes and requests of the page on a slow line (chromium)'
	@echo 'make bench-numbers   giant numbers beside gmpy2'
	@echo 'make bench-start     the start of each program beside the imports that it needs'
	@echo 'make bench-scaling   three hosts, one of which fails (root, haproxy)'
	@echo 'make images          the pictures in docs/images (chromium)'
	@echo 'make clean           remove the virtual environments and all caches'

run: $(VENV)/installed
	@$(BIN)/fibweb --embedded

test: $(VENV)/created
	@$(PIP) install --quiet --no-compile 'tox >= 4'
	$(BIN)/tox run

install uninstall:
	@sh systemd/install.sh $@

soak: $(VENV)/created
	@$(PIP) install --quiet --no-compile 'tox >= 4'
	$(BIN)/tox run -e test -- -m soak

shipping: $(VENV)/created
	@$(PIP) install --quiet --no-compile 'tox >= 4'
	$(BIN)/tox run -e shipping

# Times in the packages are that of the commit. The sdist has all files that are here, so it is made
# from a copy of those that are committed.
dist: $(VENV)/created
	@$(PIP) install --quiet build
	@rm -rf dist build/dist
	@mkdir -p build/dist
	git archive HEAD | tar -x -C build/dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --outdir dist build/dist
	@rm -rf build/dist

deb:
	@mkdir -p dist
	@sh deploy/debian/build.sh dist

fuzz: $(VENV)/installed
	@$(PIP) install --quiet --editable '.[test]'
	$(BIN)/python -m tests.fuzz

images: $(VENV)/installed
	@command -v chromium >/dev/null || { \
		echo 'chromium is missing: try "apt install chromium fonts-dejavu".' >&2; \
		exit 1; \
	}
	@$(PIP) install --quiet --editable '.[test]'
	$(BIN)/python -m docs.images.make

bench-rpc bench-client: bench-%: $(VENV)/installed
	@for program in redis-server redis-benchmark; do \
		command -v $$program >/dev/null || { \
			echo "$$program is missing: try \"apt install redis-server redis-tools\"." >&2; \
			exit 1; \
		}; \
	done
	@$(PIP) install --quiet --editable '.[bench]'
	$(BIN)/python bench/$*.py

bench-rest: $(VENV)/installed
	@for program in wrk nginx ab redis-server; do \
		command -v $$program >/dev/null || { \
			echo "$$program is missing: try \"apt install wrk nginx-light apache2-utils redis-server\"." >&2; \
			exit 1; \
		}; \
	done
	@$(PIP) install --quiet --editable '.[bench]'
	$(BIN)/python bench/rest.py

bench-overload: $(VENV)/installed
	@for program in nginx redis-server; do \
		command -v $$program >/dev/null || { \
			echo "$$program is missing: try \"apt install nginx-light redis-server\"." >&2; \
			exit 1; \
		}; \
	done
	@$(PIP) install --quiet --editable '.[bench]'
	$(BIN)/python bench/overload.py

bench-numbers: $(VENV)/installed
	@$(PIP) install --quiet --editable '.[bench]'
	$(BIN)/python bench/giants.py

bench-page: $(VENV)/installed
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || { \
		echo 'chromium is missing: try "apt install chromium".' >&2; \
		exit 1; \
	}
	@$(PIP) install --quiet --editable '.[test]'
	$(BIN)/python -m bench.page

bench-fairness bench-restart bench-scaling bench-start: bench-%: $(VENV)/installed
	@$(PIP) install --quiet --editable '.[bench]'
	$(BIN)/python bench/$*.py

$(VENV)/created:
	@if [ -z '$(PYTHON)' ]; then \
		echo 'Python 3.11 or newer is needed, and none was found: try "apt install python3".' >&2; \
		exit 1; \
	fi
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments: try "apt install python3-venv".' >&2; \
		exit 1; \
	}
	@echo 'Making a virtual environment with $(PYTHON) in $(VENV)'
	@rm -rf .tox
	@'$(PYTHON)' -m venv --clear $(VENV)
	@pwd -P >$@

$(VENV)/installed: $(VENV)/created setup.cfg setup.py pyproject.toml
	@echo 'Installing fibservice into $(VENV)'
	@$(PIP) install --quiet --editable '.[all]'
	@touch $@

clean:
	rm -rf $(VENV) .tox tests/peers/node/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
