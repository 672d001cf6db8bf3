package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"tidewheel.invalid/clients/harness"
)

// What monitors on franz-go ask. kminion: minion/ of https://github.com/redpanda-data/kminion, service.go (1349666d),
// list_offsets.go (1caeb0b3), consumer_group_offsets.go (1c73050c), describe_consumer_groups.go (1caeb0b3), log_dirs.go
// (423e1c01), describe_topic_config.go (21e8a6b5), offset_consumer.go (21e8a6b5).

// offsetsTopic is where groups commit.
const offsetsTopic = "__consumer_offsets"

// kminionAdmin is a scrape in the mode adminApi.
func (u *ui) kminionAdmin(ctx context.Context) error {
	versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, u.client.shared)
	if err != nil {
		return err
	}
	if err := harness.Wants(kversion.FromApiVersionsResponse(versions).HasKey(35), "no log dirs"); err != nil {
		return err
	}
	all, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, u.client.shared)
	if err != nil {
		return err
	}
	for _, at := range []int64{harness.Earliest, harness.Latest} {
		if err := u.allOffsets(ctx, all, at); err != nil {
			return err
		}
	}
	var names []string
	for _, topic := range all.Topics {
		names = append(names, *topic.Topic)
	}
	if _, err := u.describe(ctx, kmsg.ConfigResourceTypeTopic, nil, names...); err != nil {
		return err
	}
	sizes, err := u.logDirs(ctx, nil)
	if err := errors.Join(err, harness.Wants(sizes[u.stage.Orders+"-2"] > 0, "sizes %v", sizes)); err != nil {
		return err
	}
	committed, err := u.committed(ctx, u.stage.Reading)
	if err != nil {
		return err
	}
	if err := harness.Wants(len(committed) == harness.StagePartitions, "committed %v", committed); err != nil {
		return err
	}
	// It leaves the names of groups that are not stable empty, and asks for those, too.
	_, err = u.committed(ctx, "")
	var told *kerr.Error
	return harness.Wants(err == nil || errors.As(err, &told), "a group without a name: %v", err)
}

// allOffsets asks for one end of every partition there is, in one request.
func (u *ui) allOffsets(ctx context.Context, all *kmsg.MetadataResponse, at int64) error {
	request := kmsg.NewListOffsetsRequest()
	for _, topic := range all.Topics {
		one := kmsg.NewListOffsetsRequestTopic()
		one.Topic = *topic.Topic
		for _, p := range topic.Partitions {
			partition := kmsg.NewListOffsetsRequestTopicPartition()
			partition.Partition, partition.Timestamp = p.Partition, at
			one.Partitions = append(one.Partitions, partition)
		}
		request.Topics = append(request.Topics, one)
	}
	answer, err := request.RequestWith(ctx, u.client.shared)
	if err != nil {
		return err
	}
	for _, topic := range answer.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("%s-%d: %w", topic.Topic, p.Partition, err)
			}
		}
	}
	return harness.Wants(len(answer.Topics) == len(all.Topics), "%d topics", len(answer.Topics))
}

// committed asks for all offsets of a group, with a null array of topics.
func (u *ui) committed(ctx context.Context, group string) (map[string]int64, error) {
	request := kmsg.NewOffsetFetchRequest()
	request.Group, request.Topics = group, nil
	answer, err := request.RequestWith(ctx, u.client.shared)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, topic := range answer.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			out[fmt.Sprintf("%s-%d", topic.Topic, p.Partition)] = p.Offset
		}
	}
	return out, nil
}

// kminionOffsets is a scrape in the mode offsetsTopic: what its records say is what the broker says.
func (u *ui) kminionOffsets(ctx context.Context) error {
	ends, err := u.client.admin.ListEndOffsets(ctx, offsetsTopic)
	if err != nil {
		return err
	}
	left := int64(0)
	ends.Each(func(end kadm.ListedOffset) { left += end.Offset })
	reader, err := kgo.NewClient(
		kgo.SeedBrokers(u.Bootstrap), kgo.ConsumeTopics(offsetsTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(),
	)
	if err != nil {
		return err
	}
	defer reader.Close()
	said := map[string]map[string]int64{}
	for ; left > 0 && ctx.Err() == nil; left-- {
		fetches := reader.PollRecords(ctx, 1)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, record := range fetches.Records() {
			if err := takeOffset(said, record); err != nil {
				return err
			}
		}
	}
	due, err := u.committed(ctx, u.stage.Reading)
	return errors.Join(err, harness.Wants(maps.Equal(said[u.stage.Reading], due), "%v, due is %v", said, due))
}

// takeOffset decodes a record as decodeOffsetRecord does, by kmsg.
func takeOffset(said map[string]map[string]int64, record *kgo.Record) error {
	if len(record.Key) < 2 {
		return fmt.Errorf("a key of %d bytes", len(record.Key))
	}
	if record.Key[0] != 0 || record.Key[1] > 1 {
		return nil // of a group as such
	}
	var key kmsg.OffsetCommitKey
	if err := key.ReadFrom(record.Key); err != nil {
		return err
	}
	place := fmt.Sprintf("%s-%d", key.Topic, key.Partition)
	if said[key.Group] == nil {
		said[key.Group] = map[string]int64{}
	}
	if record.Value == nil {
		delete(said[key.Group], place)
		return nil
	}
	var value kmsg.OffsetCommitValue
	if err := value.ReadFrom(record.Value); err != nil {
		return err
	}
	said[key.Group][place] = value.Offset
	return nil
}

// otel is receiver/kafkametricsreceiver of https://github.com/open-telemetry/opentelemetry-collector-contrib,
// consumer_scraper_franz.go and topic_scraper_franz.go as of commit 122c254f.
func (u *ui) otel(ctx context.Context) error {
	admin := u.client.admin
	groups, err := admin.ListGroupsByType(ctx, []string{"classic", "consumer"})
	if err != nil {
		return err
	}
	lags, err := admin.Lag(ctx, groups.Groups()...)
	if err := errors.Join(err, lags.Error()); err != nil {
		return err
	}
	reading := lags[u.stage.Reading]
	lag, _ := reading.Lag.Lookup(u.stage.Orders, 0)
	right := len(reading.Members) == 1 && lag.Err == nil && lag.Lag == 0 && lag.Commit.At == harness.StageRecords
	if err := harness.Wants(right, "%+v", reading); err != nil {
		return err
	}
	all, err := admin.Metadata(ctx)
	if err != nil {
		return err
	}
	all.Topics.FilterInternal()
	_, internal := all.Topics[offsetsTopic]
	if err := harness.Wants(!internal && all.Cluster != "", "%v", all.Topics.Names()); err != nil {
		return err
	}
	configs, err := admin.DescribeTopicConfigs(ctx, all.Topics.Names()...)
	if err != nil {
		return err
	}
	// It parses these as numbers.
	of, err := configs.On(u.stage.Orders, nil)
	if err := errors.Join(err, of.Err); err != nil {
		return err
	}
	numbers := map[string]string{"min.insync.replicas": "1", "retention.ms": "86400000", "retention.bytes": "-1"}
	for _, s := range of.Configs {
		if due, asked := numbers[s.Key]; asked {
			if err := harness.Wants(s.MaybeValue() == due, "%s is %s", s.Key, s.MaybeValue()); err != nil {
				return err
			}
			delete(numbers, s.Key)
		}
	}
	return harness.Wants(len(numbers) == 0, "not described: %v", numbers)
}
