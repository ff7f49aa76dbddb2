#!/usr/bin/env bash
# judge.sh: runs git's own tests against the engine, by a kit that stands outside the project. See "make judge-git".
#
#   CONFORMANCE  the folder with the kit, in git/; default ../shared/conformance. Without it nothing is run
#   FILES        scripts to run, such as "t5503-tagfollow.sh t5516-fetch-push.sh"
#   LIST         a file with one script a line, in place of the kit's files.txt
#   SKIP         a file with tests to skip, in place of the kit's skip.txt and skip.txt beside this script
#   JUDGE_ROOT   where the tests work; default a memory file system if there is one with room
#   JUDGE_JOBS   scripts at a time; default one a core
#
# What is needed is prepared once, under build/judge-git: git's source from Debian's archive, built. Results of the last
# run are there in out/.
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."

version=2.39.5
mirror=http://deb.debian.org
release=bookworm
here=server/judge
cache=$PWD/build/judge-git
kit=${CONFORMANCE:-../shared/conformance}/git
room=$((1 << 20)) # KiB that a memory file system must have free

if [ ! -d "$kit" ]; then
	echo "judge-git: left out: there is no $kit (set CONFORMANCE to the folder that holds it)"
	exit 0
fi
kit=$(cd "$kit" && pwd -P)

packages=(gcc make perl dpkg-dev xz-utils zlib1g-dev libssl-dev libcurl4-openssl-dev libexpat1-dev
	apache2-bin gnupg gpgsm openssh-client libio-pty-perl util-linux)

install_packages() {
	local missing=() p
	for p in "${packages[@]}"; do
		dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q ' installed$' || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return
	local root=()
	[ "$(id -u)" -eq 0 ] || root=(sudo)
	"${root[@]}" apt-get update -q
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# fetch_source takes the source package with a list of sources of its own: the system's stays as it is.
fetch_source() {
	local apt=$cache/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	local signed="deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror"
	printf '%s\n' "$signed/debian $release main" "$signed/debian-security $release-security main" >"$apt/sources.list"
	local o=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=)
	apt-get "${o[@]}" update
	rm -rf "$source"
	(cd "$cache" && apt-get "${o[@]}" source git)
	test -d "$source" || {
		echo "judge-git: Debian's source package is no longer git $version, which the kit is made for" >&2
		exit 1
	}
	touch "$cache/fetched"
}

build_git() {
	make -C "$source" -j"$(nproc)" NO_TCLTK=1 NO_GETTEXT=1 CFLAGS="-O1 -g0" all >"$cache/make.log" 2>&1 || {
		tail -n 20 "$cache/make.log" >&2
		exit 1
	}
	touch "$cache/built"
}

source=$cache/git-$version
mkdir -p "$cache"
echo "module none" >"$cache/go.mod" # git's source has Go files too, which are none of ours
install_packages
[ -e "$cache/fetched" ] || fetch_source
[ -e "$cache/built" ] || build_git
${GO:-go} build -tags judge -o "$cache/engine" ./$here

# The http tests refuse root, so that root becomes nobody.
as_user=()
if [ "$(id -u)" -eq 0 ]; then
	as_user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi

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
work=$(mktemp -d "$root/judge-git.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/home" "$work/out"

# lend NAME PATH prints PATH, or a copy's if the user cannot see it.
lend() {
	if ! "${as_user[@]}" test -r "$2" -a -x "$2"; then
		cp -a "$2" "$work/$1"
		set -- "$1" "$work/$1"
	fi
	echo "$2"
}
seen_source=$(lend source "$source")
seen_engine=$(lend engine "$cache/engine")
seen_kit=$(lend kit "$kit")

list=$work/list
if [ -n "${FILES:-}" ]; then
	printf '%s\n' $FILES >"$list"
else
	cat "${LIST:-$kit/files.txt}" >"$list"
fi
if [ -n "${SKIP:-}" ]; then
	cat "$SKIP" >"$work/skip"
else
	cat "$kit/skip.txt" $here/skip.txt >"$work/skip"
fi
chmod a+rx "$work"
[ ${#as_user[@]} -eq 0 ] || chown -R nobody:nogroup "$work"

status=0
"${as_user[@]}" env -i PATH="$PATH" HOME="$work/home" TMPDIR="$work/home" \
	JUDGE_OUT="$work/out" JUDGE_ROOT="$work/root" JUDGE_SKIP="$work/skip" JUDGE_JOBS="${JUDGE_JOBS:-$(nproc)}" \
	bash "$seen_kit/run.sh" "$seen_source" "$list" "$seen_engine" | tee "$work/counts" | sed '$d' || status=$?

rm -rf "$cache/out"
mkdir "$cache/out"
find "$work/out" -maxdepth 1 -type f \( -name '*.tap' -o -name '*.log' -o -name '*.err' -o -name counts.txt \) \
	-exec cp {} "$cache/out" \;
for tap in "$cache"/out/*.tap; do
	name=$(basename "$tap" .tap)
	sed -n "/# TODO/d; s/^not ok \([0-9]*\) - /FAILED ${name%%-*}.\1  /p" "$tap"
done
# A script that ran nothing judged nothing: Apache may be missing, or the user not an ordinary one.
empty=$(grep -c SKIPPED-FILE "$work/counts" || true)
read -r passed _ failed _ skipped _ < <(tail -n 1 "$work/counts")
echo "$skipped skipped (reasons: ${SKIP:-skip.txt of the kit and $here/skip.txt}; logs: build/judge-git/out)"
[ "$empty" -eq 0 ] || echo "$empty scripts ran no test at all"
echo "$passed passed, $((failed + empty)) failed"
[ "$status" -eq 0 ] && [ "$((failed + empty))" -eq 0 ]
