package process

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/spool"
)

// pump carries one output stream from its pipe through the transform into its spool.
type pump struct {
	pipe      *os.File
	spool     *spool.Spool
	transform Transform
	// Closed when the spool has all that it will get.
	done chan struct{}
	// The first process has ended: only what is in the pipe now is still its output.
	draining atomic.Bool
	scratch  []byte
}

func newPump(pipe *os.File, into *spool.Spool, transform Transform) *pump {
	return &pump{pipe: pipe, spool: into, transform: transform, done: make(chan struct{})}
}

// drain makes the pump finish with what is in the pipe now; a grandchild may hold the pipe open for ever.
func (p *pump) drain() {
	p.draining.Store(true)
	p.spool.Unbound()
	_ = p.pipe.SetReadDeadline(time.Unix(1, 0))
}

// run works until the pipe ends or is closed.
func (p *pump) run() {
	defer p.pipe.Close()
	ended := p.follow()
	p.flush()
	p.spool.CloseWrite()
	close(p.done)
	if !ended {
		p.discard()
	}
}

// follow copies until the end of the pipe (true), or until what lay in it at the end of the first process is copied.
func (p *pump) follow() (ended bool) {
	for !p.draining.Load() {
		n, err := p.step(p.pipe.Read)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil || n == 0:
			return true
		}
	}
	return p.finish()
}

// step reads once and passes on what came; identity spares the copy that a transform needs.
func (p *pump) step(read func([]byte) (int, error)) (int, error) {
	if p.transform == nil {
		n, err := read(p.spool.Reserve())
		p.spool.Commit(max(n, 0))
		return n, err
	}
	if p.scratch == nil {
		p.scratch = make([]byte, pipeBytes)
	}
	n, err := read(p.scratch)
	if n > 0 {
		p.spool.Write(p.transform(p.scratch[:n], false))
	}
	return n, err
}

func (p *pump) flush() {
	if p.transform != nil {
		p.spool.Write(p.transform(nil, true))
	}
}

// finish reads without waiting, at most as much as is there at its begin.
func (p *pump) finish() (ended bool) {
	conn, err := p.pipe.SyscallConn()
	if err != nil {
		return true
	}
	err = conn.Control(func(fd uintptr) {
		left, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		for err == nil && left > 0 {
			var n int
			n, err = p.step(func(room []byte) (int, error) {
				return unix.Read(int(fd), room[:min(len(room), left)])
			})
			if err == unix.EINTR {
				err = nil
				continue
			}
			if n == 0 && err == nil {
				ended = true
				return
			}
			left -= max(n, 0)
		}
	})
	return ended || err != nil
}

// discard keeps the pipe flowing for what outlives its command: a daemon must not die of SIGPIPE, nor stop in a write.
// It ends with the last writer, or with the process being removed.
func (p *pump) discard() {
	_ = p.pipe.SetReadDeadline(time.Time{})
	sink := make([]byte, 4096)
	for {
		if n, err := p.pipe.Read(sink); err != nil || n == 0 {
			return
		}
	}
}
