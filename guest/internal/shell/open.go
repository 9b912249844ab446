package shell

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/process"
	"pyro/guest/internal/workload"
)

// Open opens a shell; a repeated call with the same id answers with the same shell.
func (s *Service) Open(ctx context.Context, message *guestv1.OpenShellRequest) (*guestv1.OpenShellResponse, error) {
	if n := len(message.ShellId); n == 0 || n > 128 {
		return nil, failure.New(failure.InvalidArgument, "use 1 to 128 bytes", "shell_id has %d bytes", n)
	}
	found, fresh, err := s.admit(message.ShellId)
	if err != nil {
		return nil, err
	}
	if fresh {
		if found.openErr = found.open(ctx, message); found.openErr != nil {
			s.forget(found)
		}
		close(found.opened)
	}
	select {
	case <-found.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if found.openErr != nil {
		return nil, found.openErr
	}
	return &guestv1.OpenShellResponse{Shell: found.info()}, nil
}

// open runs on the caller's context only as far as the fork.
func (s *shell) open(ctx context.Context, message *guestv1.OpenShellRequest) error {
	size, err := checkedSize(message.Cols, message.Rows)
	if err != nil {
		return err
	}
	spec, argv, err := s.specOf(message)
	if err != nil {
		return err
	}
	s.terminal, err = openTerminal(size)
	if err != nil {
		return internal("open a terminal", err)
	}
	slave := uintptr(s.terminal.slave)
	spec.Owner, spec.Files, spec.Terminal = s.id, []uintptr{slave, slave, slave}, true
	s.sizes = []*guestv1.ShellSize{{Cols: message.Cols, Rows: message.Rows}}
	s.argv, s.cwd, s.openedAt, s.lastOutput = argv, []byte(spec.Dir), time.Now(), time.Now()
	s.task, err = s.service.options.Workload.Start(ctx, spec)
	if err != nil {
		s.terminal.close()
		return process.StartFailure(spec, err)
	}
	s.run()
	return nil
}

// shells are what a shell is where nothing else is asked for, the best first.
var shells = [...]string{"bash", "sh"}

// specOf finds the program; where none is named, a shell that is there.
func (s *shell) specOf(message *guestv1.OpenShellRequest) (spec workload.Spec, argv [][]byte, err error) {
	if len(message.Argv) > 0 {
		spec, err = s.specFor(message, message.Argv)
		return spec, message.Argv, err
	}
	for _, name := range shells {
		argv = [][]byte{[]byte(name)}
		if !message.NoLogin {
			argv = append(argv, []byte("-l"))
		}
		if spec, err = s.specFor(message, argv); err == nil {
			return spec, argv, nil
		}
	}
	if known, ok := errors.AsType[*failure.Error](err); ok && known.Detail.GetCode() == string(failure.CommandNotFound) {
		err = process.NoShell()
	}
	return spec, argv, err
}

func (s *shell) specFor(message *guestv1.OpenShellRequest, argv [][]byte) (workload.Spec, error) {
	return process.SpecOf(s.service.options.Root, &guestv1.StartRequest{
		Argv: argv, Env: message.Env, Cwd: message.Cwd, Uid: message.Uid, Gid: message.Gid,
		User: message.User,
	})
}

func checkedSize(cols, rows uint32) (*unix.Winsize, error) {
	if cols < 1 || cols > MaxCols || rows < 1 || rows > MaxRows {
		return nil, failure.New(failure.InvalidArgument, "use 1 to 1000 columns and 1 to 500 rows",
			"a terminal cannot have %d columns and %d rows", cols, rows)
	}
	return &unix.Winsize{Col: uint16(cols), Row: uint16(rows)}, nil
}
