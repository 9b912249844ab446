package network

import (
	"context"
	"errors"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/call"
)

// dataField is the number of the bytes in each message of a stream.
const dataField = 2

// wire is the host's side of a connection: one call.
type wire interface {
	// receive waits for the next bytes; done: the host sends no more.
	receive() (data []byte, done bool, err error)
	// room begins a message in the chunk.
	room(chunk *call.Chunk) ([]byte, error)
	send(chunk *call.Chunk, n int) error
	// finish says that no more will be sent.
	finish() error
	// settle ends the call, when both sides have finished.
	settle() error
	// stop makes a waiting receive and send return.
	stop()
}

// chunks are taken while bytes are there to be sent, not as long as a connection stands.
var chunks = sync.Pool{New: func() any { return call.NewChunk(dataField) }}

var errEarly = errors.New("the host has left the connection without its end")

// carry moves bytes both ways until both sides have said that they have no more; nil tells that it came to that. Else,
// and at the end of the context, the program sees a reset. It closes the connection.
func carry(ctx context.Context, conn *net.TCPConn, host wire) error {
	var once sync.Once
	abort := func() {
		once.Do(func() {
			reset(conn)
			host.stop()
		})
	}
	stopped := context.AfterFunc(ctx, abort)
	defer stopped()
	up := make(chan error, 1)
	go func() {
		err := fromProgram(conn, host)
		if err != nil {
			abort()
		}
		up <- err
	}()
	down := toProgram(conn, host)
	if down != nil {
		abort()
	}
	err := errors.Join(down, <-up)
	if err == nil {
		err = host.settle()
	}
	once.Do(func() { _ = conn.Close() })
	return errors.Join(err, ctx.Err())
}

// fromProgram sends what the program sends, up to its end.
func fromProgram(conn *net.TCPConn, host wire) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for {
		chunk, n, err := read(raw.Read, host)
		if err != nil {
			return err
		}
		if n == 0 {
			return host.finish()
		}
		err = host.send(chunk, n)
		chunks.Put(chunk)
		if err != nil {
			return err
		}
	}
}

// read waits until there is something to read, and only then takes a chunk for it; 0 bytes are the end.
func read(wait func(func(fd uintptr) bool) error, host wire) (chunk *call.Chunk, n int, failed error) {
	err := wait(func(fd uintptr) bool {
		chunk = chunks.Get().(*call.Chunk)
		room, err := host.room(chunk)
		for err == nil {
			n, err = unix.Read(int(fd), room)
			if err != unix.EINTR {
				break
			}
			err = nil
		}
		if err == nil && n > 0 {
			return true
		}
		chunks.Put(chunk)
		chunk, n = nil, 0
		if err == unix.EAGAIN {
			return false
		}
		failed = err
		return true
	})
	return chunk, n, errors.Join(failed, err)
}

// toProgram writes what the host sends, up to its end.
func toProgram(conn *net.TCPConn, host wire) error {
	for {
		data, done, err := host.receive()
		if err != nil {
			return err
		}
		if done {
			return conn.CloseWrite()
		}
		if _, err := conn.Write(data); err != nil {
			return err
		}
	}
}
