# What .ci/run and people call. "make test" is the README's test command; the rest is slower or needs more tools.

GO ?= go
FUZZTIME ?= 1000x
BENCH ?= .
SOFT ?= build/bin/soft
KILLS ?= 25
ACKS ?= 3
N ?= 3000
SEED ?= 1
ISOMORPHIC_GIT_VERSION = 1.44.11
VERSITYGW_VERSION = v1.8.0
VERSITYGW ?= $(shell command -v versitygw || echo $$($(GO) env GOPATH)/bin/versitygw)

.PHONY: all build test check race slow contract judge-git judge-svn clients differential svn-differential demo crash big fuzz-short bench bench-table scale vuln

all: check test

build:
	$(GO) build -o holdfast ./cmd/holdfast

test:
	$(GO) test ./...

# Formatting, vet and staticcheck: zero findings.
check:
	@files=$$(git ls-files '*.go' | xargs gofmt -l); test -z "$$files" || { echo "not gofmt'ed:"; echo "$$files"; exit 1; }
	$(GO) vet -tags slow,bench,judge,clients ./...
	$(GO) tool staticcheck -tags slow,bench,judge,clients ./...

# The race detector makes everything several times as slow. So packages are left out that start nothing, lock nothing and share nothing
# ("make test" has them), and -short has tests of one goroutine's work, which are long by their many cases, try fewer. check vets.
race:
	$(GO) test -race -short -vet=off -count=1 $$(for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
		grep -lqE '^\s*(defer )?go |"sync|\.Go\(' $$(ls $$dir/*.go | grep -v _test.go) && echo $$dir; done)

slow: race contract clients differential crash fuzz-short demo

# The contract of every bucket, against a real S3 server of somebody else's.
contract: $(VERSITYGW)
	VERSITYGW=$(VERSITYGW) $(GO) test -count=1 ./replication/s3/...

$(VERSITYGW):
	$(GO) install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)

# Git's own tests against the engine, where the kit for that is (CONFORMANCE; see server/judge/judge.sh):
# make judge-git [FILES="t5516-fetch-push.sh ..."] [LIST=FILE] [SKIP=FILE]
judge-git:
	@GO='$(GO)' CONFORMANCE='$(CONFORMANCE)' FILES='$(FILES)' LIST='$(LIST)' SKIP='$(SKIP)' server/judge/judge.sh

# Apache Subversion's own tests against the svn packages, where the kit for that is (CONFORMANCE; see server/svnjudge/judge.sh):
# make judge-svn [FILES="basic commit ..."] [LIST=FILE] [SKIP=FILE] [TESTS="1 2"]
judge-svn:
	@GO='$(GO)' CONFORMANCE='$(CONFORMANCE)' FILES='$(FILES)' LIST='$(LIST)' SKIP='$(SKIP)' TESTS='$(TESTS)' server/svnjudge/judge.sh

# Every client of git and of Subversion that people use does everything that it can, with repositories of every kind. The tables say
# what it could not.
clients:
	@missing=; for p in git ssh jgit node npm svn svnsync svnrdump svnserve; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	for m in dulwich pygit2; do /usr/bin/python3 -c "import $$m" 2>/dev/null || missing="$$missing $$m"; done; \
	for f in $$(git --exec-path)/git-svn /usr/share/svnkit/svnkit-cli.jar /usr/share/java/lz4-java.jar; do \
		test -f $$f || missing="$$missing $$f"; done; \
	test -z "$$missing" || { echo "missing:$$missing. On Debian: apt-get install git openssh-client default-jre-headless jgit-cli nodejs npm python3-dulwich python3-pygit2" \
		"subversion git-svn svnkit liblz4-java"; exit 1; }
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	npm install --prefix "$$dir" --silent --no-audit --no-fund isomorphic-git@$(ISOMORPHIC_GIT_VERSION) || exit 1; \
	ISOMORPHIC_GIT="$$dir" $(GO) test -tags clients -vet=off -count=1 -parallel 4 -timeout 60m -run '^Test(Svn)?Clients$$' ./server -table "$$dir/table"; \
	status=$$?; cat "$$dir"/table*; exit $$status

# Random packs, objects and fetches, judged by git itself: make differential N=10000. A failure prints how to run it again.
differential:
	$(GO) test -count=1 -timeout 120m -run '^TestDifferential$$' ./storage ./storage/object ./storage/pack -differential $(N) -v

# Random operations of Subversion's clients, played on svnserve and on this host, which must agree in everything, and
# hooks on both: make svn-differential N=2000 SEED=1. A failure prints its seed and how to run it again.
svn-differential:
	$(GO) test -tags judge -count=1 -timeout 120m -run '^Test(Differential|Hooks)$$' ./server/svnjudge -operations $(N) -seed $(SEED)

# The Code Spaces attack, replayed with a real git and real processes.
demo:
	$(GO) run ./cmd/holdfast demo

# Kill a real server under concurrent pushes, commits and imports, again and again; and the slow rounds of the model of the whole line.
# Models and crashes that have no slow rounds are in "make test".
crash:
	$(GO) test -tags slow -vet=off -count=1 -run '^TestLineModel' ./replication
	$(GO) test -tags slow -vet=off -count=1 -timeout 60m -run '^TestKill(Svn)?$$' ./cmd/holdfast -kills $(KILLS) -v
	$(GO) test -tags slow -vet=off -count=1 -timeout 60m -run '^TestKillImport$$' ./cmd/holdfast -kills 5 -v

# A real repository pushed, cloned every way, and restored from every set of mirrors that suffices: make big BIG=git.git
big:
	$(GO) test -tags slow -count=1 -timeout 120m -run TestBig ./cmd/holdfast -big $(abspath $(BIG)) -acks $(ACKS) -v

# Every fuzz target, briefly. Counted, not timed: on a loaded machine a run that ends by the clock can fail with "context deadline
# exceeded" and nothing found. Minimizing is bounded: it would eat the whole time otherwise. A package's targets share one binary, for
# to link it for each would take longer than the fuzzing.
fuzz-short:
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	found=$$($(GO) env GOCACHE)/fuzz/holdfast; \
	for pkg in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u); do \
		$(GO) test -c -vet=off -gcflags='holdfast/...=-d=libfuzzer' -o "$$dir/test" "./$$pkg" || exit 1; \
		for target in $$("$$dir/test" -test.list '^Fuzz'); do \
			echo "fuzz $$pkg $$target"; \
			(cd "$$pkg" && "$$dir/test" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzminimizetime 10x -test.fuzzcachedir "$$found/$$pkg") || exit 1; \
		done; \
	done

bench:
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

# A table of figures beside git's, soft-serve's and svnserve's: make bench-table BIG=git.git MID=mid.git [SVN=history.dump] [SOFT=PATH] [ROWS="push receive"] [WORK=DIR] [MIRRORS=DIR]
bench-table:
	$(GO) build -o build/bin/holdfast ./cmd/holdfast
	$(GO) build -tags bench -o build/bin/holdfast-bench ./cmd/holdfast-bench
	build/bin/holdfast-bench -big "$(BIG)" -mid "$(MID)" -soft "$(SOFT)" -svn "$(SVN)" -rows "$(ROWS)" -work "$(WORK)" -mirrors "$(MIRRORS)"

# What must stay bounded where there is a lot: 100,000 refs, 10,000 pushes, 1,000,000 objects, a file of 2 GB.
scale:
	$(GO) build -o build/bin/holdfast ./cmd/holdfast
	$(GO) test -tags slow,bench,judge -count=1 -timeout 120m -run TestScale ./cmd/holdfast-bench -v

vuln:
	$(GO) tool govulncheck ./...
