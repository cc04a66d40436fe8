package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is the time that cores have spent so far.
type usage struct {
	gateway time.Duration
	self    time.Duration // load and shop
	all     time.Duration // everything on this machine
}

func usageOf(g *gateway) (u usage, err error) {
	if u.gateway, err = processTime(g.cmd.Process.Pid); err != nil {
		return u, err
	}
	if u.self, err = processTime(os.Getpid()); err != nil {
		return u, err
	}
	u.all, err = machineTime()
	return u, err
}

// machineTime is what all cores together have spent.
func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading CPU time: %w", err)
	}
	return parseStat(string(text))
}

// processTime reads a process's CPU time to the nanosecond: /proc/<pid>/stat
// counts in hundredths of a second, too coarse for a slice. It is exact while
// the process has nothing to do.
func processTime(pid int) (sum time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.New("no scheduler statistics in /proc: this needs Linux, and the process must live")
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		ran, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// tick is the unit of /proc/stat, USER_HZ (proc_stat(5)).
const tick = 10 * time.Millisecond

// parseStat adds up what all cores have done but idle, wait for disks (columns
// 4 and 5), and run guests, which counts as user time already.
func parseStat(text string) (busy time.Duration, err error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, errors.New("/proc/stat does not begin with the sum of all cores")
	}
	for i, f := range fields[1:9] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != 3 && i != 4 {
			busy += time.Duration(n) * tick
		}
	}
	return busy, nil
}
