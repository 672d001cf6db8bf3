package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidewheel.invalid/clients/harness"
)

// byNewerProtocol has the members of groups join by the newer protocol (KIP-848) from now on.
func byNewerProtocol(w *harness.World) *harness.World {
	with(w).client.newer = true
	return w
}

// optsIn is how franz-go is told to use that protocol.
func (c *client) optsIn() []kgo.Opt {
	if !c.newer {
		return nil
	}
	ctx := context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)
	return []kgo.Opt{kgo.WithContext(ctx)}
}

func (c *client) describeConsumers(ctx context.Context, group string) (string, int, error) {
	seen, err := c.admin.DescribeConsumerGroups(ctx, group)
	if err != nil {
		return "", 0, err
	}
	return seen[group].State, len(seen[group].Members), seen[group].Err
}
