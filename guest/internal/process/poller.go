package process

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/registers"
)

// poller waits for output pipes. Go's own poller is told of every write to a pipe, whether anybody waits or not, and
// each telling is a switch to its thread and back: a command that writes 8 KiB at a time then runs at a fifth of its
// speed on one processor. This one is told once, and only after somebody has asked.
type poller struct {
	epoll int
	// An eventfd; written to end the poller.
	end int

	mu      sync.Mutex
	waiting map[int32]chan struct{}
}

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	p := &poller{epoll: epoll, end: end, waiting: make(map[int32]chan struct{})}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, end, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(end)}); err != nil {
		p.close()
		return nil, fmt.Errorf("watch an eventfd: %w", err)
	}
	return p, nil
}

func (p *poller) close() {
	_ = unix.Close(p.epoll)
	_ = unix.Close(p.end)
}

// run tells waiters until the context ends; afterwards nobody is told any more.
func (p *poller) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(p.end, one[:])
	})
	defer stop()
	events := make([]unix.EpollEvent, 64)
	for ctx.Err() == nil {
		// This thread sleeps by itself, with whatever it holds.
		registers.Wipe()
		n, err := unix.EpollWait(p.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		p.mu.Lock()
		for _, event := range events[:max(n, 0)] {
			if waiter := p.waiting[event.Fd]; waiter != nil {
				select {
				case waiter <- struct{}{}:
				default:
				}
			}
		}
		p.mu.Unlock()
	}
}

// add makes a descriptor known, and asks for the first time; remove must come before it is closed.
func (p *poller) add(fd int) error {
	p.mu.Lock()
	p.waiting[int32(fd)] = make(chan struct{}, 1)
	p.mu.Unlock()
	err := p.ask(unix.EPOLL_CTL_ADD, fd)
	if err != nil {
		p.forget(fd)
	}
	return err
}

func (p *poller) remove(fd int) {
	_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, &unix.EpollEvent{})
	p.forget(fd)
}

func (p *poller) forget(fd int) {
	p.mu.Lock()
	delete(p.waiting, int32(fd))
	p.mu.Unlock()
}

// wait asks anew, and returns as first does.
func (p *poller) wait(fd int, stop <-chan struct{}) error {
	if err := p.ask(unix.EPOLL_CTL_MOD, fd); err != nil {
		return err
	}
	p.first(fd, stop)
	return nil
}

// first returns when there may be something to read, or stop is closed: since add, or since wait asked.
func (p *poller) first(fd int, stop <-chan struct{}) {
	p.mu.Lock()
	ready := p.waiting[int32(fd)]
	p.mu.Unlock()
	select {
	case <-ready:
	case <-stop:
	}
}

func (p *poller) ask(how, fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epoll, how, fd, &event); err != nil {
		return fmt.Errorf("wait for a pipe: %w", err)
	}
	return nil
}
