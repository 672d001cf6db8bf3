package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func adminCases(w *world) []testCase {
	named := []struct {
		name string
		run  func(ctx context.Context, topic string) error
	}{
		{"admin/create", w.adminCreate},
		{"admin/describe-configs", w.adminConfigs},
		{"admin/errors", w.adminErrors},
		{"admin/delete-recreate", w.adminDelete},
		{"admin/list-offsets", w.adminOffsets},
		{"admin/cluster", w.adminCluster},
		{"admin/leader-epoch", w.adminEpoch},
		{"metadata/unknown-topic", w.unknownTopic},
		{"metadata/auto-create", w.autoCreate},
		{"fetch/out-of-range", w.outOfRange},
		{"produce/too-large", w.tooLarge},
	}
	var out []testCase
	for _, n := range named {
		out = append(out, testCase{n.name, func() (string, error) {
			ctx, cancel := deadline(callTimeout)
			defer cancel()
			return "", n.run(ctx, w.topic(strings.ReplaceAll(n.name, "/", "-")))
		}})
	}
	return out
}

// wants turns "this must be so" into an error.
func wants(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// describe asks the broker itself: kadm answers from a cache.
func (w *world) describe(ctx context.Context, topic string) (kmsg.MetadataResponseTopic, error) {
	ask, named := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
	named.Topic = &topic
	ask.Topics = append(ask.Topics, named)
	seen, err := ask.RequestWith(ctx, w.client)
	if err != nil {
		return kmsg.MetadataResponseTopic{}, err
	}
	return seen.Topics[0], kerr.ErrorForCode(seen.Topics[0].ErrorCode)
}

func (w *world) adminCreate(ctx context.Context, topic string) error {
	if err := w.create(topic, 5, nil); err != nil {
		return err
	}
	seen, err := w.describe(ctx, topic)
	if err != nil {
		return err
	}
	for _, p := range seen.Partitions {
		here := []int32{p.Leader}
		if p.Leader < 0 || p.LeaderEpoch < 0 || !slices.Equal(p.Replicas, here) || !slices.Equal(p.ISR, here) {
			return fmt.Errorf("partition %+v", p)
		}
	}
	ok := len(seen.Partitions) == 5 && !seen.IsInternal && seen.TopicID != [16]byte{}
	return wants(ok, "%d partitions, internal %v, id %v", len(seen.Partitions), seen.IsInternal, seen.TopicID)
}

func lookup(all kadm.ResourceConfigs, key string) kadm.Config {
	for _, c := range all[0].Configs {
		if c.Key == key {
			return c
		}
	}
	return kadm.Config{}
}

func (w *world) adminConfigs(ctx context.Context, topic string) error {
	if err := w.create(topic, 1, settings("retention.ms", "3600000")); err != nil {
		return err
	}
	seen, err := w.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return err
	}
	r, limit := lookup(seen, "retention.ms"), lookup(seen, "max.message.bytes")
	if r.MaybeValue() != "3600000" || r.Source != kmsg.ConfigSourceDynamicTopicConfig {
		return fmt.Errorf("retention.ms %s from %v", r.MaybeValue(), r.Source)
	}
	if limit.MaybeValue() != "1048588" || limit.Source != kmsg.ConfigSourceDefaultConfig {
		return fmt.Errorf("max.message.bytes %s from %v", limit.MaybeValue(), limit.Source)
	}
	brokers, err := w.admin.ListBrokers(ctx)
	if err != nil {
		return err
	}
	broker, err := w.admin.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...)
	if err != nil {
		return err
	}
	count := lookup(broker, "num.partitions")
	n, err := strconv.Atoi(count.MaybeValue())
	return wants(err == nil && n > 0, "num.partitions of the broker: %d, %v", n, err)
}

func (w *world) adminErrors(ctx context.Context, topic string) error {
	if err := w.create(topic, 1, nil); err != nil {
		return err
	}
	_, twice := w.admin.CreateTopic(ctx, 1, 1, nil, topic)
	_, name := w.admin.CreateTopic(ctx, 1, 1, nil, "no spaces")
	_, key := w.admin.CreateTopic(ctx, 1, 1, settings("no.such.key", "1"), topic+"-b")
	_, zero := w.admin.CreateTopic(ctx, 0, 1, nil, topic+"-c")
	_, replicas := w.admin.CreateTopic(ctx, 1, 100, nil, topic+"-d")
	_, gone := w.admin.DeleteTopic(ctx, topic+"-e")
	for _, check := range []struct{ got, want error }{
		{twice, kerr.TopicAlreadyExists}, {name, kerr.InvalidTopicException}, {key, kerr.InvalidConfig},
		{zero, kerr.InvalidPartitions}, {replicas, kerr.InvalidReplicationFactor},
		{gone, kerr.UnknownTopicOrPartition},
	} {
		if !errors.Is(check.got, check.want) {
			return fmt.Errorf("answered %v, due %v", check.got, check.want)
		}
	}
	// -1 asks for the broker's defaults; validate-only creates nothing.
	if _, err := w.admin.CreateTopic(ctx, -1, -1, nil, topic+"-default"); err != nil {
		return err
	}
	if _, err := w.admin.ValidateCreateTopics(ctx, 1, 1, nil, topic+"-checked"); err != nil {
		return err
	}
	_, err := w.describe(ctx, topic+"-checked")
	return wants(errors.Is(err, kerr.UnknownTopicOrPartition), "validate-only: %v", err)
}

func (w *world) adminDelete(ctx context.Context, topic string) error {
	ids := map[[16]byte]bool{}
	for i := range 3 {
		if err := w.create(topic, 1, nil); err != nil {
			return err
		}
		seen, err := w.describe(ctx, topic)
		if err != nil {
			return err
		}
		ids[seen.TopicID] = true
		sent := []record{{value: fmt.Append(nil, i), timestamp: time.Now().UnixMilli()}}
		if _, err := w.produce(topic, sent, "none", "idempotent"); err != nil {
			return err
		}
		if err := w.expect(topic, 0, 0, sent); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if _, err := w.admin.DeleteTopic(ctx, topic); err != nil {
			return err
		}
		if err := w.gone(ctx, topic); err != nil {
			return err
		}
	}
	return wants(len(ids) == 3, "three topics had the ids %v", ids)
}

// gone: a deleted topic is unknown at once; Apache Kafka takes a moment.
func (w *world) gone(ctx context.Context, topic string) error {
	for {
		_, err := w.describe(ctx, topic)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil
		}
		if !w.settle || ctx.Err() != nil {
			return fmt.Errorf("deleted, and yet: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *world) adminOffsets(ctx context.Context, topic string) error {
	if err := w.create(topic, 1, settings(topicSettings...)); err != nil {
		return err
	}
	base := time.Now().UnixMilli() - 100_000
	var sent []record
	for _, t := range []int64{5_000, 9_000, 7_000, 8_000} {
		sent = append(sent, record{value: []byte("v"), timestamp: base + t})
	}
	for _, codec := range []string{"none", "gzip"} {
		if _, err := w.produce(topic, sent, codec, "idempotent"); err != nil {
			return err
		}
	}
	type ask = func() (kadm.ListedOffsets, error)
	of := func(list func(context.Context, ...string) (kadm.ListedOffsets, error)) ask {
		return func() (kadm.ListedOffsets, error) { return list(ctx, topic) }
	}
	after := func() (kadm.ListedOffsets, error) { return w.admin.ListOffsetsAfterMilli(ctx, base+6_000, topic) }
	for _, check := range []struct {
		what              string
		ask               ask
		offset, timestamp int64 // timestamp -1: any
	}{
		{"start", of(w.admin.ListStartOffsets), 0, -1},
		{"end", of(w.admin.ListEndOffsets), 8, -1},
		{"committed", of(w.admin.ListCommittedOffsets), 8, -1},
		{"local start", of(w.admin.ListLocalLogStartOffsets), 0, -1},
		{"max timestamp", of(w.admin.ListMaxTimestampOffsets), 1, base + 9_000},
		{"after", after, 1, base + 9_000},
	} {
		listed, err := check.ask()
		if err != nil {
			return fmt.Errorf("%s: %w", check.what, err)
		}
		got, _ := listed.Lookup(topic, 0)
		dated := check.timestamp < 0 || got.Timestamp == check.timestamp
		if got.Err != nil || got.Offset != check.offset || !dated {
			return fmt.Errorf("%s: %+v, due offset %d timestamp %d", check.what, got, check.offset, check.timestamp)
		}
	}
	return nil
}

func (w *world) adminCluster(ctx context.Context, _ string) error {
	seen, err := w.admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	known := false
	for _, b := range seen.Brokers {
		known = known || b.NodeID == seen.Controller
	}
	ok := known && seen.Cluster != ""
	return wants(ok, "cluster %q, controller %d of %v", seen.Cluster, seen.Controller, seen.Brokers)
}

func (w *world) adminEpoch(ctx context.Context, topic string) error {
	if err := w.create(topic, 1, nil); err != nil {
		return err
	}
	sent := []record{{value: []byte("v"), timestamp: time.Now().UnixMilli()}}
	if _, err := w.produce(topic, sent, "none", "idempotent"); err != nil {
		return err
	}
	seen, err := w.describe(ctx, topic)
	if err != nil {
		return err
	}
	epoch := seen.Partitions[0].LeaderEpoch
	ask := kadm.OffsetForLeaderEpochRequest{}
	ask.Add(topic, 0, epoch)
	all, err := w.admin.OffsetForLeaderEpoch(ctx, ask)
	if err != nil {
		return err
	}
	got := all[topic][0]
	ok := got.Err == nil && got.EndOffset == 1 && got.LeaderEpoch == epoch
	return wants(ok, "epoch %d: %+v", epoch, got)
}

func (w *world) unknownTopic(ctx context.Context, topic string) error {
	if _, err := w.describe(ctx, topic); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("answered %v", err)
	}
	_, err := w.describe(ctx, topic)
	return wants(errors.Is(err, kerr.UnknownTopicOrPartition), "asking created the topic: %v", err)
}

func (w *world) autoCreate(ctx context.Context, topic string) error {
	client, err := w.producer("none", "idempotent", kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer client.Close()
	sent := &kgo.Record{Topic: topic, Value: []byte("v"), Partition: -1}
	if err := client.ProduceSync(ctx, sent).FirstErr(); err != nil {
		return err
	}
	_, err = w.describe(ctx, topic)
	return err
}

func (w *world) outOfRange(_ context.Context, topic string) error {
	if err := w.create(topic, 1, nil); err != nil {
		return err
	}
	_, err := w.read(topic, 0, 1_000, 1, 10*time.Second)
	return wants(errors.Is(err, kerr.OffsetOutOfRange), "answered %v", err)
}

func (w *world) tooLarge(_ context.Context, topic string) error {
	if err := w.create(topic, 1, settings("max.message.bytes", "20000")); err != nil {
		return err
	}
	_, err := w.produce(topic, []record{{value: make([]byte, 30_000), partition: -1}}, "none", "acks=all")
	if !errors.Is(err, kerr.MessageTooLarge) {
		return fmt.Errorf("answered %v", err)
	}
	_, err = w.produce(topic, []record{{value: []byte("v"), partition: -1}}, "none", "acks=all")
	return err
}
