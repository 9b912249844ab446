// Package agenttest serves services to a test over HTTP/2 on a socket pair, as the link's streams would.
package agenttest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/h2"
)

// URL is the base address to give to a client.
const URL = "http://guest"

// Connect serves the handler until the test ends, and gives a client of it.
func Connect(t testing.TB, handler http.Handler) *http.Client {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	server := connOf(t, ends[0])
	go func() { served <- h2.Serve(ctx, server, handler) }()
	client := connOf(t, ends[1])
	t.Cleanup(func() {
		cancel()
		_ = client.Close()
		<-served
	})
	return &http.Client{Transport: h2.NewTransport(client)}
}

func connOf(t testing.TB, fd int) net.Conn {
	t.Helper()
	file := os.NewFile(uintptr(fd), "socket pair")
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	return conn
}

// CodeOf is the code in the detail of an error of the wire.
func CodeOf(err error) string {
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return ""
	}
	for _, detail := range wire.Details() {
		if value, err := detail.Value(); err == nil {
			if detail, ok := value.(*guestv1.ErrorDetail); ok {
				return detail.Code
			}
		}
	}
	return ""
}
