package harness

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

const (
	// delay is how far in the future delayed records are dated.
	delay = 4 * time.Second
	// late is how long after it was due, or after it is asked for where that is later, a record may be read.
	late = 5 * time.Second
)

// delayed: records from the future are read when their time has come, by every reader, and not before, with
// every codec and whatever acknowledgement is asked for; some ask by a header.
func (w *World) delayed(_ context.Context, topic string) error {
	if w.Settle { // Apache Kafka has no delays
		return nil
	}
	settings := map[string]string{"delay.mode": "both"}
	if err := w.MakeTopic(topic, 1, settings); err != nil {
		return err
	}
	traits := w.Traits()
	var due int64 // of the last record
	early := func(what string) error {
		now := time.Now().UnixMilli()
		return Wants(now >= due, "%s %d ms before it was due", what, due-now)
	}
	var want []Record
	var dues []int64
	for _, codec := range traits.Codecs {
		for _, mode := range traits.Modes {
			// Each a moment after the last one, so that their order is known.
			due = max(time.Now().Add(delay).UnixMilli(), due+1)
			name := codec + " " + mode
			record := Record{Key: []byte("k"), Value: []byte(name), Timestamp: due, Partition: 0}
			if len(want)%4 == 3 {
				record.Timestamp = time.Now().UnixMilli()
				record.Headers = []Header{{Key: "delay-until", Value: []byte(strconv.FormatInt(due, 10))}}
			}
			placed, err := w.Produce(topic, []Record{record}, codec, mode)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if at := placed[0].Offset; at >= 0 && mode != "acks=0" {
				if err := early(fmt.Sprintf("%s: acked at %d", name, at)); err != nil {
					return err
				}
			}
			want, dues = append(want, record), append(dues, due)
		}
	}
	ends, err := w.Ends(topic, 1)
	if err == nil && ends[0] == int64(len(want)) {
		err = early("the log ended")
	}
	if err != nil {
		return err
	}
	if err := w.eachInTime(topic, want, dues); err != nil {
		return err
	}
	if err := w.Expect(topic, 0, 0, want); err != nil {
		return err
	}
	ends, err = w.Ends(topic, 1)
	if err == nil && ends[0] != int64(len(want)) {
		err = fmt.Errorf("the log ends at %d, %d records were sent", ends[0], len(want))
	}
	return err
}

// eachInTime: each record is read when its own time has come, not before and not long after.
func (w *World) eachInTime(topic string, want []Record, dues []int64) error {
	for i, due := range dues {
		asked := time.Now().UnixMilli()
		if err := w.Expect(topic, 0, int64(i), want[i:i+1]); err != nil {
			return err
		}
		now := time.Now().UnixMilli()
		after := now - max(asked, due)
		if now < due || after > late.Milliseconds() {
			return fmt.Errorf("%s: read %d ms after it was due, %d ms after it was asked for", want[i].Value, now-due, now-asked)
		}
	}
	return nil
}

// delayed: every group takes records from the future once, and not before their time has come.
func (g *groupCase) delayed() error {
	var a, b Member
	join := func(to *Member, group string) func() error {
		return func() (err error) {
			*to, err = g.join.Join(group, g.topic, true)
			return err
		}
	}
	return steps(
		join(&a, g.topic), join(&b, g.topic+"-other"),
		func() error { return g.deliver(at(0), a) },
		func() error { return g.deliver(at(0), b) },
		func() error { return Wants(time.Now().UnixMilli() >= g.due, "read before %d", g.due) },
		func() error { return ordered(a, b) },
		func() error { return a.Leave() }, func() error { return b.Leave() },
	)
}
