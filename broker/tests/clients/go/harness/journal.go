package harness

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A restless group: members of many libraries come, go and are killed, the broker too. Each member
// writes down what happens to it, one line at a time, unbuffered, so that a kill loses none;
// franz-go/audit.go reads it. A line begins with the time in microseconds since 1970, which all processes
// share:
//
//	T assigned GENERATION MEMBER P,P,..   partitions it is given in addition; generation -1 and member -:
//	                                      not known
//	T revoked P,P,..                      partitions it gives up in a rebalance, or when it leaves, and had at T
//	T lost P,P,..                         partitions it had when it learnt that it is no member any more, or
//	                                      gives up without knowing whether it still is one
//	T take P FIRST LAST                   records it took, without a gap
//	T ok P OFFSET                         a commit that was acknowledged
//	T seen P OFFSET                       of the observer: what is committed, asked at T; -1: nothing
//
// Where a library does not tell lost from revoked, T is when the last commit was sent that was
// acknowledged: until then the member had what it gives up.

const (
	// RestlessSession is after which silence a member is expelled.
	RestlessSession = 3 * time.Second
	// RestlessRebalance is how long a rebalance waits for a member.
	RestlessRebalance = 10 * time.Second
	// RestlessBackoff is how long a member waits before it tries something again.
	RestlessBackoff = 50 * time.Millisecond
	// commitTime bounds how far into a commit a member is killed.
	commitTime = 3 * time.Millisecond
)

// Journal is the file of one member.
type Journal struct {
	file *os.File
	// The place and the count down to where the member kills itself.
	place string
	left  atomic.Int64
}

// OpenJournal takes PLACE:COUNT for where the member kills itself (assigned, revoked or commit).
func OpenJournal(path, die string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	place, count, _ := strings.Cut(die, ":")
	left, _ := strconv.ParseInt(count, 10, 64)
	j := &Journal{file: file, place: place}
	j.left.Store(left)
	return j, nil
}

// Micros is the time that lines begin with.
func Micros() int64 { return time.Now().UnixMicro() }

// NoteAt writes a line.
func (j *Journal) NoteAt(at int64, format string, args ...any) {
	fmt.Fprintf(j.file, "%d %s\n", at, fmt.Sprintf(format, args...))
}

// Note writes a line about now.
func (j *Journal) Note(format string, args ...any) { j.NoteAt(Micros(), format, args...) }

// Reached is kill -9 by its own hand, at the place and the time that it was told.
func (j *Journal) Reached(place string) {
	if place == j.place && j.left.Add(-1) <= 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// Committing has the member killed while the request is under way, or the answer.
func (j *Journal) Committing() {
	if j.place != "commit" || j.left.Load() > 1 {
		j.Reached("commit")
		return
	}
	go func() {
		time.Sleep(rand.N(commitTime))
		j.Reached("commit")
	}()
}

// GiveUp notes that partitions are given up, which the member had at a time; 0: nobody knows.
func (j *Journal) GiveUp(had int64, partitions []int32) {
	if had > 0 {
		j.NoteAt(had, "revoked %s", PartitionList(partitions))
	} else {
		j.Note("lost %s", PartitionList(partitions))
	}
}

// PartitionList is how lines name partitions.
func PartitionList(partitions []int32) string {
	slices.Sort(partitions)
	text := make([]string, len(partitions))
	for i, p := range partitions {
		text[i] = strconv.Itoa(int(p))
	}
	return strings.Join(text, ",")
}

// UntilInputCloses is how long members, producers and observers are at work.
func UntilInputCloses() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return ctx
}
