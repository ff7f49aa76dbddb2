//go:build bench

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process and the children that it waited for took.
type usage struct {
	cpu  time.Duration // user and system
	wall time.Duration
	anon int64 // peak of anonymous memory of the whole tree in bytes, as sampled
	rss  int64 // peak of resident memory of the whole tree in bytes, mapped files included, as sampled
}

// cores is how many cores were busy on the average.
func (u usage) cores() float64 { return u.cpu.Seconds() / u.wall.Seconds() }

// sampleEvery is how often memory is looked at. Peaks that are shorter than that are missed.
const sampleEvery = 20 * time.Millisecond

// sampler watches the memory of a process and its descendants until stop.
type sampler struct {
	pid  int
	quit chan struct{}
	done sync.WaitGroup

	anon, rss int64
}

func watch(pid int) *sampler {
	s := &sampler{pid: pid, quit: make(chan struct{})}
	s.done.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			s.look()
			select {
			case <-s.quit:
				return
			case <-tick.C:
			}
		}
	})
	return s
}

func (s *sampler) stop() {
	close(s.quit)
	s.done.Wait()
}

func (s *sampler) look() {
	var anon, rss int64
	for pids := []int{s.pid}; len(pids) > 0; {
		pid := pids[0]
		pids = append(pids[1:], children(pid)...)
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // a process that has ended has none
		anon += statusKB(status, "RssAnon:")
		rss += statusKB(status, "VmRSS:")
	}
	s.anon, s.rss = max(s.anon, anon), max(s.rss, rss)
}

func children(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		data, _ := os.ReadFile(list)
		for _, field := range bytes.Fields(data) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// statusKB returns a field of /proc/PID/status in bytes.
func statusKB(status []byte, name string) int64 {
	_, rest, ok := bytes.Cut(status, []byte(name))
	if !ok {
		return 0
	}
	kb, _, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}

// clockTick is the unit of /proc/PID/stat. It is 100 a second wherever Linux runs Go.
const clockTick = 10 * time.Millisecond

// cpuOf is what a running process and the children that it waited for have taken so far: of itself to the nanosecond, by its clock of
// clock_getcpuclockid(3), of the children in ticks.
func cpuOf(pid int) time.Duration {
	var own unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &own); err != nil {
		return 0 // it has ended
	}
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	var ticks time.Duration
	for i := 13; i <= 14 && i < len(fields); i++ {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		ticks += time.Duration(n)
	}
	return time.Duration(own.Nano()) + ticks*clockTick
}

// What follows a fetch is done at once; what follows a push may wait for some seconds before it begins.
const (
	afterFetch = time.Second
	afterPush  = 8 * time.Second
)

// during measures a running process while work is done on it, and until it is quiet again for so long.
func during(pid int, calm time.Duration, work func() error) (usage, error) {
	u := usage{cpu: -cpuOf(pid)}
	s, begin := watch(pid), time.Now()
	err := work()
	u.wall = time.Since(begin)
	awaitQuiet(pid, calm)
	s.stop()
	u.cpu, u.anon, u.rss = u.cpu+cpuOf(pid), s.anon, s.rss
	return u, err
}

// awaitQuiet waits until a process has used no CPU worth mentioning for so long. It gives up after ten minutes.
func awaitQuiet(pid int, calm time.Duration) {
	const step = 250 * time.Millisecond
	for still, end := time.Duration(0), time.Now().Add(10*time.Minute); still < calm && time.Now().Before(end); still += step {
		before := cpuOf(pid)
		time.Sleep(step)
		if cpuOf(pid)-before > 2*clockTick {
			still = -step
		}
	}
}

// measure runs a command to its end. Its standard error becomes part of the error.
func measure(cmd *exec.Cmd, talk func() error) (usage, error) {
	var stderr bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	s := watch(cmd.Process.Pid)
	var err error
	if talk != nil {
		if err = talk(); err != nil {
			cmd.Process.Kill()
		}
	}
	if ended := cmd.Wait(); err == nil {
		err = ended
	}
	s.stop()
	u := usage{wall: time.Since(begin), anon: s.anon, rss: s.rss}
	if cmd.ProcessState != nil {
		u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return u, err
}
