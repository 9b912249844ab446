// Package failure makes the errors of the wire: a Status (proto/LINK.md) whose detail carries the same code, message and
// hint that the user sees (src/protocol/codes.ts).
package failure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Code is one of the codes of src/protocol/codes.ts.
type Code string

// The codes that the agent uses.
const (
	InvalidArgument          Code = "INVALID_ARGUMENT"
	ArgumentTooLarge         Code = "ARGUMENT_TOO_LARGE"
	ProcessNotFound          Code = "PROCESS_NOT_FOUND"
	ShellNotFound            Code = "SHELL_NOT_FOUND"
	ShellExited              Code = "SHELL_EXITED"
	CommandNotFound          Code = "COMMAND_NOT_FOUND"
	CommandNotExecutable     Code = "COMMAND_NOT_EXECUTABLE"
	WorkingDirectoryNotFound Code = "WORKING_DIRECTORY_NOT_FOUND"
	NoShellInEnvironment     Code = "NO_SHELL_IN_ENVIRONMENT"
	GuestUserNotFound        Code = "GUEST_USER_NOT_FOUND"
	EnvironmentDamaged       Code = "ENVIRONMENT_DAMAGED"
	EnvironmentBuildFailed   Code = "ENVIRONMENT_BUILD_FAILED"
	EnvironmentNotPortable   Code = "ENVIRONMENT_NOT_PORTABLE"
	ImageLayerTypeMismatch   Code = "IMAGE_LAYER_TYPE_MISMATCH"
	ImageLayerInvalid        Code = "IMAGE_LAYER_INVALID"
	ImageLimitExceeded       Code = "IMAGE_LIMIT_EXCEEDED"
	ImageDiffIDMismatch      Code = "IMAGE_DIFF_ID_MISMATCH"
	BlobDigestMismatch       Code = "BLOB_DIGEST_MISMATCH"
	GuestFileNotFound        Code = "GUEST_FILE_NOT_FOUND"
	GuestFileRefused         Code = "GUEST_FILE_REFUSED"
	GuestFileChanged         Code = "GUEST_FILE_CHANGED"
	GuestEditNoMatch         Code = "GUEST_EDIT_NO_MATCH"
	GuestEditAmbiguous       Code = "GUEST_EDIT_AMBIGUOUS"
	GuestDiskFull            Code = "GUEST_DISK_FULL"
	GuestProcessLimit        Code = "GUEST_PROCESS_LIMIT"
	ServiceNotFound          Code = "SERVICE_NOT_FOUND"
	ServiceExists            Code = "SERVICE_EXISTS"
	Internal                 Code = "INTERNAL"
)

// WireCode is the code of a Status: those of Connect, of which this wire uses a few.
type WireCode uint32

// The wire codes that the agent uses.
const (
	Canceled           WireCode = 1
	InvalidMessage     WireCode = 3
	DeadlineExceeded   WireCode = 4
	NotFound           WireCode = 5
	PermissionDenied   WireCode = 7
	ResourceExhausted  WireCode = 8
	FailedPrecondition WireCode = 9
	Unimplemented      WireCode = 12
	Broken             WireCode = 13
	Unavailable        WireCode = 14
)

// wireCode is the wire code that goes with a code of ours; hosts look at the detail.
func (c Code) wireCode() WireCode {
	switch c {
	case InvalidArgument, ArgumentTooLarge:
		return InvalidMessage
	case ProcessNotFound, CommandNotFound, WorkingDirectoryNotFound, NoShellInEnvironment, GuestUserNotFound, GuestFileNotFound, ServiceNotFound, ShellNotFound:
		return NotFound
	case CommandNotExecutable, GuestFileRefused:
		return PermissionDenied
	case GuestDiskFull, GuestProcessLimit, ImageLimitExceeded:
		return ResourceExhausted
	case EnvironmentDamaged, EnvironmentBuildFailed, EnvironmentNotPortable, ImageLayerTypeMismatch, ImageLayerInvalid, ImageDiffIDMismatch, BlobDigestMismatch,
		GuestFileChanged, GuestEditNoMatch, GuestEditAmbiguous, ServiceExists, ShellExited:
		return FailedPrecondition
	default:
		return Broken
	}
}

// Error is an error of the wire. Detail is what the user is told; it is missing where the wire itself failed.
type Error struct {
	Wire   WireCode
	Detail *guestv1.ErrorDetail
	cause  error
}

func (e *Error) Error() string { return e.cause.Error() }
func (e *Error) Unwrap() error { return e.cause }

// New makes an error for the user. The hint is the next thing to type or to change.
func New(code Code, hint, format string, args ...any) *Error {
	return wrap(code, hint, fmt.Errorf(format, args...))
}

// OfWire makes an error without detail: the wire itself failed.
func OfWire(code WireCode, format string, args ...any) *Error {
	return &Error{Wire: code, cause: fmt.Errorf(format, args...)}
}

func wrap(code Code, hint string, err error) *Error {
	return &Error{Wire: code.wireCode(), cause: err, Detail: &guestv1.ErrorDetail{
		Code: string(code), Message: valid(err.Error()), Hint: valid(hint),
	}}
}

// valid makes text fit for the wire, which is UTF-8; names in messages are quoted where they are written.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// From keeps an error of the wire and gives every other one a code: a full disk its own, the rest INTERNAL.
func From(err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return wrap(GuestDiskFull, "free some space in the guest, or use a larger disk", err)
	}
	return wrap(Internal, "", err)
}

// Status is how a call ends with this error; a context's end is one of the wire, whoever notices it.
func Status(err error) *guestv1.Status {
	if err == nil {
		return &guestv1.Status{}
	}
	known, ok := errors.AsType[*Error](err)
	switch {
	case ok:
	case errors.Is(err, context.DeadlineExceeded):
		known = OfWire(DeadlineExceeded, "the deadline passed")
	case errors.Is(err, context.Canceled):
		known = OfWire(Canceled, "the caller left")
	default:
		known, _ = From(err).(*Error)
	}
	return &guestv1.Status{Code: uint32(known.Wire), Message: valid(known.Error()), Detail: known.Detail}
}

// OfStatus is the error that a peer ended a call with; nil for success.
func OfStatus(status *guestv1.Status) error {
	if status.Code == 0 {
		return nil
	}
	return &Error{Wire: WireCode(status.Code), Detail: status.Detail, cause: errors.New(status.Message)}
}
