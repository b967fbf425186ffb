# One line each; the lab's own command has more: .venv/bin/python -m lab --help
NAME ?= lab
NODES ?= 1
SYNAPSE ?=
DEFECT ?= database-password
RUNS ?= 200
LAB = .venv/bin/python -m lab
TOX = .venv/bin/tox

.DEFAULT_GOAL := help
.PHONY: help setup lab-up lab-down lab-break lab-heal lab-list lab-shell lab-status demo test test-quick test-each trials catalogue soak docs

help:            ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "variables: NAME (a lab, default lab), NODES (default 1), SYNAPSE (1.119; default the newest),"
	@echo "           DEFECT (default database-password), RUNS (default 200)"

setup:           ## everything that is made once (first step of all others; under a second when it is there)
	@python3 -c 'import sys; sys.exit("python3 is %d.%d: the lab needs 3.11 or newer" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@python3 -m lab.setup

lab-up: setup    ## a healthy lab
	@$(LAB) up --name $(NAME) --nodes $(NODES) --synapse "$(SYNAPSE)"

lab-down:        ## end it
	@$(LAB) down --name $(NAME)

lab-break: setup ## break it: DEFECT=...
	@$(LAB) break $(DEFECT) --name $(NAME)

lab-heal: setup  ## take the defect back
	@$(LAB) heal --name $(NAME)

lab-list: setup  ## all defects, all labs
	@$(LAB) list

lab-shell: setup ## a shell with kubectl
	@$(LAB) shell --name $(NAME)

lab-status: setup ## what is not Ready
	@$(LAB) status --name $(NAME)

demo: setup      ## a lab healthy, broken (DEFECT=...), healed, with a report of each
	@$(LAB) demo --defect $(DEFECT)

test: test-quick ## everything
	@$(TOX) -e lab

test-quick: setup ## lint, types, unit tests
	@$(TOX) run-parallel -m quick --parallel all --parallel-no-spinner

test-each: setup ## every defect alone, one by one; writes docs/defects.md
	@$(TOX) -e each

trials: setup    ## every long trial (other shapes, parts taken away, a node cut off, a crowd); writes docs/trials.md
	@$(TOX) -e trials

catalogue: setup ## every finding of the review red by its defect, in one table; tries what is not proven
	@.venv/bin/python -m tests.lab.live.catalogue

soak: setup      ## RUNS runs in a row on a healthy lab; goes on where it was interrupted; writes docs/soak.md
	@.venv/bin/python -m tests.lab.live.soak --runs $(RUNS)

docs: setup      ## the pages of the checks, docs/checks/, made anew
	@.venv/bin/python -m tests.pages
