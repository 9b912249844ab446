package h2

import (
	"net/http"
	"sync"
)

// workers runs handlers on goroutines that are used again. Each request gets a new goroutine from net/http; its stack
// begins at 2 KiB and is copied three times until it fits a handler, which in an emulated guest is a tenth of a small
// call. A worker's stack has grown already.
type workers struct {
	handler http.Handler
	idle    chan *worker
	// Held for reading by each request, for writing by close.
	running sync.RWMutex
	closed  bool
}

// Idle workers that are kept.
const maxIdleWorkers = 8

type worker struct {
	pool *workers
	jobs chan job
	done chan any
}

type job struct {
	writer  http.ResponseWriter
	request *http.Request
}

func newWorkers(handler http.Handler) *workers {
	return &workers{handler: handler, idle: make(chan *worker, maxIdleWorkers)}
}

// ServeHTTP hands the request to a worker and waits; a panic of the handler goes on here, where net/http knows it.
func (p *workers) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	p.running.RLock()
	defer p.running.RUnlock()
	if p.closed {
		return
	}
	var w *worker
	select {
	case w = <-p.idle:
	default:
		w = &worker{pool: p, jobs: make(chan job), done: make(chan any)}
		go w.run()
	}
	w.jobs <- job{writer, request}
	panicked := <-w.done
	select {
	case p.idle <- w:
	default:
		close(w.jobs)
	}
	if panicked != nil {
		panic(panicked)
	}
}

// close waits for the requests that run, and ends the workers.
func (p *workers) close() {
	p.running.Lock()
	defer p.running.Unlock()
	p.closed = true
	for {
		select {
		case w := <-p.idle:
			close(w.jobs)
		default:
			return
		}
	}
}

func (w *worker) run() {
	for j := range w.jobs {
		w.done <- w.serve(j)
	}
}

func (w *worker) serve(j job) (panicked any) {
	defer func() { panicked = recover() }()
	w.pool.handler.ServeHTTP(j.writer, j.request)
	return nil
}
