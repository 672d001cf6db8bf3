package harness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

type namedCase struct {
	name string
	run  func(ctx context.Context, topic string) error
}

func adminCases(w *World) []Case {
	named := []namedCase{
		{"admin/create", w.adminCreate},
		{"admin/describe-configs", w.adminSettings},
		{"admin/errors", w.adminErrors},
		{"admin/delete-recreate", w.adminDelete},
		{"admin/list-offsets", w.adminOffsets},
		{"admin/cluster", w.adminCluster},
		{"metadata/unknown-topic", w.unknownTopic},
		{"metadata/auto-create", w.autoCreate},
		{"fetch/out-of-range", w.outOfRange},
		{"produce/too-large", w.tooLarge},
		{"produce/delayed", w.delayed},
	}
	named = append(append(named, w.alteringCases()...), w.offeredCases()...)
	var out []Case
	for _, n := range named {
		out = append(out, w.Named(n.name, n.run))
	}
	return out
}

// brokerCases want the broker to themselves.
func brokerCases(w *World) []Case {
	return []Case{w.Named("admin/alter-broker-configs", w.alterBroker)}
}

// Named is a case with a time limit and a topic named after it.
func (w *World) Named(name string, run func(ctx context.Context, topic string) error) Case {
	return Case{name, func() (string, error) {
		ctx, cancel := Deadline(CallTimeout)
		defer cancel()
		return "", run(ctx, w.Topic(strings.ReplaceAll(name, "/", "-")))
	}}
}

// Due compares an answer with the code that is due.
func (w *World) Due(what string, err error, code int16) error {
	return Wants(w.Code(err) == code, "%s: answered %v, due is error %d", what, err, code)
}

func (w *World) adminCreate(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 5, nil); err != nil {
		return err
	}
	seen, err := w.Describe(ctx, topic)
	if err != nil {
		return err
	}
	for _, p := range seen.Partitions {
		here := []int32{p.Leader}
		if p.Leader < 0 || !slices.Equal(p.Replicas, here) || !slices.Equal(p.ISR, here) {
			return fmt.Errorf("partition %+v", p)
		}
	}
	ok := len(seen.Partitions) == 5 && !seen.Internal && (seen.ID != [16]byte{} || !w.Traits().TopicIDs)
	return Wants(ok, "%d partitions, internal %v, id %v", len(seen.Partitions), seen.Internal, seen.ID)
}

func (w *World) adminSettings(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, map[string]string{"retention.ms": "3600000"}); err != nil {
		return err
	}
	if err := w.hasSettings(ctx, topic, map[string]Setting{
		"retention.ms": {"3600000", false}, "max.message.bytes": {"1048588", true},
	}); err != nil {
		return err
	}
	broker, err := w.Settings(ctx, "")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(broker["num.partitions"].Value)
	return Wants(err == nil && n > 0, "num.partitions of the broker: %d, %v", n, err)
}

// hasSettings: these are among a topic's settings.
func (w *World) hasSettings(ctx context.Context, topic string, due map[string]Setting) error {
	seen, err := w.Settings(ctx, topic)
	for name, setting := range due {
		if err == nil && seen[name] != setting {
			err = fmt.Errorf("%s is %+v, due is %+v", name, seen[name], setting)
		}
	}
	return err
}

func (w *World) adminErrors(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, nil); err != nil {
		return err
	}
	for _, check := range []struct {
		what  string
		topic Topic
		code  int16
	}{
		{"a name that is taken", Topic{Name: topic, Partitions: 1, Replicas: 1}, TopicAlreadyExists},
		{"a bad name", Topic{Name: "no spaces", Partitions: 1, Replicas: 1}, InvalidTopic},
		{"no partitions", Topic{Name: topic + "-a", Partitions: 0, Replicas: 1}, InvalidPartitions},
		{"too many replicas", Topic{Name: topic + "-b", Partitions: 1, Replicas: 100}, InvalidReplicationFactor},
		{"an unknown setting", Topic{
			Name: topic + "-c", Partitions: 1, Replicas: 1, Settings: map[string]string{"no.such.key": "1"},
		}, InvalidConfig},
		{"a check only", Topic{Name: topic + "-checked", Partitions: 1, Replicas: 1, Check: true}, 0},
	} {
		if err := w.Due(check.what, w.Create(ctx, check.topic), check.code); err != nil {
			return err
		}
	}
	if w.Traits().Defaults {
		defaults := Topic{Name: topic + "-default", Partitions: -1, Replicas: -1}
		if err := w.Due("the broker's defaults", w.Create(ctx, defaults), 0); err != nil {
			return err
		}
	}
	if err := w.Due("delete nothing", w.Delete(ctx, topic+"-e"), UnknownTopicOrPartition); err != nil {
		return err
	}
	_, err := w.Describe(ctx, topic+"-checked")
	return w.Due("what was only checked", err, UnknownTopicOrPartition)
}

// safest is the strongest mode that the library offers.
func (w *World) safest() string {
	modes := w.Traits().Modes
	return modes[len(modes)-1]
}

func (w *World) adminDelete(ctx context.Context, topic string) error {
	ids := map[[16]byte]bool{}
	const rounds = 3
	for i := range rounds {
		if err := w.MakeTopic(topic, 1, nil); err != nil {
			return err
		}
		seen, err := w.Describe(ctx, topic)
		if err != nil {
			return err
		}
		ids[seen.ID] = true
		sent := []Record{{Value: fmt.Append(nil, i), Timestamp: time.Now().UnixMilli()}}
		if _, err := w.Produce(topic, sent, "none", w.safest()); err != nil {
			return err
		}
		if err := w.Expect(topic, 0, 0, sent); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if err := w.Delete(ctx, topic); err != nil {
			return err
		}
		if err := w.gone(ctx, topic); err != nil {
			return err
		}
	}
	return Wants(len(ids) == rounds || !w.Traits().TopicIDs, "%d topics had the ids %v", rounds, ids)
}

// shows checks again, where the broker is Apache Kafka, until a change that was acknowledged shows.
func (w *World) shows(ctx context.Context, check func() error) error {
	for {
		err := check()
		if err == nil || !w.Settle || ctx.Err() != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// gone: a deleted topic is unknown.
func (w *World) gone(ctx context.Context, topic string) error {
	return w.shows(ctx, func() error {
		_, err := w.Describe(ctx, topic)
		return w.Due("deleted", err, UnknownTopicOrPartition)
	})
}

func (w *World) adminOffsets(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, TopicSettings()); err != nil {
		return err
	}
	base := time.Now().UnixMilli() - 100_000
	var sent []Record
	for _, t := range []int64{5_000, 9_000, 7_000, 8_000} {
		sent = append(sent, Record{Value: []byte("v"), Timestamp: base + t})
	}
	for _, codec := range []string{"none", "gzip"} {
		if _, err := w.Produce(topic, sent, codec, w.safest()); err != nil {
			return err
		}
	}
	for _, check := range []struct {
		what    string
		at, due int64
	}{
		{"start", Earliest, 0}, {"end", Latest, 8}, {"first", base, 0},
		{"after", base + 6_000, 1}, {"max", base + 9_000, 1}, {"none", base + 9_001, -1},
	} {
		got, err := w.Offset(ctx, topic, 0, check.at)
		if err != nil || got != check.due {
			return fmt.Errorf("%s: offset %d, due %d, %v", check.what, got, check.due, err)
		}
	}
	return nil
}

func (w *World) adminCluster(ctx context.Context, _ string) error {
	brokers, controller, err := w.Cluster(ctx)
	if err != nil {
		return err
	}
	return Wants(slices.Contains(brokers, controller), "controller %d of %v", controller, brokers)
}

func (w *World) unknownTopic(ctx context.Context, topic string) error {
	for _, what := range []string{"asked once", "asked again"} {
		_, err := w.Describe(ctx, topic)
		if err := w.Due(what, err, UnknownTopicOrPartition); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) autoCreate(ctx context.Context, topic string) error {
	// Apache Kafka may answer that the topic is not there yet, and not every library asks again.
	if err := w.shows(ctx, func() error { return w.AutoCreate(ctx, topic) }); err != nil {
		return err
	}
	seen, err := w.Describe(ctx, topic)
	if err != nil {
		return err
	}
	return Wants(int32(len(seen.Partitions)) == w.Partitions, "%d partitions", len(seen.Partitions))
}

func (w *World) outOfRange(_ context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, nil); err != nil {
		return err
	}
	_, err := w.Read(topic, 0, 1_000, 1, 10*time.Second)
	return w.Due("past the end", err, OffsetOutOfRange)
}

func (w *World) tooLarge(_ context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, map[string]string{"max.message.bytes": "20000"}); err != nil {
		return err
	}
	return w.limitHolds(topic)
}

// limitHolds: a topic whose max.message.bytes is 20,000 refuses 30,000 bytes and takes less.
func (w *World) limitHolds(topic string) error {
	large := []Record{{Value: make([]byte, 30_000), Timestamp: time.Now().UnixMilli(), Partition: -1}}
	_, err := w.Produce(topic, large, "none", "acks=all")
	if err := w.Due("30,000 bytes", err, MessageTooLarge); err != nil {
		return err
	}
	small := []Record{{Value: []byte("v"), Timestamp: time.Now().UnixMilli(), Partition: -1}}
	_, err = w.Produce(topic, small, "none", "acks=all")
	return err
}
