#!/usr/bin/env bash
# judge.sh: runs Apache Subversion's own tests against the svn packages, by a kit that stands outside the project. See "make judge-svn".
#
#   CONFORMANCE  the folder with the kit, in svn/; default ../shared/conformance. Without it nothing is run
#   FILES        files of tests to run, such as "basic commit"
#   LIST         a file with one of them a line, in place of all that the kit's baseline.txt has
#   TESTS        numbers of tests, to run no others of each file
#   SKIP         a file with tests to skip, in place of skip.txt beside this script
#   JUDGE_CACHE  where the suite is prepared, once; default build/judge-svn
#   JUDGE_ROOT   where the tests work; default a memory file system if there is one with room
#   JUDGE_JOBS   tests at a time; default one a core
#   JUDGE_SERVER svnserve: judges Subversion's own server instead, which shows what the harness is worth
#
# A test that passes with Subversion's server must pass here. Logs of the last run are in build/judge-svn-out.
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."

here=server/svnjudge
cache=${JUDGE_CACHE:-$PWD/build/judge-svn}
last=$PWD/build/judge-svn-out
kit=${CONFORMANCE:-../shared/conformance}/svn
room=$((2 << 20)) # KiB that a memory file system must have free

if [ ! -d "$kit" ]; then
	echo "judge-svn: left out: there is no $kit (set CONFORMANCE to the folder that holds it)"
	exit 0
fi
kit=$(cd "$kit" && pwd -P)

# prepare fetches and builds what the suite needs; it asks for root only if it has to install something.
prepare() {
	mkdir -p "$cache"
	echo "module none" >"$cache/go.mod"
	local root=()
	[ "$(id -u)" -eq 0 ] || root=(sudo)
	"${root[@]}" "$kit/prepare.sh" "$cache" >"$cache/prepare.log" 2>&1 || {
		tail -n 20 "$cache/prepare.log" >&2
		exit 1
	}
	[ "$(id -u)" -eq 0 ] || sudo chown -R "$(id -u):$(id -g)" "$cache"
}

[ -x "$cache/lock-helper.real" ] && [ -d "$cache/shim" ] || prepare

# A folder for everything that the tests write.
root=${JUDGE_ROOT:-}
if [ -z "$root" ]; then
	root=${TMPDIR:-/tmp}
	if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && [ -w /dev/shm ] &&
		[ "$(df --output=avail /dev/shm | tail -n 1)" -ge $room ]; then
		root=/dev/shm
	fi
fi
mkdir -p "$root"
work=$(mktemp -d "$root/judge-svn.XXXXXX")
server=
cleanup() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	chmod -R u+w "$work"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir -p "$work/home" "$work/out" "$work/subversion"
cp -a "$cache/subversion/tests" "$work/subversion/tests"
cp -a "$cache/shim" "$cache/tools" "$work/"
${GO:-go} build -tags judge -o "$work/svnjudge" ./$here
suite=$work/subversion/tests/cmdline

# wait_for FILE waits until the server has written a line there.
wait_for() {
	local i
	for ((i = 0; i < 200; i++)); do
		[ -s "$1" ] && return
		kill -0 "$server" 2>/dev/null || break
		sleep 0.05
	done
	echo "judge-svn: the server does not start" >&2
	cat "$work/server.log" >&2
	exit 1
}

if [ "${JUDGE_SERVER:-}" = svnserve ]; then
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	mkdir "$work/foreign"
	export FOREIGN_ROOT=$work/foreign LOCK_HELPER_REAL=$cache/lock-helper.real
	admin=$work/shim/foreign-svnserve-admin
	svnserve -d --foreground -r "$work/foreign" --listen-host 127.0.0.1 --listen-port "$port" \
		--pid-file "$work/ready" >"$work/server.log" 2>&1 &
	server=$!
	wait_for "$work/ready"
else
	"$work/svnjudge" serve "$work/store" "$work/socket" >"$work/ready" 2>"$work/server.log" &
	server=$!
	wait_for "$work/ready"
	port=$(cat "$work/ready")
	admin="$work/svnjudge admin $work/socket"
fi

if [ -n "${FILES:-}" ]; then
	files=$FILES
elif [ -n "${LIST:-}" ]; then
	files=$(sed 's/#.*//' "$LIST")
else
	files=$(sed -n '/^#/d; s/:.*//p' "$kit/baseline.txt")
fi

status=0
# shellcheck disable=SC2086 # names of files hold no blanks
HOME=$work/home TMPDIR=$work/home LC_ALL=${LC_ALL:-C.UTF-8} SHIM_ROOT=$suite FOREIGN_ADMIN=$admin EXTRA=${TESTS:-} \
	"$kit/run_suite.sh" "$suite" "svn://127.0.0.1:$port" "$work/shim/bin" "$work/out" "${JUDGE_JOBS:-$(nproc)}" $files

rm -rf "$last"
mkdir -p "$last"
cp "$work"/out/* "$last"
[ ! -s "$work/server.log" ] || cp "$work/server.log" "$last"
find "$suite" -maxdepth 1 -name '*.log' -exec cp {} "$last" \;
# shellcheck disable=SC2086
"$work/svnjudge" compare "$kit/baseline.txt" "${SKIP:-$here/skip.txt}" "$work/out" "${TESTS:-}" $files || status=$?
exit $status
