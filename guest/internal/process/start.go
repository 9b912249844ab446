package process

import (
	"bytes"
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/workload"
)

// Bounds of exec(2), as in src/protocol/limits.ts.
const (
	// MAX_ARG_STRLEN, the terminating NUL included.
	maxArgumentBytes = 131_072
	// What the kernel takes at most whatever the stack limit: 3/4 of 8 MiB.
	maxArgumentsBytes = 6 << 20
	maxArgumentCount  = 100_000
)

// Start starts a command; a repeated call with the same id answers with the same command.
func (s *Service) Start(ctx context.Context, message *guestv1.StartRequest) (*guestv1.StartResponse, error) {
	p, err := s.started(ctx, message)
	if err != nil {
		return nil, err
	}
	return &guestv1.StartResponse{Pid: uint32(p.task.PID())}, nil
}

// Run is Start, and ReadOutput from the beginning.
func (s *Service) Run(ctx context.Context, message *guestv1.StartRequest, stream call.Sends[*guestv1.ReadOutputResponse]) error {
	p, err := s.started(ctx, message)
	if err != nil {
		return err
	}
	pid := &guestv1.StartResponse{Pid: uint32(p.task.PID())}
	if err := stream.Send(&guestv1.ReadOutputResponse{Event: &guestv1.ReadOutputResponse_Started{Started: pid}}); err != nil {
		return err
	}
	return p.readOutput(ctx, 0, 0, stream)
}

// started gives the command of the request once it runs.
func (s *Service) started(ctx context.Context, message *guestv1.StartRequest) (*process, error) {
	if err := checkID(message.ProcessId); err != nil {
		return nil, err
	}
	p, fresh, err := s.admit(message.ProcessId)
	if err != nil {
		return nil, err
	}
	if fresh {
		if p.startErr = p.start(ctx, message); p.startErr != nil {
			s.forget(p)
		}
		close(p.started)
	}
	select {
	case <-p.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.startErr != nil {
		return nil, p.startErr
	}
	return p, nil
}

// start runs on the caller's context only as far as the fork.
func (p *process) start(ctx context.Context, message *guestv1.StartRequest) error {
	spec, err := SpecOf(p.service.options.Root, message)
	if err != nil {
		return err
	}
	pipes, err := p.service.takePipes(message.OpenStdin)
	if err != nil {
		return internal("open pipes", err)
	}
	defer pipes.closeChildEnds()
	spec.Owner, spec.Files = message.ProcessId, pipes.childEnds()
	task, err := p.service.options.Workload.Start(ctx, spec)
	if err != nil {
		pipes.closeAgentEnds()
		return StartFailure(spec, err)
	}
	p.run(task, pipes, message)
	return nil
}

// SpecOf checks a request and finds its command; what has a terminal is found in the same way.
func SpecOf(root rootdir.Root, message *guestv1.StartRequest) (workload.Spec, error) {
	argv, err := checkedArgv(message.Argv)
	if err != nil {
		return workload.Spec{}, err
	}
	env, err := checkedEnv(message.Env)
	if err != nil {
		return workload.Spec{}, err
	}
	as, env, err := asUser(root, message, env)
	if err != nil {
		return workload.Spec{}, err
	}
	if err := checkTotal(argv, env); err != nil {
		return workload.Spec{}, err
	}
	find := finder{root: root, cwd: string(message.Cwd)}
	if err := find.checkDirectory(message.MakeCwd); err != nil {
		return workload.Spec{}, err
	}
	path, err := find.command(argv[0], env)
	if err != nil {
		return workload.Spec{}, err
	}
	return workload.Spec{
		Path: path, Argv: argv, Env: env, Dir: find.cwd,
		Chroot:     find.root.Chroot(),
		Credential: as,
	}, nil
}

func checkedArgv(argv [][]byte) ([]string, error) {
	if len(argv) == 0 || len(argv[0]) == 0 {
		return nil, failure.New(failure.InvalidArgument, "name a command", "there is no command")
	}
	if len(argv) > maxArgumentCount {
		return nil, tooLarge("%d arguments are more than %d", len(argv), maxArgumentCount)
	}
	return checkedStrings("argument", argv)
}

// checkedEnv refuses what is no assignment; of several with one name the last counts, as in a shell.
func checkedEnv(env [][]byte) ([]string, error) {
	if len(env) > maxArgumentCount {
		return nil, tooLarge("%d environment entries are more than %d", len(env), maxArgumentCount)
	}
	last := make(map[string]int, len(env))
	for i, entry := range env {
		name, _, ok := bytes.Cut(entry, []byte("="))
		if !ok || len(name) == 0 {
			return nil, failure.New(failure.InvalidArgument, "write it as NAME=value", "environment entry %q has no name", clip(entry))
		}
		last[string(name)] = i
	}
	kept := make([][]byte, 0, len(last))
	for i, entry := range env {
		name, _, _ := bytes.Cut(entry, []byte("="))
		if last[string(name)] == i {
			kept = append(kept, entry)
		}
	}
	return checkedStrings("environment entry", kept)
}

func checkedStrings(what string, from [][]byte) ([]string, error) {
	texts := make([]string, len(from))
	for i, text := range from {
		if len(text)+1 > maxArgumentBytes {
			return nil, tooLarge("%s %d has %d bytes; Linux takes at most %d in one", what, i, len(text), maxArgumentBytes-1)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil, failure.New(failure.InvalidArgument, "pass such bytes on standard input or in a file",
				"%s %d contains a NUL byte: %q", what, i, clip(text))
		}
		texts[i] = string(text)
	}
	return texts, nil
}

func checkTotal(lists ...[]string) error {
	total := 0
	for _, list := range lists {
		for _, text := range list {
			total += len(text) + 1 + 8
		}
	}
	if total > maxArgumentsBytes {
		return tooLarge("arguments and environment take %d bytes; Linux takes at most %d", total, maxArgumentsBytes)
	}
	return nil
}

func tooLarge(format string, args ...any) error {
	return failure.New(failure.ArgumentTooLarge, "pass it on standard input or in a file", format, args...)
}

func clip(text []byte) []byte { return text[:min(len(text), 80)] }

// StartFailure names what fork, chroot, chdir or exec refused; the finder has looked before, so little is left.
func StartFailure(spec workload.Spec, err error) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return internal("start the command", err)
	}
	switch errno {
	case unix.E2BIG:
		return tooLarge("arguments and environment together are too large for Linux")
	case unix.ENOENT:
		return failure.New(failure.CommandNotExecutable, "install the interpreter or loader that the file names, or check its first line",
			"%q exists, but its interpreter does not", spec.Path)
	case unix.ENOEXEC:
		return failure.New(failure.CommandNotExecutable, "give it a first line such as #!/bin/sh, or run it by its interpreter",
			"%q is neither a program for this machine nor a script with an interpreter line", spec.Path)
	case unix.EACCES, unix.EPERM, unix.ENOTDIR, unix.EISDIR, unix.ELIBBAD, unix.ELOOP, unix.ETXTBSY:
		return failure.New(failure.CommandNotExecutable, "check its permissions, and its owner's",
			"%q cannot be executed: %v", spec.Path, errno)
	case unix.EAGAIN, unix.ENOMEM:
		return failure.New(failure.GuestProcessLimit, "end some processes of the guest, or give it more memory",
			"the guest cannot fork another process: %v", errno)
	default:
		return internal("start "+spec.Path, err)
	}
}
