package system

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

const (
	minEntropyBytes = 32
	maxEntropyBytes = 4096
)

// Personalize gives the machine what no other clone of its memory image has. Entropy comes first: the boot id below is
// drawn from it, where there are names; else only the time is told, and the machine stays who it is.
func (s *Service) Personalize(_ context.Context, message *guestv1.PersonalizeRequest) (*guestv1.PersonalizeResponse, error) {
	if err := checkIdentity(message); err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	stored, err := s.personalize(message)
	if err != nil {
		return nil, failure.From(err)
	}
	if named := message.Hostname != "" || message.MachineId != ""; named && !stored && s.root != "" && s.options.OwnsRoot {
		// They would wait until the hold's end, and a machine that is somebody else's from here on holds nothing.
		if _, err := s.letGo(); err != nil {
			return nil, failure.From(err)
		}
		s.writeIdentity()
	}
	return &guestv1.PersonalizeResponse{}, nil
}

// personalize does what needs no root directory, and tells whether the root's files have it too; the caller holds changing.
func (s *Service) personalize(message *guestv1.PersonalizeRequest) (stored bool, err error) {
	machine := s.options.Machine
	if err := machine.AddEntropy(message.Entropy); err != nil {
		return false, err
	}
	if message.UnixNanos != 0 {
		if err := machine.SetClock(message.UnixNanos); err != nil {
			return false, err
		}
	}
	if message.Hostname != "" {
		if err := machine.SetHostname(message.Hostname); err != nil {
			return false, fmt.Errorf("set the host name: %w", err)
		}
		s.hostname = message.Hostname
	}
	if message.MachineId != "" {
		s.machineID = message.MachineId
	}
	if message.Hostname == "" && message.MachineId == "" {
		return false, nil
	}
	s.bootID = newUUID()
	if s.storeIdentity() {
		return true, nil
	}
	return false, machine.SetBootID(s.bootID)
}

func checkIdentity(message *guestv1.PersonalizeRequest) error {
	if n := len(message.Entropy); n < minEntropyBytes || n > maxEntropyBytes {
		return failure.New(failure.InvalidArgument, "send 32 to 4096 bytes", "entropy has %d bytes", n)
	}
	if message.UnixNanos < 0 {
		return failure.New(failure.InvalidArgument, "send nanoseconds since 1970", "the clock cannot be %d", message.UnixNanos)
	}
	if name := message.Hostname; !validHostname(name) {
		return failure.New(failure.InvalidArgument, "use at most 63 letters, digits and inner hyphens", "%q is no host name", name)
	}
	if id := message.MachineId; id != "" && (len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "") {
		return failure.New(failure.InvalidArgument, "use 32 lower-case hexadecimal digits", "%q is no machine id", id)
	}
	return nil
}

// validHostname takes one label of RFC 1123; empty leaves the name alone.
func validHostname(name string) bool {
	const inner = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return len(name) <= 63 && strings.Trim(name, inner) == "" && !strings.HasPrefix(name, "-") && !strings.HasSuffix(name, "-")
}

// newUUID is a random UUID (RFC 9562, version 4), the form of a boot id. crypto/rand asks the kernel each time.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	digits := hex.EncodeToString(b[:])
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}
