// Command linktest is a small agent for tests and measurements of the framed link: the real link and HTTP/2 settings,
// with services that only make and count bytes. It is no part of the shipped agent.
//
//	linktest -socket PATH   a unix socket that behaves like a virtio-serial port, host absences included
//	linktest -port NAME     a virtio-serial port; as the init of a machine it finds the agent's
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"pyro/guest/gen/pyro/guest/v1/guestv1connect"
	"pyro/guest/internal/h2"
	"pyro/guest/internal/link"
)

func main() {
	socket := flag.String("socket", "", "path of the unix socket to serve")
	portName := flag.String("port", "", "name of the virtio-serial port to serve")
	flag.Parse()
	if os.Getpid() == 1 {
		*portName = "dev.pyro.agent"
		if err := boot(); err != nil {
			fmt.Fprintln(os.Stderr, "linktest:", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, *socket, *portName); err != nil {
		fmt.Fprintln(os.Stderr, "linktest:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, socket, portName string) error {
	var port link.Port
	switch {
	case portName != "":
		opened, err := link.OpenPort(ctx, portName)
		if err != nil {
			return err
		}
		port = opened
	case socket != "":
		listener, err := net.Listen("unix", socket)
		if err != nil {
			return err
		}
		port = newLossyPort(listener)
	default:
		return errors.New("give -socket or -port")
	}
	l := link.New(port)
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			session, err := l.Accept(ctx)
			if err != nil {
				return
			}
			sessions.Go(func() { serve(ctx, l, session) })
		}
	})
	err := l.Run(ctx)
	sessions.Wait()
	return err
}

// serve works one session to its end.
func serve(ctx context.Context, l *link.Link, session *link.Session) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = session.Control().Close(); _ = session.Bulk().Close() })
	transport := h2.NewTransport(session.Event())
	defer transport.CloseIdleConnections()
	events := guestv1connect.NewEventServiceClient(&http.Client{Transport: transport}, "http://event")
	handler := services(l, session)
	var channels sync.WaitGroup
	channels.Go(func() { _ = h2.Serve(ctx, session.Bulk(), handler) })
	channels.Go(func() { reportReady(ctx, session, events) })
	_ = h2.Serve(ctx, session.Control(), handler)
	<-session.Done()
	cancel()
	channels.Wait()
}
