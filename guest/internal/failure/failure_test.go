package failure_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

func detailOf(t *testing.T, err error) *guestv1.ErrorDetail {
	t.Helper()
	status := failure.Status(err)
	if status.Detail == nil || status.Code == 0 {
		t.Fatalf("no detail in %v", err)
	}
	return status.Detail
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

func TestAStatusAndItsErrorAreTheSame(t *testing.T) {
	for _, err := range []error{
		failure.New(failure.GuestDiskFull, "free some", "full"), failure.OfWire(failure.Unimplemented, "no such method"),
		context.Canceled, context.DeadlineExceeded,
	} {
		status := failure.Status(err)
		again := failure.Status(failure.OfStatus(status))
		if !proto.Equal(status, again) || status.Code == 0 {
			t.Errorf("%v became %v", status, again)
		}
	}
	if failure.OfStatus(failure.Status(nil)) != nil {
		t.Error("success became an error")
	}
}
