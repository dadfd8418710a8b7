# Everything here also runs without make: python tools/bootstrap.py, then python -m tools.NAME
PYTHON ?= python3
IN_VENV := $(if $(filter Windows_NT,$(OS)),.venv/Scripts/python.exe,.venv/bin/python)
PHOTOS ?= ../shared/oxford-pets-sample
PRECISION ?= mixed_bfloat16
# Tests in two processes, a file's in one of them, in the order of tests/conftest.py.
SIDE_BY_SIDE = -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: run check test tests test-long lab notebooks publish site check-site results benchmarks export clean

run: ## install, execute all notebooks at the size that fits this machine, show a table
	@$(PYTHON) tools/bootstrap.py requirements.txt
	@$(IN_VENV) -m tools.run_notebooks

check: ## install, lint, spelling, then the fast tests: two to three minutes
	@$(MAKE) --no-print-directory tests

test: ## the same with all tests, the notebooks executed among them
	@$(MAKE) --no-print-directory tests TESTS=--slow

tests:
	@$(PYTHON) tools/bootstrap.py requirements.txt requirements-site.txt requirements-dev.txt
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m codespell_lib
	$(IN_VENV) -m pytest $(SIDE_BY_SIDE) $(TESTS)

test-long: ## the full forms of the tests that `make test` runs in a short form
	@$(PYTHON) tools/bootstrap.py requirements.txt requirements-site.txt requirements-dev.txt
	$(IN_VENV) -m pytest $(SIDE_BY_SIDE) --slow --long

lab: ## JupyterLab in the notebooks' folder
	@$(PYTHON) tools/bootstrap.py requirements.txt
	@$(IN_VENV) -m jupyterlab notebooks

notebooks: ## build the notebooks whose source changed
	@$(PYTHON) tools/bootstrap.py requirements.txt requirements-site.txt requirements-dev.txt
	@$(IN_VENV) -m tools.pages.build
	@$(IN_VENV) -m tools.pages.exercises

publish: ## write the repository's address everywhere: ADDRESS=https://github.com/NAME/learn-fcn
	@$(PYTHON) tools/bootstrap.py requirements.txt
	@$(IN_VENV) -m tools.pages.publish "$(ADDRESS)"

site: ## static pages of the committed notebooks, in build/site/
	@$(PYTHON) tools/bootstrap.py requirements.txt requirements-site.txt
	@$(IN_VENV) -m tools.site.build

check-site: site ## open every page in Chromium, on a desktop and a phone, light and dark
	@$(IN_VENV) -m tools.site.check

results: ## train again what results/ says of the drawings and of PHOTOS (about an hour)
	@$(PYTHON) tools/bootstrap.py requirements.txt
	$(IN_VENV) -m tools.reproduce --frozen --image-size 128 --batch-size 16 --epochs 4 4 4 --resume
	$(IN_VENV) -m tools.reproduce --dataset $(PHOTOS) --task species --seeds 0 --precision $(PRECISION) --no-control --resume
	$(IN_VENV) -m tools.reproduce --dataset $(PHOTOS) --task trimap --precision $(PRECISION) --resume

benchmarks: ## measure again what results/ says about speed (run on a quiet machine)
	@$(PYTHON) tools/bootstrap.py requirements.txt
	@failed=0; for one in $(filter-out %/gpu.py %/pytorch.py %/trials.py,$(wildcard benchmarks/[a-z]*.py)); do \
	  $(IN_VENV) -m benchmarks.$$(basename $$one .py) || failed=1; done; exit $$failed

export: ## install what tools.export needs; MODEL=file.keras is exported and compared
	@$(PYTHON) tools/bootstrap.py requirements.txt requirements-export.txt
	$(if $(MODEL),$(IN_VENV) -m tools.export --model $(MODEL) --dataset $(PHOTOS) --out build/export)

clean: ## remove the environment, the builds and the downloads
	rm -rf .venv build data/cache
