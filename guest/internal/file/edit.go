package file

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// maxEditBytes bounds a file that is edited, before and after: it is in memory as a whole.
const maxEditBytes = 8 << 20

// Edit replaces text in a regular file. A link at the end is followed, as by Write.
func (s *Service) Edit(ctx context.Context, request *guestv1.EditRequest) (*guestv1.EditResponse, error) {
	name, err := checkPath(request.Path)
	if err != nil {
		return nil, err
	}
	if len(request.OldText) == 0 {
		return nil, failure.New(failure.InvalidArgument, "say which text is replaced, or write the whole file", "the old text is empty")
	}
	view, err := s.view(request.Within)
	if err != nil {
		return nil, err
	}
	place, err := placeOf(view, name, openDirectory)
	if err != nil {
		return nil, err
	}
	defer unix.Close(place.directory)
	if place.old == nil {
		return nil, accessFailure(name, unix.ENOENT)
	}
	content, err := place.read(name)
	if err != nil {
		return nil, err
	}
	crlf := fitLineEnds(content, request)
	edited, count, err := replaceText(name, content, request)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := place.put(edited); err != nil {
		return nil, accessFailure(name, err)
	}
	return &guestv1.EditResponse{Replacements: uint32(count), SizeBytes: uint64(len(edited)), Crlf: crlf}, nil
}

// read reads the file that is there, whole, and notes what it is: its owner and mode are the new one's.
func (p *place) read(name string) ([]byte, error) {
	fd, err := rootdir.OpenAt(p.directory, p.base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0, 0)
	if err != nil {
		return nil, accessFailure(name, err)
	}
	handle := os.NewFile(uintptr(fd), name)
	defer handle.Close()
	if err := unix.Fstat(fd, p.old); err != nil {
		return nil, accessFailure(name, err)
	}
	if p.old.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, notRegular(name, p.old.Mode)
	}
	if p.old.Size > maxEditBytes {
		return nil, tooLargeToEdit(name, p.old.Size)
	}
	// One byte more than there may be: files of /proc have no size.
	content, err := io.ReadAll(io.LimitReader(handle, maxEditBytes+1))
	if err != nil {
		return nil, failure.From(fmt.Errorf("read %q: %w", name, err))
	}
	if len(content) > maxEditBytes {
		return nil, tooLargeToEdit(name, int64(len(content)))
	}
	return content, nil
}

func tooLargeToEdit(name string, size int64) error {
	return failure.New(failure.GuestFileRefused, "edit it with a command such as sed", "%q has %d bytes; at most %d can be edited", name, size, maxEditBytes)
}

// put replaces the file that is there.
func (p *place) put(content []byte) error {
	fresh, err := newTemporary(p.directory)
	if err != nil {
		return err
	}
	defer fresh.close()
	if err := fresh.write(content); err != nil {
		return err
	}
	if err := fresh.adopt(p.directory, p.old, p.old.Mode); err != nil {
		return err
	}
	return fresh.replace(p.directory, p.base)
}

// fitLineEnds gives the texts of a request CRLF line ends where they have none and every line of the file has them:
// texts are shown without CRs, and a file of both kinds of lines is nobody's wish. It tells whether it changed a text.
func fitLineEnds(content []byte, request *guestv1.EditRequest) bool {
	lf, crlf := []byte("\n"), []byte("\r\n")
	ends := bytes.Count(content, lf)
	if ends == 0 || bytes.Count(content, crlf) != ends {
		return false
	}
	texts := [][]byte{request.OldText, request.NewText}
	if slices.ContainsFunc(texts, func(text []byte) bool { return bytes.ContainsRune(text, '\r') }) ||
		!slices.ContainsFunc(texts, func(text []byte) bool { return bytes.Contains(text, lf) }) {
		return false
	}
	request.OldText = bytes.ReplaceAll(request.OldText, lf, crlf)
	request.NewText = bytes.ReplaceAll(request.NewText, lf, crlf)
	return true
}

func replaceText(name string, content []byte, request *guestv1.EditRequest) (edited []byte, count int, err error) {
	count = bytes.Count(content, request.OldText)
	switch {
	case count == 0:
		message, hint := nearest(content, request.OldText)
		return nil, 0, failure.New(failure.GuestEditNoMatch, hint, "the old text is not in %q%s", name, message)
	case count > 1 && !request.ReplaceAll:
		return nil, 0, failure.New(failure.GuestEditAmbiguous, "give more lines around it so that it is there once, or replace all",
			"the old text is in %q %d times, on lines %s", name, count, matchLines(content, request.OldText))
	}
	size := len(content) + count*(len(request.NewText)-len(request.OldText))
	if size > maxEditBytes {
		return nil, 0, tooLargeToEdit(name, int64(size))
	}
	return bytes.ReplaceAll(content, request.OldText, request.NewText), count, nil
}
