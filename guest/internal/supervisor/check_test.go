package supervisor_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

func TestAFileMakesItReady(t *testing.T) {
	a := newAgent(t)
	expect(t, a.start("s", "sleep 0.1; touch ready; exec sleep 60", file("ready")), starting, "")
	info := a.settled("s")
	expect(t, info, running, "")
	if info.ReadyAtNs <= info.StartedAtNs {
		t.Errorf("it was ready at %d, started at %d", info.ReadyAtNs, info.StartedAtNs)
	}
}

func TestAFileOfBeforeCountsOnceItIsTouched(t *testing.T) {
	a := newAgent(t)
	if err := os.WriteFile(filepath.Join(a.dir, "ready"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stale := file("ready")
	stale.TimeoutMs = 150
	a.start("stale", "exec sleep 60", stale)
	expect(t, a.settled("stale"), failed, "was there before")
	a.start("fresh", "sleep 0.1; touch ready; exec sleep 60", file("ready"))
	expect(t, a.settled("fresh"), running, "")
}

func TestOneThatIsNeverReadyIsEndedAndSaysWhy(t *testing.T) {
	a := newAgent(t)
	never := tcp("127.0.0.1:1")
	never.TimeoutMs = 150
	started := a.start("never", "exec sleep 60", never)
	info := a.settled("never")
	expect(t, info, failed, "not ready within 150ms: nothing listens on 127.0.0.1:1")
	if info.End != guestv1.ServiceEnd_SERVICE_END_NOT_READY || alive(started.Pid) {
		t.Errorf("it ended %v", info)
	}
}

func TestOneThatDiesBeforeItIsReadyFailsAtOnce(t *testing.T) {
	a := newAgent(t)
	a.start("dying", "echo no port >&2; exit 98", file("ready"))
	info := a.settled("dying")
	expect(t, info, failed, "it ended with exit code 98 before it was ready")
	if info.End != guestv1.ServiceEnd_SERVICE_END_EXITED_BEFORE_READY || info.Exit.Code != 98 {
		t.Errorf("it ended %v", info)
	}
	if got := a.logs("dying"); string(got.stderr) != "no port\n" {
		t.Errorf("its logs are %q", got.stderr)
	}
}

func TestOneCanBeStoppedBeforeItIsReady(t *testing.T) {
	a := newAgent(t)
	a.start("slow", "exec sleep 60", file("ready"))
	expect(t, a.stop("slow", 1_000), stopped, "")
}

func TestACommandMakesItReady(t *testing.T) {
	a := newAgent(t)
	a.start("s", "sleep 0.1; echo hello > answer; exec sleep 60", command("grep -q hello answer"))
	expect(t, a.settled("s"), running, "")
	never := command("exit 7")
	never.TimeoutMs = 150
	a.start("never", "exec sleep 60", never)
	expect(t, a.settled("never"), failed, `the check "exit 7" ended with exit code 7`)
}

func TestACommandThatHangsIsEndedWithTheTime(t *testing.T) {
	a := newAgent(t)
	hangs := command("echo $$ > pid; sleep 60")
	hangs.TimeoutMs = 300
	a.start("s", "exec sleep 60", hangs)
	expect(t, a.settled("s"), failed, "it was never looked at")
}

// listen serves what the given function does with each connection.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(connection)
		}
	}()
	return listener.Addr().String()
}

// answers serves the answers in their order, the last one from then on.
func answers(t *testing.T, lines ...string) string {
	next := make(chan string, len(lines))
	for _, line := range lines {
		next <- line
	}
	last := lines[len(lines)-1]
	return listen(t, func(connection net.Conn) {
		defer connection.Close()
		_, _ = connection.Read(make([]byte, 4096))
		line := last
		select {
		case line = <-next:
		default:
		}
		_, _ = connection.Write([]byte(line))
		if line == "" {
			time.Sleep(time.Second)
		}
	})
}

func TestAnHTTPAnswerMakesItReady(t *testing.T) {
	a := newAgent(t)
	for name, status := range map[string]string{"ok": "200 OK", "none": "204 No Content", "elsewhere": "302 Found"} {
		// The first answer is the look before it begins.
		at := answers(t, "HTTP/1.1 503 Later\r\n\r\n", "HTTP/1.1 404 Not yet\r\n\r\n", "HTTP/1.0 "+status+"\r\n\r\nbody")
		a.start(name, "exec sleep 60", &guestv1.Readiness{By: &guestv1.Readiness_HttpUrl{HttpUrl: "http://" + at + "/health?x=1"}})
		expect(t, a.settled(name), running, "")
	}
}

func TestWhatIsNotReadyByHTTPSaysWhy(t *testing.T) {
	a := newAgent(t)
	for name, row := range map[string]struct{ answer, reason string }{
		"refused": {"HTTP/1.1 500 Oops\r\n\r\n", "GET /x was answered with status 500"},
		"other":   {"SSH-2.0-OpenSSH\r\n", "does not answer as HTTP does"},
		"endless": {strings.Repeat("x", 64<<10), "does not answer as HTTP does"},
	} {
		readiness := &guestv1.Readiness{By: &guestv1.Readiness_HttpUrl{HttpUrl: "http://" + answers(t, row.answer) + "/x"}, TimeoutMs: 200}
		a.start(name, "exec sleep 60", readiness)
		expect(t, a.settled(name), failed, row.reason)
	}
}

func TestAnAddressThatAnsweredBeforeDoesNotMakeItReady(t *testing.T) {
	a := newAgent(t)
	at := answers(t, "HTTP/1.1 200 OK\r\n\r\n")
	for name, readiness := range map[string]*guestv1.Readiness{
		"tcp":  tcp(at),
		"http": {By: &guestv1.Readiness_HttpUrl{HttpUrl: "http://" + at + "/"}},
	} {
		// As a server does that finds its port taken.
		a.start(name, "sleep 0.2; echo address in use >&2; exit 1", readiness)
		info := a.settled(name)
		expect(t, info, failed, "ended with exit code 1")
		readiness.TimeoutMs = 150
		a.start(name, "exec sleep 60", readiness)
		expect(t, a.settled(name), failed, "something else answers there")
	}
}

func TestAnAddressThatWasSilentOnceCounts(t *testing.T) {
	a := newAgent(t)
	at := answers(t, "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")
	a.start("s", "exec sleep 60", &guestv1.Readiness{By: &guestv1.Readiness_HttpUrl{HttpUrl: "http://" + at + "/"}})
	expect(t, a.settled("s"), running, "")
}
