package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The types of records of a group of the newer protocol that are looked at, and of all it has: Kafka's
// group-coordinator/src/main/resources/common/message.
const (
	groupEpochRecord        = 3
	currentAssignmentRecord = 8
	lastOfNewerGroups       = 8
)

// reconciled is a record of a group of the newer protocol: its epoch, where member is "", or what a member
// has and has to give up. A member without an epoch is gone.
type reconciled struct {
	member       string
	epoch        int32
	has, givesUp []int32
	gone         bool
}

// fields reads what records consist of; the library does not know these.
type fields struct {
	rest   []byte
	failed bool
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.failed, f.rest = true, nil
		return nil
	}
	out := f.rest[:n]
	f.rest = f.rest[n:]
	return out
}

func (f *fields) number(bytes int) int32 {
	var out int32
	for _, b := range f.take(bytes) {
		out = out<<8 | int32(b)
	}
	return out
}

func (f *fields) text() string { return string(f.take(int(f.number(2)))) }

func (f *fields) varint() int {
	n, size := binary.Uvarint(f.rest)
	f.take(max(size, 0))
	f.failed = f.failed || size <= 0
	return int(n)
}

// count is the length of a compact array, whose elements have a byte at least.
func (f *fields) count() int {
	n := f.varint() - 1
	f.failed = f.failed || n > len(f.rest)
	if f.failed {
		return 0
	}
	return max(n, 0)
}

func (f *fields) tags() {
	for n := f.varint(); n > 0 && !f.failed; n-- {
		f.varint()
		f.take(f.varint())
	}
}

// partitions are those of all topics: the group reads one.
func (f *fields) partitions() (out []int32) {
	for range f.count() {
		f.take(16) // the topic's id
		for range f.count() {
			out = append(out, f.number(4))
		}
		f.tags()
	}
	return out
}

// takeNewer takes a record of a group of the newer protocol; false: it is another's.
func (a *audit) takeNewer(r *kgo.Record) (bool, error) {
	key := fields{rest: r.Key}
	kind := key.number(2)
	if kind < groupEpochRecord || kind > lastOfNewerGroups || key.text() != a.group {
		return false, nil
	}
	out := reconciled{gone: r.Value == nil}
	value := fields{rest: r.Value}
	if !out.gone && value.number(2) != 0 {
		return true, fmt.Errorf("offset %d: a record of type %d has version %x", r.Offset, kind, r.Value[:2])
	}
	switch {
	case kind == groupEpochRecord && !out.gone:
		out.epoch = value.number(4)
	case kind == currentAssignmentRecord:
		out.member = key.text()
		if !out.gone {
			out.epoch = value.number(4)
			value.take(5) // the epoch before, and the state
			out.has, out.givesUp = value.partitions(), value.partitions()
		}
	default:
		return true, nil
	}
	if key.failed || value.failed {
		return true, fmt.Errorf("offset %d: what is %x: %x", r.Offset, r.Key, r.Value)
	}
	a.reconciled = append(a.reconciled, out)
	return true, nil
}

// reconciledOwners: epochs of the group and of each member grow, no record gives a member what another has
// or has still to give up, and members are given what a record of theirs says.
func (a *audit) reconciledOwners() (string, error) {
	if len(a.generations) > 0 {
		return "", errors.New("the group has been a classic one")
	}
	groupEpoch, epochs, held := int32(0), map[string]int32{}, map[int32]string{}
	for _, r := range a.reconciled {
		if r.member == "" {
			if r.epoch < groupEpoch {
				return "", fmt.Errorf("epoch %d of the group comes after %d", r.epoch, groupEpoch)
			}
			groupEpoch = r.epoch
			continue
		}
		if last, known := epochs[r.member]; known && !r.gone && r.epoch < last {
			return "", fmt.Errorf("epoch %d of %s comes after %d", r.epoch, r.member, last)
		}
		for p, owner := range held {
			if owner == r.member {
				delete(held, p)
			}
		}
		delete(epochs, r.member)
		if r.gone {
			continue
		}
		epochs[r.member] = r.epoch
		for _, p := range slices.Concat(r.has, r.givesUp) {
			if owner, taken := held[p]; taken {
				return "", fmt.Errorf("in epoch %d %s is given %d, which %s has", r.epoch, r.member, p, owner)
			}
			held[p] = r.member
		}
	}
	if err := a.givenAsRecorded(); err != nil {
		return "", err
	}
	return fmt.Sprintf("epoch %d, %d records", groupEpoch, len(a.reconciled)), nil
}

// givenAsRecorded: an assignment is part of what the member has by a record. A library may name the epoch of
// a later heartbeat.
func (a *audit) givenAsRecorded() error {
	for path, events := range a.members {
		for _, e := range events {
			if e.word != "assigned" || len(e.partitions) == 0 {
				continue
			}
			gives := func(r reconciled) bool {
				not := func(p int32) bool { return !slices.Contains(r.has, p) }
				early := e.generation < 0 || r.epoch <= e.generation
				its := r.member == e.member || e.member == unknownMember
				return its && early && !slices.ContainsFunc(e.partitions, not)
			}
			if !slices.ContainsFunc(a.reconciled, gives) {
				return fmt.Errorf("%s is given %v in epoch %d, which is not recorded", path, e.partitions, e.generation)
			}
		}
	}
	return nil
}
