// Package guard keeps a panic in one goroutine from ending the agent, which is PID 1: its end is the machine's.
package guard

import (
	"fmt"
	"io"
	"runtime/debug"
)

// Log is where a panic is reported: the console.
type Log struct{ to io.Writer }

// NewLog writes to the given writer.
func NewLog(to io.Writer) Log { return Log{to} }

// Printf writes one line.
func (l Log) Printf(format string, args ...any) {
	_, _ = fmt.Fprintf(l.to, "pyro-agent: "+format+"\n", args...)
}

// Run calls f and reports a panic of it instead of passing it on.
func (l Log) Run(what string, f func()) {
	defer func() {
		if recovered := recover(); recovered != nil {
			l.Printf("panic in %s: %v\n%s", what, recovered, debug.Stack())
		}
	}()
	f()
}
