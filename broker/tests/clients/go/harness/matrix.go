package harness

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Codecs and Modes are all there are; Traits picks those that a library offers.
var (
	Codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}
	Modes  = []string{"acks=0", "acks=1", "acks=all", "idempotent"}
)

// matrix runs the cases of each codec; written holds what the acks=all topics must hold.
type matrix struct {
	*World
	written map[string][][]Record
}

func matrixCases(w *World) []Case {
	m := &matrix{w, map[string][][]Record{}}
	var out []Case
	add := func(name string, run func() error) {
		out = append(out, Case{name, func() (string, error) { return "", run() }})
	}
	for _, codec := range w.Traits().Codecs {
		for _, mode := range w.Traits().Modes {
			add(codec+"/"+mode, func() error { return m.roundTrip(codec, mode) })
		}
		add(codec+"/offset", func() error { return m.fromOffset(codec) })
		add(codec+"/timestamp", func() error { return m.fromTimestamp(codec) })
		add(codec+"/end", func() error { return m.fromEnd(codec) })
		add(codec+"/sizes", func() error {
			name := m.topicOf(codec, "sizes")
			_, err := m.write(name, sizeSet(name, m.Partitions), codec, "acks=all")
			return err
		})
	}
	return append(out, adminCases(w)...)
}

func (m *matrix) topicOf(codec, mode string) string {
	return m.Topic(codec + "-" + strings.ReplaceAll(mode, "=", "-"))
}

// byPartition is what each partition must hold, in order, checked against the offsets acked.
func byPartition(records []Record, placed []Place, partitions int32) ([][]Record, error) {
	out := make([][]Record, partitions)
	for i, r := range records {
		p := placed[i].Partition
		if p < 0 || p >= partitions || (r.Partition >= 0 && r.Partition != p) {
			return nil, fmt.Errorf("a record for partition %d was placed in %d", r.Partition, p)
		}
		if want := int64(len(out[p])); placed[i].Offset >= 0 && placed[i].Offset != want {
			return nil, fmt.Errorf("partition %d: acked offset %d, expected %d", p, placed[i].Offset, want)
		}
		out[p] = append(out[p], r)
	}
	return out, nil
}

// Expect reads from an offset on and compares with what must be there.
func (w *World) Expect(topic string, partition int32, from int64, want []Record) error {
	got, err := w.Read(topic, partition, from, len(want), ReadTimeout)
	if err != nil {
		return fmt.Errorf("partition %d from %d: %w", partition, from, err)
	}
	if len(got) < len(want) {
		return fmt.Errorf("partition %d from %d: %d of %d records read", partition, from, len(got), len(want))
	}
	same := equalityOf(w.Traits())
	for i, sent := range want {
		if got[i].Offset != from+int64(i) {
			return fmt.Errorf("partition %d: offset %d, expected %d", partition, got[i].Offset, from+int64(i))
		}
		if text := same.difference(got[i], sent); text != "" {
			return fmt.Errorf("partition %d offset %d: %s", partition, got[i].Offset, text)
		}
	}
	return nil
}

// together runs checks at once: libraries take their time to start and stop a reader.
func together[T any](of []T, check func(index int, item T) error) error {
	failed := make([]error, len(of))
	var all sync.WaitGroup
	for i, item := range of {
		all.Go(func() { failed[i] = check(i, item) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// write creates the topic, produces, reads all back and checks the ends.
func (m *matrix) write(topic string, records []Record, codec, mode string) ([][]Record, error) {
	if err := m.MakeTopic(topic, m.Partitions, TopicSettings()); err != nil {
		return nil, err
	}
	placed, err := m.Produce(topic, records, codec, mode)
	if err != nil {
		return nil, err
	}
	want, err := byPartition(records, placed, m.Partitions)
	if err != nil {
		return nil, err
	}
	err = together(want, func(p int, want []Record) error { return m.Expect(topic, int32(p), 0, want) })
	if err != nil {
		return nil, err
	}
	ends, err := m.Ends(topic, m.Partitions)
	for p := range want {
		if err == nil && ends[p] != int64(len(want[p])) {
			err = fmt.Errorf("partition %d ends at %d, %d records were sent", p, ends[p], len(want[p]))
		}
	}
	return want, err
}

func (m *matrix) roundTrip(codec, mode string) error {
	topic := m.topicOf(codec, mode)
	want, err := m.write(topic, standardSet(topic, m.Partitions), codec, mode)
	if err != nil {
		return err
	}
	home := map[string]int{} // key -> partition
	for p, records := range want {
		for _, r := range records {
			if len(r.Key) == 0 || r.Partition >= 0 {
				continue
			}
			if at, known := home[string(r.Key)]; known && at != p {
				return fmt.Errorf("key %.20q in partitions %d and %d", r.Key, at, p)
			}
			home[string(r.Key)] = p
		}
	}
	if mode == "acks=all" {
		m.written[codec] = want
	}
	return nil
}

func (m *matrix) of(codec string) (string, [][]Record, error) {
	if want, ok := m.written[codec]; ok {
		return m.topicOf(codec, "acks=all"), want, nil
	}
	return "", nil, errors.New("needs " + codec + "/acks=all, which failed")
}

func (m *matrix) fromOffset(codec string) error {
	topic, want, err := m.of(codec)
	if err != nil {
		return err
	}
	return together(want, func(p int, want []Record) error {
		n := len(want)
		return together([]int{1, n / 3, n/2 + 1, n - 1}, func(_, from int) error {
			return m.Expect(topic, int32(p), int64(from), want[from:])
		})
	})
}

func (m *matrix) fromTimestamp(codec string) error {
	topic, want, err := m.of(codec)
	if err != nil {
		return err
	}
	return together(want, func(p int, want []Record) error {
		var stamps []int64
		for _, r := range want {
			stamps = append(stamps, r.Timestamp)
		}
		low, high := slices.Min(stamps), slices.Max(stamps)
		asked := []int64{0, low, stamps[len(stamps)/2], stamps[len(stamps)-1] - 1, high, high + 1}
		return together(asked, func(_ int, t int64) error {
			return m.oneTimestamp(topic, int32(p), t, stamps, want)
		})
	})
}

func (m *matrix) oneTimestamp(topic string, p int32, t int64, stamps []int64, want []Record) error {
	ctx, cancel := Deadline(CallTimeout)
	defer cancel()
	found, err := m.Offset(ctx, topic, p, t)
	if err != nil {
		return err
	}
	first := slices.IndexFunc(stamps, func(s int64) bool { return s >= t })
	if found != int64(first) {
		return fmt.Errorf("partition %d: %d is at %d, the first such record is %d", p, t, found, first)
	}
	if first < 0 {
		return nil
	}
	return m.Expect(topic, p, int64(first), want[first:min(first+3, len(want))])
}

func (m *matrix) fromEnd(codec string) error {
	topic, want, err := m.of(codec)
	if err != nil {
		return err
	}
	var more []Record
	for i := range 9 {
		value := fmt.Appendf(nil, "end %d", i)
		more = append(more, Record{Value: value, Timestamp: time.Now().UnixMilli(), Partition: int32(i) % m.Partitions})
	}
	if err := together(want, func(p int, want []Record) error {
		got, err := m.Read(topic, int32(p), int64(len(want)), 1, quiet)
		if err != nil || len(got) > 0 {
			return fmt.Errorf("partition %d past the end: %d records, %v", p, len(got), err)
		}
		return nil
	}); err != nil {
		return err
	}
	placed, err := m.Produce(topic, more, codec, "acks=1")
	if err != nil {
		return err
	}
	return together(want, func(p int, want []Record) error {
		end := int64(len(want))
		var tail []Record
		for i, r := range more {
			if r.Partition == int32(p) {
				if at := end + int64(len(tail)); placed[i].Offset != at {
					return fmt.Errorf("partition %d: acked at %d, the end was %d", p, placed[i].Offset, at)
				}
				tail = append(tail, r)
			}
		}
		return m.Expect(topic, int32(p), end, tail)
	})
}

// digestsAtOnce bounds the topics that are held in memory.
const digestsAtOnce = 8

// digestCases hash all that topics hold; harness.py describes the bytes that are hashed. Several are
// read at once; each case waits for its own.
func digestCases(w *World, topics []string) []Case {
	places := make(chan struct{}, digestsAtOnce)
	var out []Case
	for _, topic := range topics {
		var hash string
		var err error
		done := make(chan struct{})
		go func() {
			places <- struct{}{}
			hash, err = w.digest(topic)
			<-places
			close(done)
		}()
		out = append(out, Case{"digest/" + topic, func() (string, error) {
			<-done
			return hash, err
		}})
	}
	return out
}

func (w *World) digest(topic string) (string, error) {
	ends, err := w.Ends(topic, w.Partitions)
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
	held := make([][]Record, len(ends))
	err = together(held, func(p int, _ []Record) error {
		got, err := w.Read(topic, int32(p), 0, int(ends[p]), ReadTimeout)
		if err != nil || int64(len(got)) != ends[p] {
			return fmt.Errorf("%s-%d: %d of %d records read: %v", topic, p, len(got), ends[p], err)
		}
		held[p] = got
		return nil
	})
	if err != nil {
		return "", err
	}
	for p, got := range held {
		for _, r := range got {
			all = binary.BigEndian.AppendUint32(all, uint32(p))
			all = binary.BigEndian.AppendUint64(all, uint64(r.Offset))
			all = binary.BigEndian.AppendUint64(all, uint64(r.Timestamp))
			blob(r.Key)
			blob(r.Value)
			all = binary.BigEndian.AppendUint32(all, uint32(len(r.Headers)))
			for _, h := range r.Headers {
				blob([]byte(h.Key))
				blob(h.Value)
			}
		}
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:]), nil
}
