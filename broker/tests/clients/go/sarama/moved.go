//go:build !shopify

// What the library offers since it moved, with its default protocol.

package main

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
)

func (c *client) Elect(_ context.Context, topic string, partition int32) error {
	seen, err := c.admin.ElectLeaders(sarama.PreferredElection, map[string][]int32{topic: {partition}})
	if err != nil {
		return err
	}
	result := seen[topic][partition]
	if result == nil {
		return fmt.Errorf("no result for %s-%d", topic, partition)
	}
	return result.ErrorCode
}

func (c *client) Reassignments(_ context.Context, topic string) (int, error) {
	seen, err := c.admin.ListPartitionReassignments(topic, []int32{0})
	return len(seen[topic]), err
}
