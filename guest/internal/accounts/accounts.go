// Package accounts finds out who a command runs as, in the words of an image's configuration (image-spec, config.md, "User"):
// a name or a number, with ":" and a group's where there is one. Names are looked up in the environment's own /etc/passwd and
// /etc/group, which may hold anything.
//
// Invariants:
//   - nothing but those two files is asked: no name service, and nothing of the host;
//   - what is read of a file is bounded; a line that is no entry is passed over.
package accounts

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/rootdir"
)

const (
	passwdPath = "/etc/passwd"
	groupPath  = "/etc/group"
	// Of each of the two; distributions have some kilobytes there.
	maxFileBytes = 4 << 20
	// NGROUPS_MAX, what setgroups(2) takes.
	maxGroups = 65_536
	// The highest number means "leave it" to the kernel.
	maxID = math.MaxUint32 - 1
)

// Account is who a command runs as.
type Account struct {
	UID, GID uint32
	// All of them, GID too: who drops the others may not escape what is denied to that one (CVE-2022-36109).
	Groups []uint32
	// Empty where passwd knows nobody of this number.
	Name string
	// "/" where passwd says nothing that could be one.
	Home string
}

// NotFoundError says that a user or group is in none of the environment's files.
type NotFoundError struct {
	// "user" or "group".
	What, Name string
	// Where it was looked for, and what is wrong with that if anything is.
	Path   string
	Reason error
}

func (e *NotFoundError) Error() string {
	if e.Reason != nil {
		return fmt.Sprintf("the %s %q cannot be looked up: %s: %v", e.What, e.Name, e.Path, e.Reason)
	}
	return fmt.Sprintf("the %s %q is not in %s", e.What, e.Name, e.Path)
}

func (e *NotFoundError) Unwrap() error { return e.Reason }

// Find looks up a user; empty is root. A number needs no entry: without one its group is 0, as docker has it.
func Find(root rootdir.Root, user string) (Account, error) {
	passwd, passwdErr := read(root, passwdPath)
	group, groupErr := read(root, groupPath)
	return find(files{passwd, group, passwdErr, groupErr}, user)
}

type files struct {
	passwd, group       string
	passwdErr, groupErr error
}

func find(from files, user string) (Account, error) {
	name, groupName, hasGroup := strings.Cut(user, ":")
	account, err := findUser(from, name)
	if err != nil {
		return Account{}, err
	}
	if hasGroup && groupName != "" {
		// Who names a group gets that one and no other (moby/sys/user).
		account.GID, err = findGroup(from, groupName)
		account.Groups = []uint32{account.GID}
		return account, err
	}
	account.Groups = groupsOf(from.group, account.Name, account.GID)
	return account, nil
}

func findUser(from files, name string) (Account, error) {
	if name == "" {
		name = "0"
	}
	number, isNumber := parseID(name)
	for line := range strings.Lines(from.passwd) {
		entry, ok := parsePasswd(line)
		if ok && (isNumber && entry.UID == number || !isNumber && entry.Name == name) {
			return entry, nil
		}
	}
	switch {
	case isNumber && number == 0:
		return Account{Name: "root", Home: "/"}, nil
	case isNumber:
		return Account{UID: number, Home: "/"}, nil
	default:
		return Account{}, &NotFoundError{"user", name, passwdPath, from.passwdErr}
	}
}

func findGroup(from files, name string) (uint32, error) {
	if number, isNumber := parseID(name); isNumber {
		return number, nil
	}
	for line := range strings.Lines(from.group) {
		if entry, ok := parseGroup(line); ok && entry.name == name {
			return entry.id, nil
		}
	}
	return 0, &NotFoundError{"group", name, groupPath, from.groupErr}
}

// groupsOf are the user's own group and those that name the user, if there is a name, as a member.
func groupsOf(group, name string, primary uint32) []uint32 {
	groups := []uint32{primary}
	if name == "" {
		return groups
	}
	for line := range strings.Lines(group) {
		entry, ok := parseGroup(line)
		if !ok || !slices.Contains(strings.Split(entry.members, ","), name) {
			continue
		}
		if groups = append(groups, entry.id); len(groups) == maxGroups {
			break
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// parsePasswd takes name:password:uid:gid:comment:home:shell.
func parsePasswd(line string) (Account, bool) {
	fields := strings.Split(strings.TrimRight(line, "\r\n"), ":")
	if len(fields) < 4 || !isName(fields[0]) {
		return Account{}, false
	}
	uid, isUID := parseID(fields[2])
	gid, isGID := parseID(fields[3])
	if !isUID || !isGID {
		return Account{}, false
	}
	account := Account{UID: uid, GID: gid, Name: fields[0], Home: "/"}
	if len(fields) > 5 && isHome(fields[5]) {
		account.Home = fields[5]
	}
	return account, true
}

type groupEntry struct {
	name    string
	id      uint32
	members string
}

// parseGroup takes name:password:gid:members.
func parseGroup(line string) (groupEntry, bool) {
	fields := strings.Split(strings.TrimRight(line, "\r\n"), ":")
	if len(fields) < 3 || !isName(fields[0]) {
		return groupEntry{}, false
	}
	id, ok := parseID(fields[2])
	if !ok {
		return groupEntry{}, false
	}
	entry := groupEntry{name: fields[0], id: id}
	if len(fields) > 3 {
		entry.members = fields[3]
	}
	return entry, true
}

// parseID takes digits alone: neither a sign nor spaces.
func parseID(text string) (uint32, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	number, err := strconv.ParseUint(text, 10, 32)
	return uint32(number), err == nil && number <= maxID
}

// isName: a variable holds it, so no NUL; a line of NIS ("+user") is no entry.
func isName(name string) bool {
	return name != "" && len(name) <= 256 && name[0] != '+' && name[0] != '-' && strings.IndexByte(name, 0) < 0
}

func isHome(home string) bool {
	return strings.HasPrefix(home, "/") && len(home) < unix.PathMax && strings.IndexByte(home, 0) < 0
}
