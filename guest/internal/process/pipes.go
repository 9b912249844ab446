package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pipeBytes is the size of an output pipe: what a command prints while the agent is busy elsewhere.
const pipeBytes = 1 << 20

// pipes are the standard streams of a command. The agent's ends do not block.
type pipes struct {
	// Nil when the command has no standard input to write to.
	stdin *os.File
	// Read ends of stdout and stderr; a pump each takes them over.
	output [2]int
	child  [3]int
	// Asked about the output already: the first read of a command need not ask.
	poller *poller
}

func openPipes(poller *poller, openStdin bool) (*pipes, error) {
	p := &pipes{output: [2]int{-1, -1}, child: [3]int{-1, -1, -1}, poller: poller}
	if err := p.open(openStdin); err != nil {
		p.closeChildEnds()
		p.closeAgentEnds()
		return nil, err
	}
	return p, nil
}

func (p *pipes) open(openStdin bool) (err error) {
	if openStdin {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("make a pipe: %w", err)
		}
		p.child[0] = ends[0]
		if err := unix.SetNonblock(ends[1], true); err != nil {
			_ = unix.Close(ends[1])
			return fmt.Errorf("make a pipe non-blocking: %w", err)
		}
		p.stdin = os.NewFile(uintptr(ends[1]), "stdin")
	} else if p.child[0], err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	for i := range p.output {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("make a pipe: %w", err)
		}
		p.output[i], p.child[i+1] = ends[0], ends[1]
		// Refused to ordinary users beyond a bound; the default size does too.
		_, _ = unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, pipeBytes)
		if err := unix.SetNonblock(ends[0], true); err != nil {
			return fmt.Errorf("make a pipe non-blocking: %w", err)
		}
		if err := p.poller.add(ends[0]); err != nil {
			return err
		}
	}
	return nil
}

// takePipes gives the pipes that were made ahead, or makes some.
func (s *Service) takePipes(openStdin bool) (*pipes, error) {
	if openStdin {
		return openPipes(s.poller, true)
	}
	s.mu.Lock()
	taken := s.spare
	s.spare = nil
	s.mu.Unlock()
	if taken != nil {
		return taken, nil
	}
	return openPipes(s.poller, false)
}

// Replenish makes ahead what the next command needs: its control group, and the pipes of one without input. A failure is
// for its start to meet.
func (s *Service) Replenish() {
	s.options.Workload.Replenish()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spare == nil {
		s.spare, _ = openPipes(s.poller, false)
	}
}

func (p *pipes) childEnds() []uintptr {
	return []uintptr{uintptr(p.child[0]), uintptr(p.child[1]), uintptr(p.child[2])}
}

func (p *pipes) closeChildEnds() {
	for i, fd := range p.child {
		if fd >= 0 {
			_ = unix.Close(fd)
			p.child[i] = -1
		}
	}
}

// closeAgentEnds is for a command that did not start.
func (p *pipes) closeAgentEnds() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	for _, fd := range p.output {
		if fd >= 0 {
			p.poller.remove(fd)
			_ = unix.Close(fd)
		}
	}
}
