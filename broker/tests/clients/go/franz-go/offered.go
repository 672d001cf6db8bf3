package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"

	"tidewheel.invalid/clients/harness"
)

func one(topic string, partition int32) kadm.TopicsSet {
	set := kadm.TopicsSet{}
	set.Add(topic, partition)
	return set
}

func (c *client) DeleteRecords(ctx context.Context, topic string, partition int32, before int64) error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, Partition: partition, At: before})
	seen, err := c.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	return seen.Error()
}

func (c *client) LogSizes(ctx context.Context, topic string) (map[int32]int64, error) {
	all, err := c.admin.DescribeAllLogDirs(ctx, nil)
	out := map[int32]int64{}
	for _, dirs := range all {
		dirs.EachPartition(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == topic {
				out[p.Partition] = p.Size
			}
		})
	}
	return out, err
}

func (c *client) Elect(ctx context.Context, topic string, partition int32) error {
	seen, err := c.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, one(topic, partition))
	if err != nil {
		return err
	}
	return seen[topic][partition].Err
}

func (c *client) Reassignments(ctx context.Context, topic string) (int, error) {
	seen, err := c.admin.ListPartitionReassignments(ctx, one(topic, 0))
	return len(seen[topic]), err
}

func (c *client) Producers(ctx context.Context, topic string, partition int32) ([]harness.Producer, error) {
	seen, err := c.admin.DescribeProducers(ctx, one(topic, partition))
	if err != nil {
		return nil, err
	}
	var out []harness.Producer
	for _, p := range seen.SortedProducers() {
		out = append(out, harness.Producer{ID: p.ProducerID, Epoch: p.ProducerEpoch, LastSequence: p.LastSequence})
	}
	return out, seen[topic].Partitions[partition].Err
}
