package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"tidewheel.invalid/clients/harness"
)

const checkLimit = 500 * time.Millisecond

func (c *client) Create(ctx context.Context, topic harness.Topic) error {
	made := kafka.TopicConfig{
		Topic: topic.Name, NumPartitions: int(topic.Partitions), ReplicationFactor: int(topic.Replicas),
	}
	for name, value := range topic.Settings {
		made.ConfigEntries = append(made.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	if topic.Check {
		// The library waits until a topic it created shows, also after a check: cut that short.
		short, cancel := context.WithTimeout(ctx, checkLimit)
		defer cancel()
		ctx = short
	}
	seen, err := c.admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{made}, ValidateOnly: topic.Check,
	})
	if err != nil {
		return err
	}
	return seen.Errors[topic.Name]
}

func (c *client) Delete(ctx context.Context, topic string) error {
	seen, err := c.admin.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return seen.Errors[topic]
}

// metadata asks the broker itself: a Transport that is in use answers from its cache.
func (c *client) metadata(ctx context.Context, topics []string) (*kafka.MetadataResponse, error) {
	fresh := &kafka.Transport{}
	defer fresh.CloseIdleConnections()
	direct := &kafka.Client{Addr: c.admin.Addr, Transport: fresh}
	return direct.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
}

func ids(brokers []kafka.Broker) []int32 {
	var out []int32
	for _, broker := range brokers {
		out = append(out, int32(broker.ID))
	}
	return out
}

func (c *client) Describe(ctx context.Context, topic string) (harness.Description, error) {
	seen, err := c.metadata(ctx, []string{topic})
	if err != nil {
		return harness.Description{}, err
	}
	if len(seen.Topics) != 1 {
		return harness.Description{}, fmt.Errorf("%d topics described", len(seen.Topics))
	}
	if seen.Topics[0].Error != nil {
		return harness.Description{}, seen.Topics[0].Error
	}
	out := harness.Description{Internal: seen.Topics[0].Internal}
	for _, p := range seen.Topics[0].Partitions {
		out.Partitions = append(out.Partitions, harness.Partition{
			Leader: int32(p.Leader.ID), Replicas: ids(p.Replicas), ISR: ids(p.Isr),
		})
	}
	return out, nil
}

func (c *client) Cluster(ctx context.Context) ([]int32, int32, error) {
	seen, err := c.metadata(ctx, nil)
	if err != nil {
		return nil, 0, err
	}
	return ids(seen.Brokers), int32(seen.Controller.ID), harness.Wants(seen.ClusterID != "", "the cluster has no id")
}

// resource is the topic, or the broker where topic is "".
func (c *client) resource(ctx context.Context, topic string) (kafka.ResourceType, string, error) {
	if topic != "" {
		return kafka.ResourceTypeTopic, topic, nil
	}
	_, controller, err := c.Cluster(ctx)
	return kafka.ResourceTypeBroker, strconv.Itoa(int(controller)), err
}

func (c *client) Settings(ctx context.Context, topic string) (map[string]harness.Setting, error) {
	kind, name, err := c.resource(ctx, topic)
	if err != nil {
		return nil, err
	}
	seen, err := c.admin.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind, ResourceName: name}},
	})
	if err != nil {
		return nil, err
	}
	const fromDefault = 5 // DEFAULT_CONFIG
	out := map[string]harness.Setting{}
	for _, s := range seen.Resources[0].ConfigEntries {
		out[s.ConfigName] = harness.Setting{Value: s.ConfigValue, IsDefault: s.ConfigSource == fromDefault}
	}
	return out, seen.Resources[0].Error
}

func (c *client) Offset(ctx context.Context, topic string, partition int32, at int64) (int64, error) {
	ask := kafka.TimeOffsetOf(int(partition), time.UnixMilli(at))
	switch at {
	case harness.Latest:
		ask = kafka.LastOffsetOf(int(partition))
	case harness.Earliest:
		ask = kafka.FirstOffsetOf(int(partition))
	}
	seen, err := c.admin.ListOffsets(ctx, &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: {ask}},
	})
	if err != nil {
		return 0, err
	}
	got := seen.Topics[topic][0]
	switch at {
	case harness.Latest:
		return got.LastOffset, got.Error
	case harness.Earliest:
		return got.FirstOffset, got.Error
	}
	for offset := range got.Offsets { // one, for the one time that was asked for
		return offset, got.Error
	}
	return -1, got.Error
}

func (c *client) ReplaceSettings(ctx context.Context, topic string, values map[string]string) error {
	kind, name, err := c.resource(ctx, topic)
	if err != nil {
		return err
	}
	change := kafka.AlterConfigRequestResource{ResourceType: kind, ResourceName: name}
	for name, value := range values {
		change.Configs = append(change.Configs, kafka.AlterConfigRequestConfig{Name: name, Value: value})
	}
	seen, err := c.admin.AlterConfigs(ctx, &kafka.AlterConfigsRequest{
		Resources: []kafka.AlterConfigRequestResource{change},
	})
	if err != nil {
		return err
	}
	for _, failed := range seen.Errors {
		err = errors.Join(err, failed)
	}
	return err
}

func (c *client) ChangeSettings(ctx context.Context, topic string, changes []harness.Change) error {
	kind, name, err := c.resource(ctx, topic)
	if err != nil {
		return err
	}
	of := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
	for _, change := range changes {
		to := kafka.IncrementalAlterConfigsRequestConfig{
			Name: change.Name, ConfigOperation: kafka.ConfigOperationDelete,
		}
		if change.Value != nil {
			to.Value, to.ConfigOperation = *change.Value, kafka.ConfigOperationSet
		}
		of.Configs = append(of.Configs, to)
	}
	seen, err := c.admin.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{of},
	})
	if err != nil {
		return err
	}
	return seen.Resources[0].Error
}

func (c *client) Grow(ctx context.Context, topic string, partitions int32, check bool) error {
	seen, err := c.admin.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: partitions}}, ValidateOnly: check,
	})
	if err != nil {
		return err
	}
	return seen.Errors[topic]
}

func (c *client) Elect(ctx context.Context, topic string, partition int32) error {
	// The library sends a limit of none where none is set.
	seen, err := c.admin.ElectLeaders(ctx, &kafka.ElectLeadersRequest{
		Topic: topic, Partitions: []int{int(partition)}, Timeout: harness.CallTimeout,
	})
	if err != nil {
		return err
	}
	if seen.Error != nil {
		return seen.Error
	}
	return seen.PartitionResults[0].Error
}

func (c *client) Reassignments(ctx context.Context, topic string) (int, error) {
	asked := map[string]kafka.ListPartitionReassignmentsRequestTopic{topic: {PartitionIndexes: []int{0}}}
	seen, err := c.admin.ListPartitionReassignments(ctx, &kafka.ListPartitionReassignmentsRequest{Topics: asked})
	if err != nil {
		return 0, err
	}
	return len(seen.Topics[topic].Partitions), seen.Error
}
