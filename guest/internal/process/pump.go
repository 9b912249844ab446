package process

import (
	"sync"
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
	// The pipe's read end, which does not block, and which the poller was asked about; the pump's own.
	pipe      int
	poller    *poller
	spool     *spool.Spool
	transform Transform
	scratch   []byte
	// Closed when the first process has ended: only what is in the pipe then is still its output.
	draining chan struct{}
	// Closed when the spool has all that it will get.
	done chan struct{}
	// Closed when the command is removed.
	closing   chan struct{}
	closeOnce sync.Once
}

func newPump(pipe int, poller *poller, into *spool.Spool, transform Transform) *pump {
	return &pump{
		pipe: pipe, poller: poller, spool: into, transform: transform,
		draining: make(chan struct{}), done: make(chan struct{}), closing: make(chan struct{}),
	}
}

// drain makes the pump finish with what is in the pipe now; a grandchild may hold the pipe open for ever.
func (p *pump) drain() {
	close(p.draining)
	p.spool.Unbound()
}

// close ends the pump for good, once it has drained.
func (p *pump) close() { p.closeOnce.Do(func() { close(p.closing) }) }

// run works until the pipe ends, or until it is closed.
func (p *pump) run() {
	ended := p.follow()
	if p.transform != nil {
		p.spool.Write(p.transform(nil, true))
	}
	p.spool.CloseWrite()
	close(p.done)
	if !ended {
		p.discard()
	}
	// Whoever waits for the end goes first.
	time.Sleep(settlePause)
	p.poller.remove(p.pipe)
	_ = unix.Close(p.pipe)
}

// follow copies until the end of the pipe (true), or until what lay in it at the end of the first process is copied.
func (p *pump) follow() (ended bool) {
	p.poller.first(p.pipe, p.draining)
	var last time.Time
	var used time.Duration
	for !closed(p.draining) {
		n, room, err := p.step(1 << 30)
		switch {
		case err == unix.EAGAIN:
			if err := p.poller.wait(p.pipe, p.draining); err != nil {
				return true
			}
			continue
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

func closed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}

// processorTime is what the agent has used of the processor.
func processorTime() time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used); err != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

func (p *pump) gather(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.draining:
	}
}

// step reads once, at most limit bytes, into the room it tells, and passes on what came. Without a transform the room
// is the spool's own memory.
func (p *pump) step(limit int) (n, room int, err error) {
	into := p.scratch
	switch {
	case p.transform == nil:
		into = p.spool.Reserve()
	case into == nil:
		into = make([]byte, spool.ChunkBytes)
		p.scratch = into
	}
	into = into[:min(len(into), limit)]
	if n, err = read(p.pipe, into); n <= 0 {
		return 0, len(into), err
	}
	if p.transform == nil {
		p.spool.Commit(n)
	} else {
		p.spool.Write(p.transform(into[:n], false))
	}
	return n, len(into), nil
}

func read(fd int, into []byte) (int, error) {
	for {
		n, err := unix.Read(fd, into)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// finish reads without waiting, at most as much as is there at its begin.
func (p *pump) finish() (ended bool) {
	left, err := unix.IoctlGetInt(p.pipe, unix.TIOCINQ)
	for err == nil && left > 0 {
		var n int
		if n, _, err = p.step(left); n == 0 && err == nil {
			return true
		}
		left -= n
	}
	return false
}

// discard keeps the pipe flowing for what outlives its command: a daemon must not die of SIGPIPE, nor stop in a write.
// It ends with the last writer, or with the command's removal.
func (p *pump) discard() {
	sink := make([]byte, 4096)
	for !closed(p.closing) {
		n, err := read(p.pipe, sink)
		switch {
		case err == unix.EAGAIN:
			if p.poller.wait(p.pipe, p.closing) != nil {
				return
			}
		case err != nil || n == 0:
			return
		}
	}
}
