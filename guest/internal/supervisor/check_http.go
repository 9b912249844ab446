package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxHeadBytes bounds what is read of an answer: its first line is all that counts.
const maxHeadBytes = 8 << 10

// httpProbe is ready when a GET is answered with a status of 200 to 399. It speaks just that much of HTTP/1.1: the agent
// has no other use for net/http, which would double its size.
type httpProbe struct{ address, host, target string }

func newHTTPProbe(text string) (*httpProbe, error) {
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case parsed.Scheme != "http":
		return nil, fmt.Errorf("its scheme is %q, only http is spoken", parsed.Scheme)
	case parsed.Hostname() == "":
		return nil, errors.New("it names no host")
	case parsed.User != nil:
		return nil, errors.New("it has a user, which is not sent")
	}
	port := parsed.Port()
	if port == "" {
		port = "80"
	}
	return &httpProbe{net.JoinHostPort(parsed.Hostname(), port), parsed.Host, parsed.RequestURI()}, nil
}

func (p *httpProbe) look(ctx context.Context) error {
	connection, err := dial(ctx, p.address)
	if err != nil {
		return err
	}
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	status, err := p.exchange(connection)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s took the connection and did not answer in time", p.address)
	case err != nil:
		return fmt.Errorf("%s does not answer as HTTP does: %w", p.address, err)
	case status < 200 || status > 399:
		return fmt.Errorf("GET %s was answered with status %d", p.target, status)
	}
	return nil
}

func (p *httpProbe) exchange(connection net.Conn) (status int, err error) {
	_, err = fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: pyro\r\nAccept: */*\r\nConnection: close\r\n\r\n", p.target, p.host)
	if err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(io.LimitReader(connection, maxHeadBytes)).ReadString('\n')
	if err != nil {
		return 0, err
	}
	return statusOf(line)
}

// statusOf reads a status line such as "HTTP/1.1 200 OK".
func statusOf(line string) (int, error) {
	version, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || len(code) != 3 {
		return 0, fmt.Errorf("its first line is %q", line[:min(len(line), 80)])
	}
	return status, nil
}
