// Package h2 serves and calls HTTP/2 on one given connection, tuned for the framed link.
//
// It uses the HTTP/2 of net/http: its x/net sibling would bring two modules more for the same code.
package h2

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

const (
	// Each frame costs a pass through the framer and two goroutine switches; the host asks for as much.
	frameBytes = 1 << 20
	// What a stream may have under way: it lies in the port's queues in front of a control frame. Measured in an emulated
	// guest on a busy machine, round trip while a stream runs: 12-14 ms with 1 MiB, 8-12 ms with 512 KiB, 6-7 ms with
	// 256 KiB.
	streamWindowBytes = 256 << 10
	// Of all streams together; so much larger that some that nobody reads do not hold up the others.
	connectionWindowBytes = 8 << 20
	maxStreams            = 256
)

func config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreams,
		MaxReadFrameSize:              frameBytes,
		MaxReceiveBufferPerConnection: connectionWindowBytes,
		MaxReceiveBufferPerStream:     streamWindowBytes,
	}
}

func cleartext() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// Serve answers the calls that come on conn until conn or the context ends, and closes conn. It returns when all
// handlers have returned.
func Serve(ctx context.Context, conn net.Conn, handler http.Handler) error {
	pool := newWorkers(handler)
	defer pool.close()
	server := &http.Server{
		Handler:     pool,
		Protocols:   cleartext(),
		HTTP2:       config(),
		BaseContext: func(net.Listener) context.Context { return ctx },
		// A connection that breaks off is how an epoch ends, the filler of the next one included: no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	listener := &single{conn: conn, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	err := server.Serve(listener)
	_ = server.Close()
	_ = conn.Close()
	if errors.Is(err, errServed) {
		return nil
	}
	return err
}

// Transport is an http.RoundTripper whose calls all go over one connection; when that ends so do they.
type Transport struct {
	conn net.Conn
	dial sync.Once
	// What net/http makes of the connection; it has no pool, so that no call ever waits for, or tries, another one.
	client *http.ClientConn
	err    error
}

// NewTransport makes the client of conn. Use it once per connection.
func NewTransport(conn net.Conn) *Transport { return &Transport{conn: conn} }

// RoundTrip makes one call; the first one says hello to the peer.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	t.dial.Do(func() {
		transport := &http.Transport{
			Protocols:          cleartext(),
			HTTP2:              config(),
			DisableCompression: true,
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return t.conn, nil },
		}
		t.client, t.err = transport.NewClientConn(context.Background(), "http", "host:80")
	})
	if t.err != nil {
		return nil, t.err
	}
	return t.client.RoundTrip(request)
}

// CloseIdleConnections ends the connection and what runs on it.
func (t *Transport) CloseIdleConnections() { _ = t.conn.Close() }

var errServed = errors.New("the connection is over")

// single is a listener that gives one connection, and ends when that does.
type single struct {
	conn  net.Conn
	given bool
	done  chan struct{}
	once  sync.Once
}

func (s *single) Accept() (net.Conn, error) {
	if !s.given {
		s.given = true
		return &watched{s.conn, s}, nil
	}
	<-s.done
	return nil, errServed
}

func (s *single) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }

type watched struct {
	net.Conn
	listener *single
}

func (w *watched) Close() error {
	_ = w.listener.Close()
	return w.Conn.Close()
}
