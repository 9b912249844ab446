package system_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/system"
)

func hold(t *testing.T, s *system.Service, maxMs uint32) bool {
	t.Helper()
	response, err := s.HoldWrites(context.Background(), &guestv1.HoldWritesRequest{Hold: maxMs > 0, MaxMs: maxMs})
	if err != nil {
		t.Fatal(err)
	}
	return response.WasHeld
}

func TestWritesAreHeldOnceAndLetGoOnce(t *testing.T) {
	s, m, _ := newSystem(t)
	if err := mount(s, "/dev/vda"); err != nil {
		t.Fatal(err)
	}
	if hold(t, s, 30_000) || !hold(t, s, 30_000) || !hold(t, s, 0) || hold(t, s, 0) {
		t.Error("the answers are wrong")
	}
	if done := m.history(); !strings.HasSuffix(done, "freeze, thaw") || strings.Count(done, "freeze") != 1 {
		t.Error(done)
	}
}

func TestAHoldEndsByItselfAndSaysSo(t *testing.T) {
	s, m, _ := newSystem(t)
	if err := mount(s, "/dev/vda"); err != nil {
		t.Fatal(err)
	}
	hold(t, s, 1)
	for !strings.Contains(m.history(), "thaw") {
		time.Sleep(time.Millisecond)
	}
	if hold(t, s, 0) {
		t.Error("writes went on before, and it is said that they did not")
	}
	// A repeated hold is longer than the one before.
	hold(t, s, 20)
	hold(t, s, 30_000)
	time.Sleep(40 * time.Millisecond)
	if !hold(t, s, 0) {
		t.Error("the first hold's timer ended the second")
	}
}

func TestRootInTheGuestMayHaveLetWritesGo(t *testing.T) {
	s, m, _ := newSystem(t)
	if err := mount(s, "/dev/vda"); err != nil {
		t.Fatal(err)
	}
	hold(t, s, 30_000)
	m.thawErr = unix.EINVAL
	if hold(t, s, 0) {
		t.Error("nothing was held")
	}
	hold(t, s, 30_000)
	m.thawErr = errors.New("broken")
	if _, err := s.HoldWrites(context.Background(), &guestv1.HoldWritesRequest{}); agenttest.CodeOf(err) != "INTERNAL" {
		t.Error(err)
	}
	m.thawErr = nil
	hold(t, s, 0)
}

func TestWhatTheAgentWritesItselfIsNotHeld(t *testing.T) {
	s, m, _ := newSystem(t)
	if err := mount(s, "/dev/vda"); err != nil {
		t.Fatal(err)
	}
	hold(t, s, 30_000)
	if err := personalize(s, personality()); err != nil || hold(t, s, 0) {
		t.Error(err)
	}
	hold(t, s, 30_000)
	if _, err := s.Shutdown(context.Background(), &guestv1.ShutdownRequest{}); err != nil {
		t.Error(err)
	}
	<-m.poweredOff
	if done := m.history(); !strings.HasSuffix(done, "freeze, thaw, settle, off") {
		t.Error(done)
	}
}

func TestAHoldNeedsARootAndABound(t *testing.T) {
	s, _, _ := newSystem(t)
	for _, maxMs := range []uint32{0, 30_001, 1000} {
		request := &guestv1.HoldWritesRequest{Hold: true, MaxMs: maxMs}
		if _, err := s.HoldWrites(context.Background(), request); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
			t.Errorf("%d: %v", maxMs, err)
		}
	}
}
