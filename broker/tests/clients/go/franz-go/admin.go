package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidewheel.invalid/clients/harness"
)

func (c *client) Create(ctx context.Context, topic harness.Topic) error {
	settings := map[string]*string{}
	for name, value := range topic.Settings {
		settings[name] = &value
	}
	if topic.Check {
		seen, err := c.admin.ValidateCreateTopics(ctx, topic.Partitions, topic.Replicas, settings, topic.Name)
		return errors.Join(err, seen.Error())
	}
	_, err := c.admin.CreateTopic(ctx, topic.Partitions, topic.Replicas, settings, topic.Name)
	return err
}

func (c *client) Delete(ctx context.Context, topic string) error {
	_, err := c.admin.DeleteTopic(ctx, topic)
	return err
}

// ask asks the broker itself: kadm answers from a cache.
func (c *client) ask(ctx context.Context, topic string) (kmsg.MetadataResponseTopic, error) {
	ask, named := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
	named.Topic = &topic
	ask.Topics = append(ask.Topics, named)
	seen, err := ask.RequestWith(ctx, c.shared)
	if err != nil {
		return kmsg.MetadataResponseTopic{}, err
	}
	return seen.Topics[0], kerr.ErrorForCode(seen.Topics[0].ErrorCode)
}

func (c *client) Describe(ctx context.Context, topic string) (harness.Description, error) {
	seen, err := c.ask(ctx, topic)
	out := harness.Description{Internal: seen.IsInternal, ID: seen.TopicID}
	for _, p := range seen.Partitions {
		if p.LeaderEpoch < 0 {
			err = errors.Join(err, fmt.Errorf("partition %d has no leader epoch", p.Partition))
		}
		out.Partitions = append(out.Partitions, harness.Partition{Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR})
	}
	return out, err
}

func (c *client) Settings(ctx context.Context, topic string) (map[string]harness.Setting, error) {
	var seen kadm.ResourceConfigs
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return nil, err
	}
	if topic == "" {
		seen, err = c.admin.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...)
	} else {
		seen, err = c.admin.DescribeTopicConfigs(ctx, topic)
	}
	if err != nil {
		return nil, err
	}
	out := map[string]harness.Setting{}
	for _, s := range seen[0].Configs {
		out[s.Key] = harness.Setting{Value: s.MaybeValue(), IsDefault: s.Source == kmsg.ConfigSourceDefaultConfig}
	}
	return out, seen[0].Err
}

func (c *client) Cluster(ctx context.Context) ([]int32, int32, error) {
	seen, err := c.admin.BrokerMetadata(ctx)
	if err == nil && seen.Cluster == "" {
		err = errors.New("the cluster has no id")
	}
	return seen.Brokers.NodeIDs(), seen.Controller, err
}

func (c *client) Offset(ctx context.Context, topic string, partition int32, at int64) (int64, error) {
	// kadm's look-up by time answers the end offset where nothing is later: this one answers -1.
	ask := kmsg.NewPtrListOffsetsRequest()
	ask.ReplicaID = -1
	of, p := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	of.Topic, p.Partition, p.Timestamp = topic, partition, at
	of.Partitions = append(of.Partitions, p)
	ask.Topics = append(ask.Topics, of)
	seen, err := ask.RequestWith(ctx, c.shared)
	if err != nil {
		return 0, err
	}
	got := seen.Topics[0].Partitions[0]
	return got.Offset, kerr.ErrorForCode(got.ErrorCode)
}

func alterations(op kadm.IncrementalOp, values map[string]string) []kadm.AlterConfig {
	var out []kadm.AlterConfig
	for name, value := range values {
		out = append(out, kadm.AlterConfig{Op: op, Name: name, Value: &value})
	}
	return out
}

func firstError(seen kadm.AlterConfigsResponses, err error) error {
	for _, answer := range seen {
		err = errors.Join(err, answer.Err)
	}
	return err
}

func (c *client) ReplaceSettings(ctx context.Context, topic string, values map[string]string) error {
	changes := alterations(kadm.SetConfig, values)
	if topic != "" {
		return firstError(c.admin.AlterTopicConfigsState(ctx, changes, topic))
	}
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return err
	}
	return firstError(c.admin.AlterBrokerConfigsState(ctx, changes, brokers.NodeIDs()...))
}

func (c *client) ChangeSettings(ctx context.Context, topic string, changes []harness.Change) error {
	var out []kadm.AlterConfig
	for _, change := range changes {
		op := kadm.SetConfig
		if change.Value == nil {
			op = kadm.DeleteConfig
		}
		out = append(out, kadm.AlterConfig{Op: op, Name: change.Name, Value: change.Value})
	}
	if topic != "" {
		return firstError(c.admin.AlterTopicConfigs(ctx, out, topic))
	}
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return err
	}
	return firstError(c.admin.AlterBrokerConfigs(ctx, out, brokers.NodeIDs()...))
}

func (c *client) Grow(ctx context.Context, topic string, partitions int32, check bool) error {
	grow := c.admin.UpdatePartitions
	if check {
		grow = c.admin.ValidateUpdatePartitions
	}
	seen, err := grow(ctx, int(partitions), topic)
	return errors.Join(err, seen.Error())
}

// ownCases are those of newer APIs, which the other Go libraries do not offer.
func ownCases(w *world) []harness.Case {
	return []harness.Case{
		w.Named("admin/leader-epoch", w.leaderEpoch),
		w.Named("admin/offset-kinds", w.offsetKinds),
	}
}

func (w *world) leaderEpoch(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, nil); err != nil {
		return err
	}
	sent := []harness.Record{{Value: []byte("v"), Timestamp: time.Now().UnixMilli()}}
	if _, err := w.Produce(topic, sent, "none", "idempotent"); err != nil {
		return err
	}
	seen, err := w.client.ask(ctx, topic)
	if err != nil {
		return err
	}
	epoch := seen.Partitions[0].LeaderEpoch
	ask := kadm.OffsetForLeaderEpochRequest{}
	ask.Add(topic, 0, epoch)
	all, err := w.client.admin.OffsetForLeaderEpoch(ctx, ask)
	if err != nil {
		return err
	}
	got := all[topic][0]
	ok := got.Err == nil && got.EndOffset == 1 && got.LeaderEpoch == epoch
	return harness.Wants(ok, "epoch %d: %+v", epoch, got)
}

func (w *world) offsetKinds(ctx context.Context, topic string) error {
	if err := w.MakeTopic(topic, 1, harness.TopicSettings()); err != nil {
		return err
	}
	base := time.Now().UnixMilli() - 100_000
	var sent []harness.Record
	for _, t := range []int64{5_000, 9_000, 7_000, 8_000} {
		sent = append(sent, harness.Record{Value: []byte("v"), Timestamp: base + t})
	}
	for _, codec := range []string{"none", "gzip"} {
		if _, err := w.Produce(topic, sent, codec, "idempotent"); err != nil {
			return err
		}
	}
	admin := w.client.admin
	for _, check := range []struct {
		what              string
		list              func(context.Context, ...string) (kadm.ListedOffsets, error)
		offset, timestamp int64 // timestamp -1: any
	}{
		{"start", admin.ListStartOffsets, 0, -1},
		{"end", admin.ListEndOffsets, 8, -1},
		{"committed", admin.ListCommittedOffsets, 8, -1},
		{"local start", admin.ListLocalLogStartOffsets, 0, -1},
		{"max timestamp", admin.ListMaxTimestampOffsets, 1, base + 9_000},
	} {
		listed, err := check.list(ctx, topic)
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
