//go:build judge

package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// comparison sets the logs of a run beside what the same tests did with Subversion's own server.
type comparison struct {
	baseline string   // a line a file: "basic: 1 2 3-xfail 4-skip 5-fail"; a bare number passes
	skip     string   // "basic 12  # why", a line each
	logs     string   // NAME.log of each file
	only     string   // numbers, separated by blanks, if not all were run
	files    []string // names
}

// outcome is what a test came to: PASS, FAIL, XFAIL, XPASS or SKIP; in a baseline also as it is written there.
type outcome struct {
	word  string
	title string
}

// compare prints every test that passes with Subversion and did not here, a line of counts a file, and the sum. The status
// is 1 if there is any such test.
func compare(w io.Writer, c comparison) (status int, err error) {
	want, err := readBaseline(c.baseline)
	if err != nil {
		return 0, err
	}
	skip, err := readSkip(c.skip)
	if err != nil {
		return 0, err
	}
	var passed, failed, left int
	for _, file := range c.files {
		got, err := readLog(filepath.Join(c.logs, file+".log"))
		if err != nil {
			return 0, err
		}
		p, f, s := c.judge(w, file, want[file], got, skip[file])
		fmt.Fprintf(w, "%-20s %4d passed %4d failed %4d skipped\n", file, p, f, s)
		passed, failed, left = passed+p, failed+f, left+s
	}
	if passed+failed == 0 {
		fmt.Fprintln(w, "nothing was judged")
		status = 1
	}
	if failed > 0 {
		status = 1
	}
	fmt.Fprintf(w, "%d skipped\n%d passed, %d failed\n", left, passed, failed)
	return status, nil
}

// judge counts the tests of one file that pass with Subversion: other ones prove nothing.
func (c comparison) judge(w io.Writer, file string, want map[int]string, got map[int]outcome, skip map[int]string) (passed, failed, skipped int) {
	only := strings.Fields(c.only)
	for _, n := range slices.Sorted(maps.Keys(want)) {
		if len(only) > 0 && !slices.Contains(only, strconv.Itoa(n)) || want[n] != "PASS" {
			continue
		}
		o, ran := got[n]
		switch {
		case ran && o.word == "PASS":
			passed++
			if reason, ok := skip[n]; ok {
				fmt.Fprintf(w, "PASSES, skipped in vain: %s %d (%s)\n", file, n, reason)
			}
		case skip[n] != "":
			skipped++
		default:
			failed++
			fmt.Fprintf(w, "FAILED %s %d: %s%s\n", file, n, o.title, map[bool]string{true: "", false: "did not run"}[ran])
		}
	}
	return passed, failed, skipped
}

func readBaseline(name string) (map[string]map[int]string, error) {
	all := map[string]map[int]string{}
	err := eachLine(name, func(line string) error {
		file, rest, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			return nil
		}
		all[file] = map[int]string{}
		for field := range strings.FieldsSeq(rest) {
			number, mark, _ := strings.Cut(field, "-")
			n, err := strconv.Atoi(number)
			if err != nil {
				return fmt.Errorf("%s: %q", name, field)
			}
			all[file][n] = "PASS"
			if mark != "" {
				all[file][n] = strings.ToUpper(mark)
			}
		}
		return nil
	})
	return all, err
}

func readSkip(name string) (map[string]map[int]string, error) {
	all := map[string]map[int]string{}
	err := eachLine(name, func(line string) error {
		line, reason, _ := strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			return nil
		}
		n, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil || len(fields) != 2 || strings.TrimSpace(reason) == "" {
			return fmt.Errorf("%s: %q is not FILE NUMBER # REASON", name, line)
		}
		if all[fields[0]] == nil {
			all[fields[0]] = map[int]string{}
		}
		all[fields[0]][n] = strings.TrimSpace(reason)
		return nil
	})
	return all, err
}

var resultLine = regexp.MustCompile(`^(PASS|FAIL|XFAIL|XPASS|SKIP): +\S+_tests\.py (\d+): (.*)`)

func readLog(name string) (map[int]outcome, error) {
	results := map[int]outcome{}
	err := eachLine(name, func(line string) error {
		if m := resultLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[2])
			results[n] = outcome{word: m[1], title: m[3]}
		}
		return nil
	})
	return results, err
}

func eachLine(name string, f func(line string) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if err := f(s.Text()); err != nil {
			return err
		}
	}
	return s.Err()
}
