// Package failure makes the errors of the wire: a Connect error whose detail carries the same code, message and hint
// that the user sees (src/protocol/codes.ts).
package failure

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Code is one of the codes of src/protocol/codes.ts.
type Code string

// The codes that the agent uses.
const (
	InvalidArgument          Code = "INVALID_ARGUMENT"
	ArgumentTooLarge         Code = "ARGUMENT_TOO_LARGE"
	ProcessNotFound          Code = "PROCESS_NOT_FOUND"
	CommandNotFound          Code = "COMMAND_NOT_FOUND"
	CommandNotExecutable     Code = "COMMAND_NOT_EXECUTABLE"
	WorkingDirectoryNotFound Code = "WORKING_DIRECTORY_NOT_FOUND"
	EnvironmentDamaged       Code = "ENVIRONMENT_DAMAGED"
	EnvironmentBuildFailed   Code = "ENVIRONMENT_BUILD_FAILED"
	GuestFileNotFound        Code = "GUEST_FILE_NOT_FOUND"
	GuestFileRefused         Code = "GUEST_FILE_REFUSED"
	GuestDiskFull            Code = "GUEST_DISK_FULL"
	GuestProcessLimit        Code = "GUEST_PROCESS_LIMIT"
	Internal                 Code = "INTERNAL"
)

// connectCode is the Connect code that goes with a code of ours; clients look at the detail.
func (c Code) connectCode() connect.Code {
	switch c {
	case InvalidArgument, ArgumentTooLarge:
		return connect.CodeInvalidArgument
	case ProcessNotFound, CommandNotFound, WorkingDirectoryNotFound, GuestFileNotFound:
		return connect.CodeNotFound
	case CommandNotExecutable, GuestFileRefused:
		return connect.CodePermissionDenied
	case GuestDiskFull, GuestProcessLimit:
		return connect.CodeResourceExhausted
	case EnvironmentDamaged, EnvironmentBuildFailed:
		return connect.CodeFailedPrecondition
	default:
		return connect.CodeInternal
	}
}

// New makes an error of the wire. The hint is the next thing to type or to change.
func New(code Code, hint, format string, args ...any) *connect.Error {
	return wrap(code, hint, fmt.Errorf(format, args...))
}

func wrap(code Code, hint string, err error) *connect.Error {
	failure := connect.NewError(code.connectCode(), err)
	// The wire is UTF-8; names in messages are quoted where they are written, the rest is made valid here.
	detail, detailErr := connect.NewErrorDetail(&guestv1.ErrorDetail{
		Code:    string(code),
		Message: strings.ToValidUTF8(err.Error(), "\uFFFD"),
		Hint:    strings.ToValidUTF8(hint, "\uFFFD"),
	})
	if detailErr == nil {
		failure.AddDetail(detail)
	}
	return failure
}

// From keeps an error of the wire and gives every other one a code: a full disk its own, the rest INTERNAL.
func From(err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*connect.Error](err); ok {
		return known
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return wrap(GuestDiskFull, "free some space in the guest, or use a larger disk", err)
	}
	return wrap(Internal, "", err)
}
