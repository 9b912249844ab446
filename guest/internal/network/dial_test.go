package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
)

type dialing = call.Duplex[*guestv1.DialRequest, *guestv1.DialResponse]

func dialPort(t *testing.T, first *guestv1.DialRequest) *dialing {
	t.Helper()
	service := New(Options{Log: guard.NewLog(os.Stderr)})
	host := agenttest.Connect(t, service.Methods())
	opened, err := call.OpenDuplex(t.Context(), host, "pyro.guest.v1.NetworkService/Dial", first, dataField, func(m *guestv1.DialResponse) *[]byte {
		part := &guestv1.DialResponse_Data{}
		m.Part = part
		return &part.Data
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Leave)
	return opened
}

func port(n uint32) *guestv1.DialRequest {
	return &guestv1.DialRequest{Part: &guestv1.DialRequest_Open{Open: n}}
}

func text(content string) *guestv1.DialRequest {
	return &guestv1.DialRequest{Part: &guestv1.DialRequest_Data{Data: []byte(content)}}
}

var finished = &guestv1.DialRequest{Part: &guestv1.DialRequest_Finished{Finished: &guestv1.StreamFinished{}}}

// server listens on a loopback, and gives its connections to serve.
func server(t *testing.T, address string, serve func(*net.TCPConn)) uint32 {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("no %s: %v", address, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return uint32(listener.Addr().(*net.TCPAddr).Port)
}

func TestTheHostReachesAPortOfTheLoopback(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		at := server(t, address, func(conn *net.TCPConn) {
			heard, err := io.ReadAll(conn)
			_, _ = fmt.Fprintf(conn, "%d bytes, %v", len(heard), err)
			_ = conn.Close()
		})
		d := dialPort(t, port(at))
		if !d.Receive() || d.Msg().GetOpened() == nil {
			t.Fatal(d.Msg(), d.Err())
		}
		for range 100 {
			if err := d.Send(text(string(make([]byte, 30_000)))); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.SendLast(finished); err != nil {
			t.Fatal(err)
		}
		answer := ""
		for d.Receive() && d.Msg().GetFinished() == nil {
			answer += string(d.Msg().GetData())
		}
		if answer != "3000000 bytes, <nil>" || d.Receive() || d.Err() != nil {
			t.Fatal(address, answer, d.Err())
		}
	}
}

func TestAServerMayFinishBeforeTheHost(t *testing.T) {
	heard := make(chan string, 1)
	at := server(t, "127.0.0.1:0", func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "all")
		_ = conn.CloseWrite()
		content, _ := io.ReadAll(conn)
		heard <- string(content)
		_ = conn.Close()
	})
	d := dialPort(t, port(at))
	if !d.Receive() || !d.Receive() || string(d.Msg().GetData()) != "all" || !d.Receive() || d.Msg().GetFinished() == nil {
		t.Fatal(d.Msg(), d.Err())
	}
	if err := errors.Join(d.Send(text("late")), d.Send(finished)); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "late" || d.Receive() || d.Err() != nil {
		t.Fatal(got, d.Err())
	}
}

func TestAPortWithoutAServerIsRefused(t *testing.T) {
	at := server(t, "127.0.0.1:0", func(*net.TCPConn) {})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := uint32(listener.Addr().(*net.TCPAddr).Port)
	_ = listener.Close()
	if free == at {
		t.Fatal("the same port")
	}
	d := dialPort(t, port(free))
	if !d.Receive() || d.Msg().GetRefused().GetBecause() != guestv1.RefusedBecause_REFUSED_BECAUSE_REFUSED || d.Receive() || d.Err() != nil {
		t.Fatal(d.Msg(), d.Err())
	}
	for _, first := range []*guestv1.DialRequest{port(0), port(65_536), text("no port"), finished} {
		d := dialPort(t, first)
		if d.Receive() || failure.Status(d.Err()).Code != uint32(failure.InvalidMessage) {
			t.Error(first, d.Err())
		}
	}
}

func TestAServersResetIsTheCallsError(t *testing.T) {
	at := server(t, "127.0.0.1:0", func(conn *net.TCPConn) {
		_, _ = conn.Read(make([]byte, 10))
		reset(conn)
	})
	d := dialPort(t, port(at))
	if !d.Receive() || d.Msg().GetOpened() == nil {
		t.Fatal(d.Msg(), d.Err())
	}
	if err := d.Send(text("go")); err != nil {
		t.Fatal(err)
	}
	if d.Receive() || failure.Status(d.Err()).Code != uint32(failure.Unavailable) {
		t.Fatal(d.Msg(), d.Err())
	}
}

func TestAHostThatLeavesIsAResetForTheServer(t *testing.T) {
	heard := make(chan error, 1)
	at := server(t, "127.0.0.1:0", func(conn *net.TCPConn) {
		_, err := io.Copy(io.Discard, conn)
		heard <- err
		_ = conn.Close()
	})
	d := dialPort(t, port(at))
	if !d.Receive() || d.Msg().GetOpened() == nil {
		t.Fatal(d.Msg(), d.Err())
	}
	d.Leave()
	if err := <-heard; err == nil {
		t.Fatal("the server saw a plain end")
	}
}
