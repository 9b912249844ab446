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
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/boot"
	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/diagnostics"
	"pyro/guest/internal/file"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/process"
	"pyro/guest/internal/reaper"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/serve"
	"pyro/guest/internal/system"
	"pyro/guest/internal/workload"
)

// runOutside serves as an ordinary process until SIGTERM or SIGINT.
func runOutside(arguments []string, log guard.Log) error {
	flags := flag.NewFlagSet("pyro-agent", flag.ContinueOnError)
	listen := flags.String("listen", "", "serve on this unix socket: unix:PATH")
	rootPath := flags.String("root", "/", "root directory of the commands and files")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	socket, ok := strings.CutPrefix(*listen, "unix:")
	if !ok {
		return errors.New("not the init of a machine: give -listen unix:PATH")
	}
	// Orphans of the commands come here, as they come to PID 1.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	group, release := outsideGroup()
	defer release()
	collector := reaper.New()
	commands := workload.New(collector, group, workload.Limits{})
	var owned sync.WaitGroup
	// Collects until the commands are gone.
	collecting, collected := context.WithCancel(context.Background())
	owned.Go(func() { collector.Run(collecting) })
	defer owned.Wait()
	defer collected()

	root := rootdir.New(*rootPath)
	state := system.New(system.Options{
		AgentVersion: version, KernelRelease: boot.KernelRelease(), Capabilities: []string{"process", "file", "diagnostics"},
		Boot: func() *guestv1.BootTimings { return &guestv1.BootTimings{} }, Epoch: serve.Epoch,
		Machine: noMachine{stop: stop}, Workload: commands, Root: root, OwnsRoot: *rootPath != "/",
		Log: log, PowerDelay: powerDelay,
	})
	processes, err := process.New(ctx, process.Options{Workload: commands, Root: root, Observer: noObserver{}, Log: log})
	if err != nil {
		return err
	}
	handler := serve.Handler(serve.Services{
		System:      state,
		Process:     processes,
		File:        file.New(root),
		Diagnostics: diagnostics.New(collector, root, nil),
	}, log)
	err = serveUntil(ctx, listener, handler)
	return errors.Join(err, commands.StopAll(context.Background(), 0))
}

func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols}
	closeOnEnd := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer closeOnEnd()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// outsideGroup makes a control group for the commands where this user may.
func outsideGroup() (*cgroup.Group, func()) {
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		root, err := cgroup.OpenRoot(mount)
		if err != nil {
			continue
		}
		if group, err := root.Create(fmt.Sprintf("pyro-agent-%d", os.Getpid())); err == nil {
			return group, func() { _ = group.Remove() }
		}
		root.Close()
	}
	return nil, func() {}
}

type noObserver struct{}

func (noObserver) ProcessExited(string, *guestv1.ExitStatus) {}
func (noObserver) OutOfMemory(string)                        {}

// noMachine takes what would change the machine, and changes nothing.
type noMachine struct{ stop func() }

func (noMachine) AddEntropy([]byte) error         { return nil }
func (noMachine) SetClock(int64) error            { return nil }
func (noMachine) SetHostname(string) error        { return nil }
func (noMachine) SetBootID(string) error          { return nil }
func (noMachine) SwitchRoot(string, string) error { return nil }
func (noMachine) LoadModules(string) error        { return nil }
func (noMachine) SettleDisks() error              { return nil }
func (m noMachine) PowerOff()                     { m.stop() }
