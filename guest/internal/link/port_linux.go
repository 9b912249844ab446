package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// Between two tries to find or open the port while the kernel still makes it.
	portRetry = 2 * time.Millisecond
	// While the host is away a read gives 0 bytes at once, for as long as it is away, and poll says POLLHUP. The runtime's
	// edge-triggered poller tells when that changes; this is how long a missed edge would be believed.
	awayRecheck = 250 * time.Millisecond
)

// OpenPort opens the virtio-serial port of that name, for example "dev.pyro.agent". It waits for the port until the
// context ends: the device may come late, and for some milliseconds after its node opening it gives ENXIO.
func OpenPort(ctx context.Context, name string) (*PortFile, error) {
	for {
		path, err := findPort("/sys/class/virtio-ports", name)
		if err == nil {
			var fd int
			fd, err = syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
			if err == nil {
				return newPortFile(os.NewFile(uintptr(fd), path))
			}
			err = fmt.Errorf("open %q: %w", path, err)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENXIO) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(portRetry):
		}
	}
}

func findPort(class, name string) (string, error) {
	ports, err := os.ReadDir(class)
	if err != nil {
		return "", err
	}
	for _, port := range ports {
		content, err := os.ReadFile(filepath.Join(class, port.Name(), "name"))
		if err == nil && strings.TrimSpace(string(content)) == name {
			return filepath.Join("/dev", port.Name()), nil
		}
	}
	return "", fmt.Errorf("virtio port %q: %w", name, fs.ErrNotExist)
}

// PortFile is a virtio-serial port as a Port: a Read waits through an absence of the host.
type PortFile struct {
	file *os.File
	raw  syscall.RawConn

	// The state of the one Read at a time, here so that a Read allocates nothing.
	reading sync.Mutex
	into    []byte
	count   int
	failure error
	away    bool
	try     func(fd uintptr) bool
}

func newPortFile(file *os.File) (*PortFile, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	p := &PortFile{file: file, raw: raw}
	p.try = p.tryRead
	return p, nil
}

// tryRead reads once; false waits for the next edge of the port's readiness.
func (p *PortFile) tryRead(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), p.into)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			p.returned()
			return false
		case err != nil:
			p.failure = err
			return true
		case n == 0:
			p.away = true
			_ = p.file.SetReadDeadline(time.Now().Add(awayRecheck))
			return false
		default:
			p.returned()
			p.count = n
			return true
		}
	}
}

func (p *PortFile) returned() {
	if p.away {
		p.away = false
		_ = p.file.SetReadDeadline(time.Time{})
	}
}

// Read gives what there is, and waits while there is nothing or the host is away.
func (p *PortFile) Read(into []byte) (int, error) {
	p.reading.Lock()
	defer p.reading.Unlock()
	p.into, p.count, p.failure = into, 0, nil
	for p.count == 0 && p.failure == nil {
		err := p.raw.Read(p.try)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.returned()
			continue
		}
		if err != nil {
			return 0, err
		}
	}
	p.into = nil
	return p.count, p.failure
}

// Write waits while the port's queue is full or the host is away.
func (p *PortFile) Write(b []byte) (int, error) { return p.file.Write(b) }

// Close makes a waiting Read and Write return.
func (p *PortFile) Close() error { return p.file.Close() }
