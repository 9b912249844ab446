package call

import "sync"

// Idle workers that are kept.
const maxIdleWorkers = 8

// workers run jobs on goroutines that are used again. A new goroutine's stack begins at 2 KiB and is copied three times
// until it fits a handler, which in an emulated guest is a tenth of a small call. A worker's stack has grown already.
type workers struct {
	mu     sync.Mutex
	idle   []chan func()
	closed bool
}

func newWorkers() *workers { return &workers{} }

// run runs the job on a worker; it does not wait.
func (w *workers) run(job func()) {
	w.mu.Lock()
	var jobs chan func()
	if last := len(w.idle) - 1; last >= 0 {
		jobs = w.idle[last]
		w.idle = w.idle[:last]
	}
	w.mu.Unlock()
	if jobs == nil {
		jobs = make(chan func(), 1)
		go w.work(jobs)
	}
	jobs <- job
}

func (w *workers) work(jobs chan func()) {
	for job := range jobs {
		job()
		w.mu.Lock()
		if w.closed || len(w.idle) >= maxIdleWorkers {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, jobs)
		w.mu.Unlock()
	}
}

// close ends the idle workers; one that is still in a job ends with it.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, jobs := range w.idle {
		close(jobs)
	}
	w.idle = nil
}
