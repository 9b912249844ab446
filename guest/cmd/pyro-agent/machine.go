package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/boot"
	"pyro/guest/internal/builder"
	"pyro/guest/internal/call"
	"pyro/guest/internal/diagnostics"
	"pyro/guest/internal/file"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/link"
	"pyro/guest/internal/network"
	"pyro/guest/internal/process"
	"pyro/guest/internal/reaper"
	"pyro/guest/internal/registers"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/serve"
	"pyro/guest/internal/shell"
	"pyro/guest/internal/supervisor"
	"pyro/guest/internal/system"
	"pyro/guest/internal/workload"
)

const (
	portName = "dev.pyro.agent"
	// Where a workspace's machine has its baseline.
	baselineDevice = "/dev/vdb"
	// Bound of the search for the port: without it nobody can reach the machine.
	portTimeout = 10 * time.Second
	// Time for the answer to Shutdown to leave the machine.
	powerDelay = 100 * time.Millisecond
)

// runMachine is the life of PID 1; it returns only when the machine cannot be used.
func runMachine(begin time.Duration, log guard.Log) error {
	// One of Go's processors per vCPU, the default: a second one on a single vCPU costs a thread switch per message
	// (streams of calls at 0.48 and 0.70 of the link instead of 0.86 and 0.91).
	made, err := boot.Start()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	port, err := openPort(ctx)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(os.Stdout, "pyro-agent %s, %s, Linux %s\n", version, runtime.Version(), boot.KernelRelease())

	collector := reaper.New()
	events := serve.NewEvents()
	commands := workload.New(collector, made.Groups.Commands, made.Groups.Limits)
	timings := newBootTimings(begin, made.ModulesTime)
	epochs := &serve.Epochs{Events: events, Log: log, Connected: timings.connected}
	l := link.New(port, func(session *link.Session) { epochs.Open(ctx, session) })
	root := rootdir.New("/")
	processes, err := process.New(ctx, process.Options{Workload: commands, Root: root, Observer: events, Log: log})
	if err != nil {
		return err
	}
	state := system.New(system.Options{
		AgentVersion: version, KernelRelease: boot.KernelRelease(), Capabilities: capabilities(),
		Boot: timings.message, Epoch: serve.Epoch,
		Machine: realMachine{modules: made.Modules, log: log}, Workload: commands, Root: root, OwnsRoot: true, Log: log,
		PowerDelay: powerDelay, Rehearse: func() error { return rehearse(processes) }, Scrub: scrub,
	})
	services := supervisor.New(ctx, supervisor.Options{Processes: processes, Root: root, Log: log})
	baseline := &boot.Baseline{Device: baselineDevice}
	files := file.New(file.Options{Root: root, Baseline: baseline.Root, Inodes: baseline.Inodes})
	images := builder.New(builder.Options{Workload: commands, RootMounted: state.RootMounted, Log: log})
	shells := shell.New(ctx, shell.Options{Workload: commands, Root: root, Log: log})
	outside := network.New(network.Options{
		Commands: network.Commands{Group: made.Groups.Commands, Level: 2, OwnerOf: commands.OwnerOf}, Rewrite: state.Rewrite,
		SetDefaults: commands.SetDefaults, Log: log,
	})
	epochs.Network = outside.Serve
	epochs.Methods = call.Join(state.Methods(), processes.Methods(), services.Methods(), files.Methods(), images.Methods(), shells.Methods(),
		outside.Methods(), diagnostics.New(collector, root, l).Methods())

	var owned sync.WaitGroup
	defer owned.Wait()
	defer epochs.Wait()
	defer cancel()
	owned.Go(func() { log.Run("the reaper", func() { collector.Run(ctx) }) })
	return l.Run(ctx)
}

// rehearse leaves in memory what a first call and a first command would have to make.
func rehearse(processes *process.Service) error {
	boot.SpareThreads()
	processes.Replenish()
	return errors.Join(call.Rehearse(guestv1.File_pyro_guest_v1_guest_proto), call.Rehearse(guestv1.File_pyro_guest_v1_network_proto))
}

// scrub collects what is not used any more: what a collection frees it overwrites (GODEBUG=clobberfree=1, which is on the
// kernel's command line). Twice, because what a pool lets go of in the first is freed by the second.
func scrub() {
	link.ForgetBuffers()
	call.ForgetBuffers()
	runtime.GC()
	runtime.GC()
	registers.WipeAll()
}

func openPort(ctx context.Context) (*link.PortFile, error) {
	ctx, cancel := context.WithTimeout(ctx, portTimeout)
	defer cancel()
	port, err := link.OpenPort(ctx, portName)
	if err != nil {
		return nil, fmt.Errorf("open the port %q to the host: %w", portName, err)
	}
	return port, nil
}

func capabilities() []string {
	return []string{"process", "run", "file", "workspace", "supervisor", "shell", "network", "builder", "diagnostics"}
}

// bootTimings are complete with the first host that connects.
type bootTimings struct {
	kernel, modules time.Duration
	begin           time.Duration
	agent           atomic.Int64
}

func newBootTimings(begin, modules time.Duration) *bootTimings {
	return &bootTimings{kernel: begin, modules: modules, begin: begin}
}

func (b *bootTimings) connected() { b.agent.CompareAndSwap(0, int64(boot.Uptime()-b.begin)) }

func (b *bootTimings) message() *guestv1.BootTimings {
	return &guestv1.BootTimings{
		KernelMs:  uint32(b.kernel.Milliseconds()),
		ModulesMs: uint32(b.modules.Milliseconds()),
		AgentMs:   uint32(time.Duration(b.agent.Load()).Milliseconds()),
	}
}

// realMachine is the machine as PID 1 may change it.
type realMachine struct {
	modules *boot.Modules
	log     guard.Log
}

func (realMachine) AddEntropy(entropy []byte) error { return boot.AddEntropy(entropy) }
func (realMachine) SetClock(unixNanos int64) error  { return boot.SetClock(unixNanos) }
func (realMachine) SetHostname(name string) error   { return unix.Sethostname([]byte(name)) }
func (realMachine) SetBootID(id string) error       { return boot.SetBootID(id) }
func (realMachine) SwitchRoot(device, filesystem string) error {
	return boot.SwitchRoot(device, filesystem)
}
func (m realMachine) LoadModules(group string) error { return m.modules.Load(group) }
func (realMachine) UncoverTmp() error                { return boot.UncoverTmp() }
func (realMachine) SettleDisks() error               { return boot.SettleDisks() }
func (realMachine) FreezeRoot() error                { return boot.FreezeRoot() }
func (realMachine) ThawRoot() error                  { return boot.ThawRoot() }

func (m realMachine) PowerOff() {
	if err := boot.PowerOff(); err != nil {
		m.log.Printf("power off: %v", err)
	}
}
