package network

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/call"
	"pyro/guest/internal/guard"
)

type requests = call.Both[*guestv1.ConnectRequest, *guestv1.ConnectResponse]

// gateway is a host as a test needs it.
type gateway struct {
	connect func(ctx context.Context, target *guestv1.ConnectTarget, both requests) error
	resolve func(*guestv1.ResolveRequest) *guestv1.ResolveResponse

	mu    sync.Mutex
	asked []string
}

func (g *gateway) methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.GatewayService/Connect": call.BidiStream(func(ctx context.Context, both requests) error {
			if !both.Receive() {
				return both.Err()
			}
			return g.connect(ctx, both.Msg().GetOpen(), both)
		}, dataField, func(m *guestv1.ConnectRequest) *[]byte {
			part := &guestv1.ConnectRequest_Data{}
			m.Part = part
			return &part.Data
		}),
		"pyro.guest.v1.GatewayService/Resolve": call.Unary(func(_ context.Context, request *guestv1.ResolveRequest) (*guestv1.ResolveResponse, error) {
			g.mu.Lock()
			g.asked = append(g.asked, request.Name+" "+request.Family.String())
			g.mu.Unlock()
			return g.resolve(request), nil
		}),
	}
}

func (g *gateway) questions() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.asked)
}

func opened(both requests) error {
	return both.Send(&guestv1.ConnectResponse{Part: &guestv1.ConnectResponse_Opened{Opened: &guestv1.StreamOpened{}}})
}

func say(both requests, text []byte) error {
	return both.Send(&guestv1.ConnectResponse{Part: &guestv1.ConnectResponse_Data{Data: text}})
}

func finish(both requests) error {
	return both.Send(&guestv1.ConnectResponse{Part: &guestv1.ConnectResponse_Finished{Finished: &guestv1.StreamFinished{}}})
}

func refuse(because guestv1.RefusedBecause) func(context.Context, *guestv1.ConnectTarget, requests) error {
	return func(_ context.Context, _ *guestv1.ConnectTarget, both requests) error {
		return both.Send(&guestv1.ConnectResponse{Part: &guestv1.ConnectResponse_Refused{
			Refused: &guestv1.StreamRefused{Because: because, Message: "a test"},
		}})
	}
}

// echo says back what it hears, and finishes when the program has.
func echo(_ context.Context, _ *guestv1.ConnectTarget, both requests) error {
	if err := opened(both); err != nil {
		return err
	}
	for both.Receive() {
		if both.Msg().GetFinished() != nil {
			return finish(both)
		}
		if err := say(both, both.Msg().GetData()); err != nil {
			return err
		}
	}
	return both.Err()
}

// files is what Rewrite changes.
type files struct {
	mu         sync.Mutex
	resolvConf []byte
}

func (f *files) rewrite(_ string, change func([]byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resolvConf = bytes.Clone(change(f.resolvConf))
	return nil
}

func (f *files) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.resolvConf)
}

// machine is a network namespace of the test's own, whose programs the test's goroutine is.
type machine struct {
	*Service
	files   *files
	console *safeBuffer
}

// newMachine moves the test's goroutine into a namespace, on a thread that ends with it.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a network namespace of one's own takes root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	raiseLoopback(t)
	m := &machine{files: &files{}, console: &safeBuffer{}}
	m.Service = New(Options{Rewrite: m.files.rewrite, SetDefaults: func([]string) {}, Log: guard.NewLog(m.console)})
	t.Cleanup(func() {
		m.egress(t, false)
		if len(m.connections) != 0 {
			t.Errorf("%d connections are left", len(m.connections))
		}
	})
	return m
}

func (m *machine) egress(t *testing.T, on bool) {
	t.Helper()
	if _, err := m.Configure(context.Background(), &guestv1.ConfigureNetworkRequest{Egress: on}); err != nil {
		t.Fatal(err)
	}
}

// meet begins an epoch with a host; leave ends it.
func (m *machine) meet(t *testing.T, g *gateway) (leave func()) {
	t.Helper()
	peer := agenttest.Connect(t, g.methods())
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { m.Serve(ctx, peer) })
	for {
		if current, _ := m.host(); current == peer {
			break
		}
		time.Sleep(time.Millisecond)
	}
	var once sync.Once
	leave = func() { once.Do(func() { cancel(); serving.Wait() }) }
	t.Cleanup(leave)
	return leave
}

func raiseLoopback(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		t.Fatal(err)
	}
}

// dial connects as a program does; the socket is made by this goroutine, and so in the namespace.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := tryDial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func tryDial(address string) (*net.TCPConn, error) {
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	return net.DialTCP("tcp", nil, to)
}

func readAll(t *testing.T, conn net.Conn) string {
	t.Helper()
	content, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
