package harness

import (
	"context"
	"fmt"
	"time"
)

// alteringCases change topics that are there.
func (w *World) alteringCases() []namedCase {
	out := []namedCase{
		{"admin/alter-configs", w.replaceSettings},
		{"admin/create-partitions", w.growTopic},
	}
	if w.Traits().Incremental {
		out = append(out, namedCase{"admin/incremental-alter-configs", w.changeSettings})
	}
	return out
}

func (w *World) replaceSettings(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, map[string]string{"retention.ms": "3600000"}); err != nil {
		return err
	}
	// What is not named falls back to its default.
	if err := w.ReplaceSettings(ctx, topic, map[string]string{"max.message.bytes": "20000"}); err != nil {
		return err
	}
	due := map[string]Setting{"retention.ms": {"604800000", true}, "max.message.bytes": {"20000", false}}
	if err := w.shows(ctx, func() error { return w.hasSettings(ctx, topic, due) }); err != nil {
		return err
	}
	for name, value := range map[string]string{"no.such.key": "1", "retention.ms": "soon"} {
		err := w.ReplaceSettings(ctx, topic, map[string]string{name: value})
		if err := w.refused(name+"="+value, err, InvalidConfig); err != nil {
			return err
		}
	}
	err := w.ReplaceSettings(ctx, topic+"-none", map[string]string{"retention.ms": "1"})
	if err := w.refused("an unknown topic", err, UnknownTopicOrPartition); err != nil {
		return err
	}
	return w.shows(ctx, func() error { return w.limitHolds(topic) })
}

// refused is Due for libraries that keep the code, and asks for any error of others.
func (w *World) refused(what string, err error, code int16) error {
	if w.Traits().TextOnly {
		return Wants(err != nil, "%s was accepted", what)
	}
	return w.Due(what, err, code)
}

func (w *World) changeSettings(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, map[string]string{"retention.ms": "3600000"}); err != nil {
		return err
	}
	limit, bad := "20000", "many"
	if err := w.ChangeSettings(ctx, topic, []Change{{"max.message.bytes", &limit}}); err != nil {
		return err
	}
	due := map[string]Setting{"retention.ms": {"3600000", false}, "max.message.bytes": {limit, false}}
	if err := w.shows(ctx, func() error { return w.hasSettings(ctx, topic, due) }); err != nil {
		return err
	}
	if err := w.shows(ctx, func() error { return w.limitHolds(topic) }); err != nil {
		return err
	}
	for _, name := range []string{"no.such.key", "retention.ms"} {
		err := w.ChangeSettings(ctx, topic, []Change{{name, &bad}})
		if err := w.Due(name+"="+bad, err, InvalidConfig); err != nil {
			return err
		}
	}
	err := w.ChangeSettings(ctx, topic+"-none", []Change{{"max.message.bytes", &limit}})
	if err := w.Due("an unknown topic", err, UnknownTopicOrPartition); err != nil {
		return err
	}
	if err := w.ChangeSettings(ctx, topic, []Change{{"max.message.bytes", nil}, {"retention.ms", nil}}); err != nil {
		return err
	}
	due = map[string]Setting{"retention.ms": {"604800000", true}, "max.message.bytes": {"1048588", true}}
	return w.shows(ctx, func() error { return w.hasSettings(ctx, topic, due) })
}

func (w *World) growTopic(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 2, nil); err != nil {
		return err
	}
	for _, check := range []struct {
		what       string
		topic      string
		partitions int32
		check      bool
		code       int16
	}{
		{"as many", topic, 2, false, InvalidPartitions},
		{"fewer", topic, 1, false, InvalidPartitions},
		{"an unknown topic", topic + "-none", 4, false, UnknownTopicOrPartition},
		{"a check only", topic, 4, true, 0},
		{"more", topic, 3, false, 0},
	} {
		err := w.Grow(ctx, check.topic, check.partitions, check.check)
		if err := w.Due(check.what, err, check.code); err != nil {
			return err
		}
	}
	count := func() error {
		seen, err := w.Describe(ctx, topic)
		if err != nil {
			return err
		}
		return Wants(len(seen.Partitions) == 3, "%d partitions", len(seen.Partitions))
	}
	if err := w.shows(ctx, count); err != nil {
		return err
	}
	if err := w.untilServed(ctx, topic, 3); err != nil {
		return err
	}
	for p := range int32(3) {
		sent := []Record{{Value: fmt.Append(nil, p), Timestamp: time.Now().UnixMilli(), Partition: p}}
		if _, err := w.Produce(topic, sent, "none", "acks=all"); err != nil {
			return err
		}
		if err := w.Expect(topic, p, 0, sent); err != nil {
			return err
		}
	}
	return nil
}
