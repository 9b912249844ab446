package failure_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

func detailOf(t *testing.T, err error) *guestv1.ErrorDetail {
	t.Helper()
	var wire *connect.Error
	if !errors.As(err, &wire) || len(wire.Details()) != 1 {
		t.Fatalf("no detail in %v", err)
	}
	value, err := wire.Details()[0].Value()
	if err != nil {
		t.Fatal(err)
	}
	return value.(*guestv1.ErrorDetail)
}

func TestAnErrorCarriesCodeMessageAndHint(t *testing.T) {
	detail := detailOf(t, failure.New(failure.CommandNotFound, "install it", "no %q", "x\xff"))
	if detail.Code != "COMMAND_NOT_FOUND" || detail.Hint != "install it" || detail.Message != `no "x\xff"` {
		t.Fatalf("%v", detail)
	}
}

func TestAFullDiskHasItsOwnCode(t *testing.T) {
	if code := detailOf(t, failure.From(fmt.Errorf("write: %w", syscall.ENOSPC))).Code; code != "GUEST_DISK_FULL" {
		t.Fatal(code)
	}
}

func TestFromKeepsAnErrorOfTheWire(t *testing.T) {
	known := failure.New(failure.ProcessNotFound, "", "gone")
	if detailOf(t, failure.From(fmt.Errorf("outer: %w", known))).Code != "PROCESS_NOT_FOUND" {
		t.Fatal("the code was lost")
	}
	if failure.From(nil) != nil {
		t.Fatal("no error became one")
	}
	if detailOf(t, failure.From(errors.New("bad \xff"))).Code != "INTERNAL" {
		t.Fatal("an unknown error has no code")
	}
}
