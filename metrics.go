package kiboauth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kiboauth/caddy-kibo-auth/internal/kibo"
)

// What Caddy's /metrics tells of the gateway, for the process as a whole: a
// reload counts on, and sites are added up. Label values come from the program
// or the configuration, never from a client or Kibo. Requests that are let
// through are not counted here: Caddy's own "metrics" option does that.
var (
	metricAnswers     = newCounter("caddy_kibo_answers_total", "Requests that the gateway answered by itself, by what it said.", "answer")
	metricLimits      = newCounter("caddy_kibo_limited_total", "What was one too many for a limit, by limit.", "limit")
	metricOutages     = newCounter("caddy_kibo_outages_total", "How often calls to a host of Kibo's were stopped because they failed.", "host")
	metricStoreErrors = newCounter("caddy_kibo_store_errors_total", "Requests and refreshes for which the session store could not answer, by what was wanted.", "doing")

	metricCalls = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "caddy_kibo_call_duration_seconds",
		Help:    "Calls to Kibo, by call and outcome.",
		Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
	}, []string{"call", "outcome"})
)

func newCounter(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
}

var metrics = []prometheus.Collector{metricAnswers, metricLimits, metricCalls, metricOutages, metricStoreErrors, sessionGauge{}}

// provisionMetrics tells Caddy of the metrics. Each configuration has a registry
// of its own, in which another site may have put them already.
func provisionMetrics(ctx caddy.Context) error {
	for _, m := range metrics {
		err := ctx.GetMetricsRegistry().Register(m)
		if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !ok {
			return err
		}
	}
	return nil
}

// countAnswer counts an answer of the gateway's own.
func countAnswer(answer string) { metricAnswers.WithLabelValues(answer).Inc() }

// countCall counts a call to Kibo.
func countCall(call string, took time.Duration, err error) {
	outcome := "failed"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.Is(err, kibo.ErrRejected):
		outcome = "rejected"
	case errors.Is(err, kibo.ErrLimited):
		outcome = "limited"
	}
	metricCalls.WithLabelValues(call, outcome).Observe(took.Seconds())
}

// sessionGauge asks the stores that know how many sessions they have.
type sessionGauge struct{}

var sessionsDesc = prometheus.NewDesc("caddy_kibo_sessions", "Sessions, those among them that have expired and are not swept yet, by store.", []string{"store"}, nil)

// gaugeTimeout bounds the wait for a store.
const gaugeTimeout = time.Second

// Describe implements prometheus.Collector.
func (sessionGauge) Describe(to chan<- *prometheus.Desc) { to <- sessionsDesc }

// Collect implements prometheus.Collector. A store that cannot answer is left out.
func (sessionGauge) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), gaugeTimeout)
	defer cancel()
	told := map[string]bool{}
	asked, _ := gateways("")
	for _, h := range asked {
		sizer, ok := h.sessions.Store.(Sizer)
		if !ok {
			continue
		}
		name, n, err := sizeOf(ctx, sizer)
		if name = strings.ToValidUTF8(name, "?"); err == nil && !told[name] {
			told[name] = true
			to <- prometheus.MustNewConstMetric(sessionsDesc, prometheus.GaugeValue, float64(n), name)
		}
	}
}

// sizeOf asks a store. A panic in a goroutine of nobody's would end the whole server.
func sizeOf(ctx context.Context, s Sizer) (name string, sessions int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			logPanic(logOfTheDay(), p)
			err = errPanic
		}
	}()
	return s.Size(ctx)
}
