package main

import "net/http"

// Names of targets.
const (
	bare          = "bare"
	bareAgain     = "bare, second process"
	fixed         = "request_header"
	kiboAuth      = "kibo_auth"
	refused       = "respond 401"
	unknownScript = "unknown session, script (401)"
	unknownPage   = "unknown session, page (303)"

	inMemory      = "store memory"
	inMemoryAgain = "store memory, second process"
	inFile        = "store file"
	inRedis       = "store redis"
)

// A suite is what one run compares. Its first comparison is of two processes
// that do the same: how far they differ is the noise.
type suite struct {
	contenders  []contender
	comparisons []comparison
}

// contender is a gateway: what it is called, its part of the Caddyfile, its
// store line there, and how it answers a customer.
type contender struct {
	name, snippet, store string
	want                 int
}

// env tells a gateway where its sessions are.
func (c contender) env(r *redis) []string {
	env := []string{"BENCH_STORE=" + c.store}
	if c.name == inRedis {
		env[0] += r.addr
	}
	return env
}

// comparison holds a contender against a base, and what it must reach.
type comparison struct {
	contender, base string
	minThroughput   float64 // at least this; 0: no goal
	maxCPU          float64 // at most this; 0: no goal
}

var againstBare = suite{
	contenders: []contender{
		{bare, "bare", "memory", http.StatusOK},
		{bareAgain, "bare", "memory", http.StatusOK},
		{fixed, "fixed", "memory", http.StatusOK},
		{kiboAuth, "kibo", "memory", http.StatusOK},
		{refused, "refuse", "memory", http.StatusUnauthorized},
	},
	comparisons: []comparison{
		{contender: bareAgain, base: bare},
		{contender: fixed, base: bare},
		{contender: kiboAuth, base: fixed, minThroughput: 0.98},
		{contender: kiboAuth, base: bare, minThroughput: 0.94},
		{contender: refused, base: bare},
		{contender: unknownScript, base: bare, maxCPU: 0.35},
		{contender: unknownPage, base: bare, maxCPU: 0.35},
	},
}

// ofStores holds the stores that outlive the process against the one in its
// memory, for sessions in use: those are kept near, and asked for seldom. Every
// process stands in two comparisons: one that is asked more is slower.
var ofStores = suite{
	contenders: []contender{
		{inMemory, "kibo", "memory", http.StatusOK},
		{inMemoryAgain, "kibo", "memory", http.StatusOK},
		{inFile, "kibo", "file {env.HOME}/sessions.db", http.StatusOK},
		{inRedis, "kibo", "redis redis://", http.StatusOK},
	},
	comparisons: []comparison{
		{contender: inMemoryAgain, base: inMemory},
		{contender: inFile, base: inMemory, minThroughput: 0.97},
		{contender: inRedis, base: inMemoryAgain, minThroughput: 0.97},
		{contender: inRedis, base: inFile},
	},
}

func (o options) suite() suite {
	if o.stores {
		return ofStores
	}
	return againstBare
}
