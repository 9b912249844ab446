// Command linktest is a small agent for tests and measurements of the framed link: the real link and calls, with services that only make and count bytes. It is no part of the shipped agent.
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
	"os"
	"os/signal"
	"syscall"

	"pyro/guest/internal/guard"
	"pyro/guest/internal/link"
	"pyro/guest/internal/serve"
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
	var l *link.Link
	epochs := &serve.Epochs{
		Methods: methods(func() *link.Link { return l }), Events: serve.NewEvents(), Log: guard.NewLog(os.Stderr),
		Connected: func() {},
	}
	defer epochs.Wait()
	l = link.New(port, func(session *link.Session) { epochs.Open(ctx, session) })
	return l.Run(ctx)
}
