package file

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	// Line numbers of an ambiguous edit that are named.
	maxNamedLines = 10
	// Of a line that is compared or quoted.
	maxLineBytes   = 400
	maxQuotedBytes = 160
	// Lines of the old text that are compared with each line of the file.
	maxOldLines = 200
	// Lines that are compared in all: a file of one line a million times has as many beginnings.
	maxCompared = 4_000_000
	// Below this share of a line there is nothing near.
	minLikeness = 0.5
)

// matchLines names the lines that the matches begin on.
func matchLines(content, text []byte) string {
	var lines []string
	line, at := 1, 0
	for {
		next := bytes.Index(content[at:], text)
		if next < 0 {
			return strings.Join(lines, ", ")
		}
		if len(lines) == maxNamedLines {
			return strings.Join(lines, ", ") + ", …"
		}
		line += bytes.Count(content[at:at+next], []byte("\n"))
		lines = append(lines, fmt.Sprint(line))
		line += bytes.Count(text, []byte("\n"))
		at += next + len(text)
	}
}

// nearest says what the file has in place of a text that is not in it: for the message (with its own begin) and the hint.
func nearest(content, text []byte) (message, hint string) {
	lines, old := bytes.Split(content, []byte("\n")), bytes.Split(text, []byte("\n"))
	for len(old) > 1 && len(bytes.TrimSpace(old[0])) == 0 {
		old = old[1:]
	}
	for len(old) > 1 && len(bytes.TrimSpace(old[len(old)-1])) == 0 {
		old = old[:len(old)-1]
	}
	old = old[:min(len(old), maxOldLines)]
	begin, run := longestRun(lines, old)
	switch {
	case run == len(old):
		return fmt.Sprintf("; lines %d to %d differ from it in white space only: line %d is %s", begin+1, begin+run, begin+1, quoted(lines[begin])),
			"copy the lines as they are, with their indentation and line ends"
	case run > 0 && begin+run < len(lines):
		return fmt.Sprintf("; its first %d lines are there from line %d on, but line %d is %s, not %s", run, begin+1, begin+run+1, quoted(lines[begin+run]), quoted(old[run])),
			"read the file again and copy the lines as they are"
	case run > 0:
		return fmt.Sprintf("; its first %d lines are there from line %d on, but the file ends then", run, begin+1),
			"read the file again and copy the lines as they are"
	}
	if at, ok := likest(lines, bytes.TrimSpace(old[0])); ok {
		return fmt.Sprintf("; the nearest line is %d: %s", at+1, quoted(lines[at])), "read the file again and copy the lines as they are"
	}
	return "", "read the file again; there is no line like it"
}

// longestRun finds where most of the old lines stand in order, white space at their ends aside.
func longestRun(lines, old [][]byte) (begin, length int) {
	for i, compared := 0, 0; i < len(lines) && compared < maxCompared; i++ {
		n := 0
		for n < len(old) && i+n < len(lines) && bytes.Equal(bytes.TrimSpace(lines[i+n]), bytes.TrimSpace(old[n])) {
			n++
		}
		compared += n + 1
		if n > length {
			begin, length = i, n
		}
		if n == len(old) {
			break
		}
	}
	// Empty lines are everywhere.
	if length > 0 && len(bytes.TrimSpace(bytes.Join(old[:length], nil))) == 0 {
		return 0, 0
	}
	return begin, length
}

// likest finds the line that shares most of its begin and its end with the text: models change a word in the middle.
func likest(lines [][]byte, text []byte) (at int, ok bool) {
	best := minLikeness
	for i, line := range lines {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || len(line) > maxLineBytes {
			continue
		}
		if likeness := likeness(line, text); likeness > best {
			best, at, ok = likeness, i, true
		}
	}
	return at, ok
}

func likeness(a, b []byte) float64 {
	shorter, begin, end := min(len(a), len(b)), 0, 0
	for begin < shorter && a[begin] == b[begin] {
		begin++
	}
	for end < shorter-begin && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	return float64(begin+end) / float64(max(len(a), len(b), 1))
}

func quoted(line []byte) string {
	if len(line) > maxQuotedBytes {
		return fmt.Sprintf("%q…", line[:maxQuotedBytes])
	}
	return fmt.Sprintf("%q", line)
}
