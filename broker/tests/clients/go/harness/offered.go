package harness

import (
	"context"
	"fmt"
	"time"
)

// What not every library offers; the cases of what a Client lacks are left out.
type (
	// RecordDeleter deletes the records before an offset of a partition; -1: all.
	RecordDeleter interface {
		DeleteRecords(ctx context.Context, topic string, partition int32, before int64) error
	}
	// LogSizer gives the bytes of each partition of a topic, out of DescribeLogDirs.
	LogSizer interface {
		LogSizes(ctx context.Context, topic string) (map[int32]int64, error)
	}
	// Elector has the preferred leader of a partition elected.
	Elector interface {
		Elect(ctx context.Context, topic string, partition int32) error
	}
	// ReassignmentLister counts the partitions of a topic that are being reassigned.
	ReassignmentLister interface {
		Reassignments(ctx context.Context, topic string) (int, error)
	}
	// ProducerDescriber gives the states of a partition's idempotent producers.
	ProducerDescriber interface {
		Producers(ctx context.Context, topic string, partition int32) ([]Producer, error)
	}
)

// Producer is the state of one idempotent producer in one partition.
type Producer struct {
	ID           int64
	Epoch        int16
	LastSequence int32
}

func (w *World) offeredCases() []namedCase {
	var out []namedCase
	if c, ok := w.Client.(RecordDeleter); ok {
		out = append(out, namedCase{"admin/delete-records", func(ctx context.Context, topic string) error {
			return w.deleteRecords(ctx, c, topic)
		}})
	}
	if c, ok := w.Client.(LogSizer); ok {
		out = append(out, namedCase{"admin/log-dirs", func(ctx context.Context, topic string) error {
			return w.logDirs(ctx, c, topic)
		}})
	}
	if c, ok := w.Client.(Elector); ok {
		out = append(out, namedCase{"admin/elect-leaders", func(ctx context.Context, topic string) error {
			return w.electLeaders(ctx, c, topic)
		}})
	}
	if c, ok := w.Client.(ReassignmentLister); ok {
		out = append(out, namedCase{"admin/list-reassignments", func(ctx context.Context, topic string) error {
			return w.listReassignments(ctx, c, topic)
		}})
	}
	if c, ok := w.Client.(ProducerDescriber); ok {
		out = append(out, namedCase{"admin/describe-producers", func(ctx context.Context, topic string) error {
			return w.describeProducers(ctx, c, topic)
		}})
	}
	return out
}

func plain(count int, partition int32) []Record {
	var out []Record
	for n := range count {
		out = append(out, Record{Value: fmt.Append(nil, n), Timestamp: time.Now().UnixMilli(), Partition: partition})
	}
	return out
}

func (w *World) deleteRecords(ctx context.Context, c RecordDeleter, topic string) error {
	if err := w.MakeTopic(topic, 1, TopicSettings()); err != nil {
		return err
	}
	sent := plain(10, 0)
	if _, err := w.Produce(topic, sent, "none", "acks=all"); err != nil {
		return err
	}
	if err := c.DeleteRecords(ctx, topic, 0, 4); err != nil {
		return err
	}
	if low, err := w.Offset(ctx, topic, 0, Earliest); err != nil || low != 4 {
		return fmt.Errorf("the log starts at %d, due is 4: %v", low, err)
	}
	if err := w.Expect(topic, 0, 4, sent[4:]); err != nil {
		return err
	}
	_, err := w.Read(topic, 0, 3, 1, 10*time.Second)
	if err := w.Due("what is deleted", err, OffsetOutOfRange); err != nil {
		return err
	}
	if err := w.Due("beyond the end", c.DeleteRecords(ctx, topic, 0, 11), OffsetOutOfRange); err != nil {
		return err
	}
	if err := c.DeleteRecords(ctx, topic, 0, -1); err != nil {
		return err
	}
	if low, err := w.Offset(ctx, topic, 0, Earliest); err != nil || low != 10 {
		return fmt.Errorf("the log starts at %d, not at its end: %v", low, err)
	}
	next, err := w.Produce(topic, sent[:1], "none", "acks=all")
	if err != nil {
		return err
	}
	return Wants(next[0].Offset == 10, "the next record is at %d", next[0].Offset)
}

func (w *World) logDirs(ctx context.Context, c LogSizer, topic string) error {
	if err := w.MakeTopic(topic, 2, nil); err != nil {
		return err
	}
	sent := []Record{{Value: make([]byte, 5_000), Timestamp: time.Now().UnixMilli(), Partition: 1}}
	if _, err := w.Produce(topic, sent, "none", "acks=all"); err != nil {
		return err
	}
	seen, err := c.LogSizes(ctx, topic)
	if err != nil {
		return err
	}
	ok := len(seen) == 2 && seen[0] == 0 && seen[1] > 5_000 && seen[1] < 5_200
	return Wants(ok, "bytes of partitions: %v", seen)
}

func (w *World) electLeaders(ctx context.Context, c Elector, topic string) error {
	if err := w.MakeTopic(topic, 1, nil); err != nil {
		return err
	}
	if err := w.Due("its leader leads", c.Elect(ctx, topic, 0), ElectionNotNeeded); err != nil {
		return err
	}
	return w.Due("an unknown partition", c.Elect(ctx, topic, 7), UnknownTopicOrPartition)
}

func (w *World) listReassignments(ctx context.Context, c ReassignmentLister, topic string) error {
	if err := w.MakeTopic(topic, 1, nil); err != nil {
		return err
	}
	count, err := c.Reassignments(ctx, topic)
	if err != nil {
		return err
	}
	return Wants(count == 0, "%d partitions are being reassigned", count)
}

func (w *World) describeProducers(ctx context.Context, c ProducerDescriber, topic string) error {
	if err := w.MakeTopic(topic, 1, nil); err != nil {
		return err
	}
	seen, err := c.Producers(ctx, topic, 0)
	if err != nil || len(seen) != 0 {
		return fmt.Errorf("producers before the first record: %v, %v", seen, err)
	}
	if _, err := w.Produce(topic, plain(3, 0), "none", "idempotent"); err != nil {
		return err
	}
	if seen, err = c.Producers(ctx, topic, 0); err != nil {
		return err
	}
	ok := len(seen) == 1 && seen[0].ID >= 0 && seen[0].Epoch == 0 && seen[0].LastSequence == 2
	return Wants(ok, "producers %+v", seen)
}

// alterBroker: a setting of the broker is the default of topics, from the answer on.
func (w *World) alterBroker(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, nil); err != nil {
		return err
	}
	alter := func(values map[string]string) error { return w.ReplaceSettings(ctx, "", values) }
	back := func() error { return alter(nil) }
	if w.Traits().Incremental {
		alter = func(values map[string]string) error {
			var changes []Change
			for name, value := range values {
				changes = append(changes, Change{name, &value})
			}
			return w.ChangeSettings(ctx, "", changes)
		}
		back = func() error { return w.ChangeSettings(ctx, "", []Change{{"message.max.bytes", nil}}) }
	}
	if err := alter(map[string]string{"message.max.bytes": "20000"}); err != nil {
		return err
	}
	due := map[string]Setting{"message.max.bytes": {"20000", false}}
	if err := w.shows(ctx, func() error { return w.hasSettings(ctx, "", due) }); err != nil {
		return err
	}
	if err := w.shows(ctx, func() error { return w.limitHolds(topic) }); err != nil {
		return err
	}
	for name, bad := range map[string]string{"message.max.bytes": "many", "log.dirs": "/elsewhere"} {
		if err := w.refused(name, alter(map[string]string{name: bad}), InvalidRequest); err != nil {
			return err
		}
	}
	due = map[string]Setting{"max.message.bytes": {"20000", false}}
	if err := w.hasSettings(ctx, topic, due); err != nil {
		return err
	}
	if err := back(); err != nil {
		return err
	}
	due = map[string]Setting{"max.message.bytes": {"1048588", true}}
	if err := w.shows(ctx, func() error { return w.hasSettings(ctx, topic, due) }); err != nil {
		return err
	}
	large := []Record{{Value: make([]byte, 30_000), Timestamp: time.Now().UnixMilli()}}
	return w.shows(ctx, func() error {
		_, err := w.Produce(topic, large, "none", "acks=all")
		return err
	})
}
