// Package system is what the host asks of the machine as a whole: who it is, its identity and clock, its root
// directory, its rest and its end.
package system

import (
	"context"
	"sync"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/workload"
)

// Machine is what only PID 1 can do; tests outside of a machine bring another.
type Machine interface {
	AddEntropy(entropy []byte) error
	SetClock(unixNanos int64) error
	SetHostname(name string) error
	SetBootID(id string) error
	SwitchRoot(device, filesystem string) error
	UncoverTmp() error
	LoadModules(group string) error
	SettleDisks() error
	FreezeRoot() error
	ThawRoot() error
	PowerOff()
}

// Options of a Service.
type Options struct {
	AgentVersion  string
	KernelRelease string
	Capabilities  []string
	// Timings of the boot, complete once the first host has connected.
	Boot func() *guestv1.BootTimings
	// Epoch of the link that carries a call; 0 where there is no link.
	Epoch    func(context.Context) uint32
	Machine  Machine
	Workload *workload.Workload
	Root     rootdir.Root
	// What Rehearse does.
	Rehearse func() error
	// What Scrub does.
	Scrub func()
	// Whether the root is the machine's own to write names and addresses into.
	OwnsRoot bool
	Log      guard.Log
	// Time between the answer to Shutdown and the power's end, in which the answer leaves the machine.
	PowerDelay time.Duration
}

// Service is the SystemService.
type Service struct {
	options Options

	// One change of the machine's state at a time.
	changing sync.Mutex
	hostname string
	// Written under changing.
	machineID string
	bootID    string
	// The files that have these, mapped for the next identity; and those that have got theirs and are not unmapped yet.
	inPlace, stored []inPlace
	// Device of the mounted root; empty before.
	root     string
	stopping bool

	hold hold
}

// New makes the service.
func New(options Options) *Service { return &Service{options: options} }

// RootMounted tells whether the machine has an environment already.
func (s *Service) RootMounted() bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.root != ""
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.SystemService/Hello":       call.Unary(s.Hello),
		"pyro.guest.v1.SystemService/Ping":        call.Unary(s.Ping),
		"pyro.guest.v1.SystemService/Personalize": call.Unary(s.Personalize),
		"pyro.guest.v1.SystemService/MountRoot":   call.Unary(s.MountRoot),
		"pyro.guest.v1.SystemService/SetFrozen":   call.Unary(s.SetFrozen),
		"pyro.guest.v1.SystemService/HoldWrites":  call.Unary(s.HoldWrites),
		"pyro.guest.v1.SystemService/Rehearse":    call.Unary(s.Rehearse),
		"pyro.guest.v1.SystemService/Scrub":       call.Unary(s.Scrub),
		"pyro.guest.v1.SystemService/LoadModules": call.Unary(s.LoadModules),
		"pyro.guest.v1.SystemService/Shutdown":    call.Unary(s.Shutdown),
	}
}
