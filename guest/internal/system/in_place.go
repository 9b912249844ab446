package system

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// bootIDPath is where the machine shows its boot id.
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// unmapAfter is longer than a first command takes.
const unmapAfter = 150 * time.Millisecond

// inPlace is a value of the identity in the file that has it, mapped.
type inPlace struct {
	file  []byte
	value []byte
	of    func(*Service) string
}

// mapIdentity maps what holds the identity, with the pages dirty already, so that the next one is a store to memory: in a
// machine that was just restored under emulation the first write to a file is 7 ms, and what is around it as much. Without
// it the next identity is written.
func (s *Service) mapIdentity() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.root == "" || !s.options.OwnsRoot {
		return nil
	}
	hostname := func(s *Service) string { return s.hostname }
	machineID := func(s *Service) string { return s.machineID }
	bootID := func(s *Service) string { return s.bootID }
	s.unmapIdentity()
	err := errors.Join(s.mapValue("/etc/hostname", hostname), s.mapValue("/etc/hosts", hostname),
		s.mapValue("/etc/machine-id", machineID), s.mapValue(bootIDPath, bootID))
	if err != nil {
		s.unmapIdentity()
	}
	return err
}

func (s *Service) mapValue(path string, of func(*Service) string) error {
	fd, err := s.options.Root.Open(path, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if stat.Size == 0 || stat.Size > maxSmallFileBytes {
		return fmt.Errorf("%s has %d bytes", path, stat.Size)
	}
	file, err := unix.Mmap(fd, 0, int(stat.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	value := of(s)
	// The last: the machine's own name stands at the end of its hosts.
	at := bytes.LastIndex(file, []byte(value))
	if value == "" || at < 0 {
		_ = unix.Munmap(file)
		return fmt.Errorf("%s does not have %q", path, value)
	}
	place := inPlace{file, file[at : at+len(value)], of}
	copy(place.value, value)
	s.inPlace = append(s.inPlace, place)
	return nil
}

// storeIdentity gives the mapped files the identity, once, and tells whether it did: not where a value has another length,
// or a file was cut below its mapping by what a profile left running. The caller holds changing.
func (s *Service) storeIdentity() bool {
	if len(s.inPlace) == 0 {
		return false
	}
	fits := true
	for _, place := range s.inPlace {
		fits = fits && len(place.of(s)) == len(place.value)
	}
	if !fits || !s.copyInPlace() {
		s.unmapIdentity()
		return false
	}
	s.stored, s.inPlace = s.inPlace, nil
	time.AfterFunc(unmapAfter, func() {
		s.changing.Lock()
		defer s.changing.Unlock()
		s.unmapStored()
	})
	return true
}

// copyInPlace gives false where memory is not there any more: of a file that was cut.
func (s *Service) copyInPlace() (done bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { _ = recover() }()
	for _, place := range s.inPlace {
		copy(place.value, place.of(s))
	}
	return true
}

// unmapIdentity lets the files go; the caller holds changing. A root with a mapping that could be written to cannot be made
// read-only.
func (s *Service) unmapIdentity() {
	unmap(s.inPlace)
	s.inPlace = nil
	s.unmapStored()
}

// unmapStored leaves those that were mapped for the next identity.
func (s *Service) unmapStored() {
	unmap(s.stored)
	s.stored = nil
}

func unmap(places []inPlace) {
	for _, place := range places {
		_ = unix.Munmap(place.file)
	}
}
