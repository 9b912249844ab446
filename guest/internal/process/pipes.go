package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pipeBytes is the size of an output pipe: what a command prints while the agent is busy elsewhere.
const pipeBytes = 1 << 20

// pipes are the standard streams of a command. The agent's ends do not block and are waited for by the runtime.
type pipes struct {
	// Nil when the command has no standard input to write to.
	stdin          *os.File
	stdout, stderr *os.File
	child          [3]int
}

func openPipes(openStdin bool) (*pipes, error) {
	p := &pipes{child: [3]int{-1, -1, -1}}
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
		if p.stdin, err = agentEnd(ends[1], "stdin"); err != nil {
			return err
		}
	} else if p.child[0], err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	for i, end := range []**os.File{&p.stdout, &p.stderr} {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("make a pipe: %w", err)
		}
		p.child[i+1] = ends[1]
		// Refused to ordinary users beyond a bound; the default size does too.
		_, _ = unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, pipeBytes)
		if *end, err = agentEnd(ends[0], "output"); err != nil {
			return err
		}
	}
	return nil
}

func agentEnd(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make a pipe non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
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

func (p *pipes) closeAgentEnds() {
	for _, file := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if file != nil {
			_ = file.Close()
		}
	}
}
