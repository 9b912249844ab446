package process

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/spool"
)

// Between two reads of a command that prints without pause the pump waits, so that small writes gather in the pipe: on
// a machine with one processor each of them would become a message of its own otherwise, and the command would hardly
// run. The wait is a multiple of what the agent itself needed for the last bytes, so that the command gets the larger
// part of the processor.
const (
	minGatherTime = 2 * time.Millisecond
	maxGatherTime = 20 * time.Millisecond
	gatherFactor  = 3
	// Reads closer together than this are output without pause.
	pauseTime = 5 * time.Millisecond
)

// pump carries one output stream from its pipe through the transform into its spool.
type pump struct {
	pipe      *os.File
	spool     *spool.Spool
	transform Transform
	// Closed when the spool has all that it will get.
	done chan struct{}
	// The first process has ended: only what is in the pipe now is still its output.
	draining chan struct{}
	scratch  []byte
}

func newPump(pipe *os.File, into *spool.Spool, transform Transform) *pump {
	return &pump{pipe: pipe, spool: into, transform: transform, done: make(chan struct{}), draining: make(chan struct{})}
}

// drain makes the pump finish with what is in the pipe now; a grandchild may hold the pipe open for ever.
func (p *pump) drain() {
	close(p.draining)
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
	var last time.Time
	var used time.Duration
	for !p.isDraining() {
		n, room, err := p.step(p.pipe.Read)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil || n == 0:
			return true
		}
		// A read that filled its room has left something in the pipe.
		if n < room && time.Since(last) < pauseTime {
			before := used
			used = processorTime()
			p.gather(min(max(gatherFactor*(used-before), minGatherTime), maxGatherTime))
		}
		last = time.Now()
	}
	return p.finish()
}

// processorTime is what the agent has used of the processor.
func processorTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used); err != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

func (p *pump) isDraining() bool {
	select {
	case <-p.draining:
		return true
	default:
		return false
	}
}

func (p *pump) gather(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.draining:
	}
}

// step reads once, into the room it tells, and passes on what came. Without a transform that is the spool's own memory.
func (p *pump) step(read func([]byte) (int, error)) (n, room int, err error) {
	if p.transform == nil {
		into := p.spool.Reserve()
		n, err := read(into)
		p.spool.Commit(max(n, 0))
		return n, len(into), err
	}
	if p.scratch == nil {
		p.scratch = make([]byte, spool.ChunkBytes)
	}
	n, err = read(p.scratch)
	if n > 0 {
		p.spool.Write(p.transform(p.scratch[:n], false))
	}
	return n, len(p.scratch), err
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
			n, _, err = p.step(func(room []byte) (int, error) {
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
