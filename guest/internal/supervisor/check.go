package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

const (
	// The pause after the first check; it doubles up to the interval.
	firstPause = 20 * time.Millisecond
	// Bounds of one check, and of the look at an address before the service begins.
	checkTime  = 5 * time.Second
	beforeTime = 500 * time.Millisecond
	// Bounds of what a request may ask for.
	maxTimeout  = time.Hour
	minInterval = 10 * time.Millisecond
)

// probe looks once whether a service is ready; its error says why not.
type probe interface {
	look(ctx context.Context) error
}

// check is how a service is known to be ready, and until when.
type check struct {
	probe             probe
	timeout, interval time.Duration
	// It was ready before the service began, and has not ceased to be.
	stale bool
}

var errStale = errors.New("it was so before the service began: something else answers there")

// newCheck is nil where there is nothing to be ready by.
func (s *Service) newCheck(ctx context.Context, request *guestv1.StartServiceRequest) (*check, error) {
	readiness := request.Readiness
	if readiness == nil || readiness.By == nil {
		return nil, nil
	}
	c := &check{
		timeout:  min(time.Duration(readiness.TimeoutMs)*time.Millisecond, maxTimeout),
		interval: max(time.Duration(readiness.IntervalMs)*time.Millisecond, minInterval),
	}
	switch by := readiness.By.(type) {
	case *guestv1.Readiness_File:
		c.probe = newFileProbe(s.options.Root, absolute(string(request.Cwd), string(by.File)))
		return c, nil
	case *guestv1.Readiness_Command:
		c.probe = &commandProbe{s, request, by.Command}
		return c, nil
	case *guestv1.Readiness_TcpAddress:
		if _, _, err := net.SplitHostPort(by.TcpAddress); err != nil {
			return nil, failure.New(failure.InvalidArgument, "write it as host:port or :port", "the address %q cannot be read: %v", by.TcpAddress, err)
		}
		c.probe = tcpProbe{by.TcpAddress}
	case *guestv1.Readiness_HttpUrl:
		http, err := newHTTPProbe(by.HttpUrl)
		if err != nil {
			return nil, failure.New(failure.InvalidArgument, "write it as http://host:port/path", "the URL %q cannot be used: %v", by.HttpUrl, err)
		}
		c.probe = http
	}
	before, cancel := context.WithTimeout(ctx, beforeTime)
	defer cancel()
	c.stale = c.probe.look(before) == nil
	return c, nil
}

func absolute(cwd, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join("/", cwd, name)
}

// wait looks until it is ready, or the time is over; the last look's reason is in the error.
func (c *check) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	last := errors.New("it was never looked at")
	for pause := firstPause; ; pause = min(2*pause, c.interval) {
		err := c.look(ctx)
		if err == nil {
			return nil
		}
		// What the end of the time made of the last look says nothing.
		if ctx.Err() == nil {
			last = err
		}
		timer := time.NewTimer(min(pause, c.interval))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("it was not ready within %s: %w", c.timeout, last)
		}
	}
}

func (c *check) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := c.probe.look(ctx)
	if err != nil {
		c.stale = false
		return err
	}
	if c.stale {
		return errStale
	}
	return nil
}

// dial connects to an address; without a host to this machine.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("nothing listens on %s", address)
	}
	return connection, err
}

// tcpProbe is ready when the address takes a connection.
type tcpProbe struct{ address string }

func (p tcpProbe) look(ctx context.Context) error {
	connection, err := dial(ctx, p.address)
	if err != nil {
		return err
	}
	return connection.Close()
}
