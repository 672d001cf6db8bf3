package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

var (
	codecs        = []string{"none", "gzip", "snappy", "lz4", "zstd"}
	modes         = []string{"acks=0", "acks=1", "acks=all", "idempotent"}
	topicSettings = []string{"segment.bytes", "1048576", "retention.ms", "-1"}
)

// matrix runs the cases of each codec; written holds what the acks=all topics must hold.
type matrix struct {
	*world
	written map[string][][]record
}

func matrixCases(w *world) []testCase {
	m := &matrix{w, map[string][][]record{}}
	var out []testCase
	add := func(name string, run func() error) {
		out = append(out, testCase{name, func() (string, error) { return "", run() }})
	}
	for _, codec := range codecs {
		for _, mode := range modes {
			add(codec+"/"+mode, func() error { return m.roundTrip(codec, mode) })
		}
		add(codec+"/offset", func() error { return m.fromOffset(codec) })
		add(codec+"/timestamp", func() error { return m.fromTimestamp(codec) })
		add(codec+"/end", func() error { return m.fromEnd(codec) })
		add(codec+"/sizes", func() error {
			name := m.topicOf(codec, "sizes")
			_, err := m.write(name, sizeSet(name, m.partitions), codec, "acks=all")
			return err
		})
	}
	return append(out, adminCases(w)...)
}

func (m *matrix) topicOf(codec, mode string) string {
	return m.topic(codec + "-" + strings.ReplaceAll(mode, "=", "-"))
}

// byPartition is what each partition must hold, in order, checked against the offsets acked.
func byPartition(records []record, placed []place, partitions int32) ([][]record, error) {
	out := make([][]record, partitions)
	for i, r := range records {
		p := placed[i].partition
		if p < 0 || p >= partitions || (r.partition >= 0 && r.partition != p) {
			return nil, fmt.Errorf("a record for partition %d was placed in %d", r.partition, p)
		}
		if want := int64(len(out[p])); placed[i].offset >= 0 && placed[i].offset != want {
			return nil, fmt.Errorf("partition %d: acked offset %d, expected %d", p, placed[i].offset, want)
		}
		out[p] = append(out[p], r)
	}
	return out, nil
}

// expect reads from an offset on and compares with what must be there.
func (w *world) expect(topic string, partition int32, from int64, want []record) error {
	got, err := w.read(topic, partition, from, len(want), readTimeout)
	if err != nil {
		return fmt.Errorf("partition %d from %d: %w", partition, from, err)
	}
	if len(got) < len(want) {
		return fmt.Errorf("partition %d from %d: %d of %d records read", partition, from, len(got), len(want))
	}
	for i, w := range want {
		if got[i].offset != from+int64(i) {
			return fmt.Errorf("partition %d: offset %d, expected %d", partition, got[i].offset, from+int64(i))
		}
		if text := difference(got[i], w); text != "" {
			return fmt.Errorf("partition %d offset %d: %s", partition, got[i].offset, text)
		}
	}
	return nil
}

// write creates the topic, produces, reads all back and checks the ends.
func (m *matrix) write(topic string, records []record, codec, mode string) ([][]record, error) {
	if err := m.create(topic, m.partitions, settings(topicSettings...)); err != nil {
		return nil, err
	}
	placed, err := m.produce(topic, records, codec, mode)
	if err != nil {
		return nil, err
	}
	want, err := byPartition(records, placed, m.partitions)
	if err != nil {
		return nil, err
	}
	for p := range want {
		if err := m.expect(topic, int32(p), 0, want[p]); err != nil {
			return nil, err
		}
	}
	ends, err := m.ends(topic, m.partitions)
	for p := range want {
		if err == nil && ends[p] != int64(len(want[p])) {
			err = fmt.Errorf("partition %d ends at %d, %d records were sent", p, ends[p], len(want[p]))
		}
	}
	return want, err
}

func (m *matrix) roundTrip(codec, mode string) error {
	topic := m.topicOf(codec, mode)
	want, err := m.write(topic, standardSet(topic, m.partitions), codec, mode)
	if err != nil {
		return err
	}
	home := map[string]int{} // key -> partition
	for p, records := range want {
		for _, r := range records {
			if len(r.key) == 0 || r.partition >= 0 {
				continue
			}
			if at, known := home[string(r.key)]; known && at != p {
				return fmt.Errorf("key %.20q in partitions %d and %d", r.key, at, p)
			}
			home[string(r.key)] = p
		}
	}
	if mode == "acks=all" {
		m.written[codec] = want
	}
	return nil
}

func (m *matrix) of(codec string) (string, [][]record, error) {
	if want, ok := m.written[codec]; ok {
		return m.topicOf(codec, "acks=all"), want, nil
	}
	return "", nil, errors.New("needs " + codec + "/acks=all, which failed")
}

func (m *matrix) fromOffset(codec string) error {
	topic, want, err := m.of(codec)
	for p := range want {
		n := len(want[p])
		for _, from := range []int{1, n / 3, n/2 + 1, n - 1} {
			err = errors.Join(err, m.expect(topic, int32(p), int64(from), want[p][from:]))
		}
	}
	return err
}

func (m *matrix) fromTimestamp(codec string) error {
	topic, want, err := m.of(codec)
	if err != nil {
		return err
	}
	for p := range want {
		var stamps []int64
		for _, r := range want[p] {
			stamps = append(stamps, r.timestamp)
		}
		low, high := slices.Min(stamps), slices.Max(stamps)
		for _, t := range []int64{0, low, stamps[len(stamps)/2], stamps[len(stamps)-1] - 1, high, high + 1} {
			if err := m.oneTimestamp(topic, int32(p), t, stamps, want[p]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *matrix) oneTimestamp(topic string, p int32, t int64, stamps []int64, want []record) error {
	ctx, cancel := deadline(callTimeout)
	defer cancel()
	listed, err := m.admin.ListOffsetsAfterMilli(ctx, t, topic)
	if err != nil {
		return err
	}
	found, _ := listed.Lookup(topic, p)
	if found.Err != nil {
		return found.Err
	}
	first := slices.IndexFunc(stamps, func(s int64) bool { return s >= t })
	if first < 0 { // kadm answers the end offset where nothing is later
		first = len(stamps)
	}
	if found.Offset != int64(first) {
		return fmt.Errorf("partition %d: %d is at %d, the first such record is %d", p, t, found.Offset, first)
	}
	return m.expect(topic, p, int64(first), want[first:min(first+3, len(want))])
}

func (m *matrix) fromEnd(codec string) error {
	topic, want, err := m.of(codec)
	if err != nil {
		return err
	}
	var more []record
	for i := range 9 {
		value := fmt.Appendf(nil, "end %d", i)
		more = append(more, record{value: value, timestamp: time.Now().UnixMilli(), partition: int32(i) % m.partitions})
	}
	for p := range want {
		got, err := m.read(topic, int32(p), int64(len(want[p])), 1, quiet)
		if err != nil || len(got) > 0 {
			return fmt.Errorf("partition %d past the end: %d records, %v", p, len(got), err)
		}
	}
	placed, err := m.produce(topic, more, codec, "acks=1")
	if err != nil {
		return err
	}
	for p := range want {
		end := int64(len(want[p]))
		var tail []record
		for i, r := range more {
			if r.partition == int32(p) {
				if at := end + int64(len(tail)); placed[i].offset != at {
					return fmt.Errorf("partition %d: acked at %d, the end was %d", p, placed[i].offset, at)
				}
				tail = append(tail, r)
			}
		}
		if err := m.expect(topic, int32(p), end, tail); err != nil {
			return err
		}
	}
	return nil
}

// digestCases hash all that topics hold; harness.py describes the bytes that are hashed.
func digestCases(w *world, topics []string) []testCase {
	var out []testCase
	for _, topic := range topics {
		out = append(out, testCase{"digest/" + topic, func() (string, error) { return w.digest(topic) }})
	}
	return out
}

func (w *world) digest(topic string) (string, error) {
	ends, err := w.ends(topic, w.partitions)
	if err != nil {
		return "", err
	}
	var all []byte
	blob := func(b []byte) {
		if b == nil {
			all = binary.BigEndian.AppendUint32(all, 0xffff_ffff)
			return
		}
		all = append(binary.BigEndian.AppendUint32(all, uint32(len(b))), b...)
	}
	for p, end := range ends {
		got, err := w.read(topic, int32(p), 0, int(end), readTimeout)
		if err != nil || int64(len(got)) != end {
			return "", fmt.Errorf("%s-%d: %d of %d records read: %v", topic, p, len(got), end, err)
		}
		for _, r := range got {
			all = binary.BigEndian.AppendUint32(all, uint32(p))
			all = binary.BigEndian.AppendUint64(all, uint64(r.offset))
			all = binary.BigEndian.AppendUint64(all, uint64(r.timestamp))
			blob(r.key)
			blob(r.value)
			all = binary.BigEndian.AppendUint32(all, uint32(len(r.headers)))
			for _, h := range r.headers {
				blob([]byte(h.Key))
				blob(h.Value)
			}
		}
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:]), nil
}
